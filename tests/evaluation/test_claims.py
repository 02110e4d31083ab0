"""Claims: paired differences by hand, and who decides."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from conceptseg.errors import InputError
from conceptseg.evaluation.claims import Comparison, Verdict, compare_runs, pool_seeds
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.training.recipes import recipe_names

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def run(scores: dict[str, list[float]], name: str = "run") -> Run:
    rows = [
        {"data": "set", "id": f"{task}/{number}", "task": task, "miou": score}
        for task, values in scores.items()
        for number, score in enumerate(values)
    ]
    return Run(Path(name), name, EvaluationConfig(data=("set",)), {}, {}, {"set": len(rows)}, rows)


def test_tasks_weigh_alike_and_differences_are_paired() -> None:
    ours = run({"living": [0.9, 0.7], "saliency": [0.5, 0.6, 0.7]})
    theirs = run({"living": [0.8, 0.4], "saliency": [0.5, 0.5, 0.5]})
    found = compare_runs(ours, theirs)
    # living: differences 0.1, 0.3 (mean 0.2, variance 0.02); saliency: 0, 0.1, 0.2 (mean 0.1, variance 0.01)
    assert found.first == pytest.approx((0.8 + 0.6) / 2)
    assert found.second == pytest.approx((0.6 + 0.5) / 2)
    assert found.difference == pytest.approx(0.15)
    assert found.standard_error == pytest.approx(math.sqrt(0.02 / 2 + 0.01 / 3) / 2)
    assert (found.questions, found.differing) == (5, 4)


def test_only_common_questions_of_the_chosen_tasks_count() -> None:
    ours = run({"living": [0.9, 0.7, 0.1], "saliency": [0.0, 0.0]})
    theirs = run({"living": [0.8, 0.6], "saliency": [1.0, 1.0]})
    found = compare_runs(ours, theirs, tasks=["living"])
    assert found.questions == 2
    assert found.difference == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("difference", "margin", "verdict"),
    [
        (0.05, 0.0, Verdict.HOLDS),
        (0.02, 0.0, Verdict.OPEN),
        (-0.05, 0.0, Verdict.FAILS),
        (0.05, 0.04, Verdict.OPEN),
        (-0.005, -0.03, Verdict.HOLDS),
    ],
)
def test_two_standard_errors_decide(difference: float, margin: float, verdict: Verdict) -> None:
    assert Comparison(0.5, 0.5 - difference, difference, 0.01, 100, 9).verdict(margin) is verdict


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.009, Verdict.HOLDS),  # 0.009 + 2 · 0.01 = 0.029 < 0.03
        (-0.009, Verdict.HOLDS),
        (0.011, Verdict.OPEN),  # 0.031
        (-0.049, Verdict.OPEN),  # 0.049 - 0.02 = 0.029
        (0.051, Verdict.FAILS),  # 0.031 > 0.03: much better is not equivalent either
        (-0.051, Verdict.FAILS),
    ],
)
def test_equivalence_has_two_sides(difference: float, verdict: Verdict) -> None:
    assert Comparison(0.5, 0.5 - difference, difference, 0.01, 100, 9).verdict_within(0.03) is verdict


def test_equivalence_needs_room() -> None:
    with pytest.raises(InputError, match=r"a margin above 0, got -0\.01"):
        Comparison(0.5, 0.5, 0.0, 0.01, 100, 9).verdict_within(-0.01)


def test_runs_that_no_question_tells_apart_prove_nothing() -> None:
    ours = run({"living": [0.9, 0.7], "saliency": [0.5, 0.6]})
    assert compare_runs(ours, ours).verdict(-0.01) is Verdict.SAME
    assert compare_runs(ours, ours).verdict_within(0.01) is Verdict.SAME
    # constant differences that cancel out between tasks have no spread and no sum, and are differences all the same
    theirs = run({"living": [0.8, 0.6], "saliency": [0.6, 0.7]})
    found = compare_runs(ours, theirs)
    assert (found.difference, found.standard_error) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert found.differing == 4 and found.verdict(-0.01) is Verdict.HOLDS


def test_seeds_are_pooled_with_their_spread() -> None:
    each = [Comparison(0.6, 0.5, 0.1, 0.03, 50, 9), Comparison(0.8, 0.5, 0.3, 0.05, 50, 12)]
    found = pool_seeds(each)
    assert (found.first, found.second, found.difference) == pytest.approx((0.7, 0.5, 0.2))
    # the questions' mean error 0.04; the seeds' variance 0.02 over two of them
    assert found.standard_error == pytest.approx(math.sqrt(0.04**2 + 0.02 / 2))
    assert (found.questions, found.differing) == (50, 12)
    alone = pool_seeds(each[:1])
    assert (alone.difference, alone.standard_error, alone.decisive) == pytest.approx((0.1, 0.03, 2.0))


def test_few_seeds_need_more_than_two_errors() -> None:
    def decisive(differences: list[float], error: float) -> float:
        return pool_seeds([Comparison(0.5, 0.5, one, error, 50, 9) for one in differences]).decisive

    # nothing but three seeds: two degrees of freedom, whose quantile is (2p - 1) √(2 / (4 p (1 - p))) at p = Φ(2)
    p = 0.5 * (1 + math.erf(math.sqrt(2)))
    assert decisive([0.1, 0.2, 0.3], 0.0) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))))
    assert decisive([0.1, 0.2, 0.3], 10.0) == pytest.approx(2.0, abs=1e-3)  # the seeds hardly count
    assert 2.0 < decisive([0.1, 0.2, 0.3], 0.06) < decisive([0.1, 0.2, 0.3], 0.01)
    assert Comparison(0.5, 0.5, 0.03, 0.01, 50, 9, decisive=4.5).verdict() is Verdict.OPEN


def test_only_seeds_over_the_same_questions_are_pooled() -> None:
    with pytest.raises(InputError, match="numbers of questions: none"):
        pool_seeds([])
    with pytest.raises(InputError, match="numbers of questions: 50, 40"):
        pool_seeds([Comparison(0.5, 0.5, 0.0, 0.1, count, 9) for count in (50, 40)])


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(InputError, match="and have none"):
        compare_runs(run({"living": [0.5]}, "a"), run({"saliency": [0.5]}, "b"))
    with pytest.raises(InputError, match="'living' has one"):
        compare_runs(run({"living": [0.5]}, "a"), run({"living": [0.5]}, "b"))


def test_the_shipped_plan_compares_runs_it_has_by_recipes_that_exist() -> None:
    plan = yaml.safe_load((RECIPES / "claims" / "claims.yaml").read_text(encoding="utf-8"))
    named = {name for claim in plan["claims"] for name in (claim["first"], claim["second"])}
    assert named == {*plan["runs"], *plan["trained"]["recipes"]}
    assert {level for claim in plan["claims"] for level in claim.get("levels", [])} <= {"CI", "CD", "CR"}
    for claim in plan["claims"]:
        assert claim.keys() <= {"table", "says", "first", "second", "levels", "margin", "within"}
        assert claim.get("margin", 0) <= 0 < claim.get("within", 1) and not {"margin", "within"} <= claim.keys()
    for claim in plan["untested"]:
        named = [word.rstrip(",") for word in claim["needs"].split() if "ablations/" in word]
        assert named and set(named) <= set(recipe_names())
