"""Two runs compared: paired differences by hand, and who decides."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conceptseg.errors import InputError
from conceptseg.evaluation.comparison import Comparison, Verdict, compare_runs
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.settings import EvaluationConfig


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


def measured(values: list[Any], measure: str) -> Run:
    one = run({"living": [0.0] * len(values)})
    return replace(one, rows=[{**row, measure: value} for row, value in zip(one.rows, values, strict=True)])


@pytest.mark.parametrize(("measure", "verdict"), [("mae", "FAILS"), ("ber", "FAILS"), ("wfm", "HOLDS")])
def test_where_less_is_better_more_is_worse(measure: str, verdict: str) -> None:
    found = compare_runs(measured([0.12, 0.13, 0.12], measure), measured([0.05, 0.05, 0.05], measure), measure)
    assert (found.first, found.second) == pytest.approx((0.37 / 3, 0.05))
    assert abs(found.difference) == pytest.approx(0.22 / 3)
    assert found.verdict() is Verdict[verdict]


@pytest.mark.parametrize("value", ["a rule", [1, 2, 3, 4], {}])
def test_what_is_no_number_is_not_compared(value: Any) -> None:
    ours = measured([value, value], "told")
    with pytest.raises(InputError, match="compared by a number; 'told' of their rows is"):
        compare_runs(ours, ours, "told")


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


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(InputError, match="and have none"):
        compare_runs(run({"living": [0.5]}, "a"), run({"saliency": [0.5]}, "b"))
    with pytest.raises(InputError, match="'living' has one"):
        compare_runs(run({"living": [0.5]}, "a"), run({"living": [0.5]}, "b"))
