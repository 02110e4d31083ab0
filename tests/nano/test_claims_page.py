"""The page of claims: what its rows say, what it refuses to be written from, and the clock beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConfigError, InputError
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.inference import ConceptSegmenter, Query, Route
from conceptseg.taxonomy import LEAF_TASKS, level_of
from conceptseg.training.config import MetaGRPOConfig
from conceptseg.training.config_reading import load_config, save_config
from conceptseg.training.recipes import recipe_names
from nano.claims import __main__ as claims
from nano.claims import timing
from nano.claims.plan import HERE

DIGESTS = {"home": "aaaaaaaa", "mllm": "bbbbbbbb"}
PLAN = {
    "data": ["world:all:seen_test:2:1"],
    "runs": {
        "whole": ["--model", "{nano}", "--route", "reason"],
        "routed": ["--model", "{nano}", "--route", "auto"],
        "warm": ["--model", "{warmup}", "--route", "reason"],
    },
    "trained": {
        "bases": {"meta-grpo": "../recipes/short_stage_two.yaml", "warmup": "../recipes/short_warmup.yaml"},
        "seeds": [1, 2],
        "recipes": {
            "tuned": "architecture_meta_grpo",
            "boxed": "without_meta_reward",
        },
    },
    "claims": [
        {"table": "1", "says": "Better on CR", "first": "whole", "second": "routed", "levels": ["CR"]},
        {"table": "2", "says": "No loss", "first": "routed", "second": "whole", "levels": ["CI"], "margin": -0.01},
        {"table": "3", "says": "Alike", "first": "whole", "second": "routed", "within": 0.05},
        {"table": "4", "says": "Alike without CI", "first": "whole", "second": "routed", "levels": ["CD", "CR"],
         "within": 0.05},
        {"table": "5", "says": "Trained", "first": "tuned", "second": "warm"},
        {"table": "5b", "says": "With the reward", "first": "tuned", "second": "boxed"},
    ],
    "untested": [{"table": "6", "says": "More", "needs": "time"}],
}  # fmt: skip
PLACES = {"nano": "nano", "warmup": None}
TIMING = {
    "questions": 4,
    "threads": 2,
    "direct": 0.5,
    "auto": {"median": 0.25, "mean": 0.3},
    "reason": {"median": 0.5, "mean": 0.6},
    "difference": 0.3,
    "standard_error": 0.1,
    "sha256": DIGESTS,
}
REPORT = {"model": "nano", "task": "saliency", "queries": 50, "iou": 0.5, "iou_with_swapped_references": 0.4}


def run(name: str, scores: Mapping[str, Sequence[float]], digests: Mapping[str, str] = DIGESTS, **other: Any) -> Run:
    """A run over two questions a task; mIoU by level, all other scores 0.5; SAM 3 alone answered the first of two."""
    rows = [
        {"data": PLAN["data"][0], "id": f"{task}/{number}", "task": task, "error": None, "timings": {"encode": 9.0}}
        | dict.fromkeys(("mae", "ber", "wfm", "sm", "iou", "mdice"), 0.5)
        | {"miou": scores[level_of(task).value][number], "intersection": 1, "union": 2}
        | {"route": "reasoned" if number else "direct"}
        for task in LEAF_TASKS
        for number in range(2)
    ]
    config = EvaluationConfig.of({"data": PLAN["data"]} | other)
    software = {"commit": "0123456789"}
    return Run(Path("runs", name), name, config, {"sha256": digests}, software, {PLAN["data"][0]: len(rows)}, rows)


def two(**changes: Any) -> dict[str, Run]:
    """Ahead on CR by 0.2 ± 0.0 and 0.4: on eight tasks 0.3 each, variance 0.02; the same on CI and CD."""
    alike = {"CI": (0.8, 0.8), "CD": (0.6, 0.6)}
    return {
        "whole": run("whole", {**alike, "CR": (0.5, 0.8)}, route="reason"),
        "routed": run("routed", {**alike, "CR": (0.3, 0.4)}, **{"route": "auto"} | changes),
    }


def commands() -> dict[str, list[str]]:
    return claims.plan_commands(PLAN, PLACES, Path("runs"))


def rows_of(page: str) -> dict[str, list[str]]:
    """The cells of the page's tables by the first one."""
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_verdicts_with_their_margins() -> None:
    page = claims.page(PLAN, two())
    rows = rows_of(page)
    # CR: eight tasks, differences 0.2 and 0.4, so 0.3 and √(8 · 0.02 / 2) / 8 = 0.0354
    assert rows["1"] == ["Better on CR", "CR", "65.0 (whole)", "35.0 (routed)", "+30.0 ± 3.5", "> 0", "*holds*"]
    assert rows["2"][-3:] == ["+0.0 ± 0.0", "> -1.0", "*same answers*"]
    # all: 8 of 20 tasks differ, 0.3 · 8 / 20 = 0.12 and √(8 · 0.02 / 2) / 20 = 0.0141; 0.12 - 0.028 > 0.05
    assert rows["3"][1:] == ["all", "66.0 (whole)", "54.0 (routed)", "+12.0 ± 1.4", "within ± 5.0", "*does not hold*"]
    assert rows["4"][1] == "CD, CR" and rows["4"][4] == "+15.0 ± 1.8"  # 0.3 · 8 / 16, √(8 · 0.02 / 2) / 16


def test_what_was_trained_is_compared_seed_by_seed() -> None:
    everything = claims.plan_commands(PLAN, {"nano": "nano", "warmup": "w"}, Path("runs"))
    assert everything["tuned_2"][:5] == ["evaluate", "--model", "runs/trained/tuned_2/model", "--route", "reason"]
    rest = {"CD": (0.5, 0.5), "CR": (0.5, 0.5)}
    means = {"warm": 0.5, "tuned_1": 0.6, "tuned_2": 0.8, "boxed_1": 0.5, "boxed_2": 0.75}
    runs = two() | {name: run(name, {"CI": (mean, mean), **rest}, {"mllm": name}) for name, mean in means.items()}
    page = claims.page(PLAN, runs)
    assert "went on from checkpoint warm (run warm): not the one measured elsewhere." in page
    assert "went on" not in claims.page(PLAN, two())
    rows = rows_of(page)
    # four of twenty tasks: the seeds gain 0.1 and 0.3 there, 0.02 and 0.06 over all, variance 0.0008: √(0.0008 / 2)
    assert rows["5"] == [
        "Trained",
        "all",
        "54.0 (tuned)",
        "50.0 (warm)",
        "+4.0 ± 2.0 (+2.0, +6.0)",
        "> 0",
        "*not decided*",
    ]
    assert rows["5b"][2:5] == ["54.0 (tuned)", "52.5 (boxed)", "+1.5 ± 0.5 (+2.0, +1.0)"]


def test_trainings_are_the_base_with_what_a_recipe_changes() -> None:
    trainings = claims.plan_trainings(PLAN, "runs/warm", Path("runs"), ["boxed_2", "tuned_1"])
    words = trainings["boxed_2"]
    assert words[:3] == ["train", "meta-grpo", "--config"] and words[3].endswith("short_stage_two.yaml")
    assert words[4:] == [
        "model.checkpoint=runs/warm", "seed=2", "out=runs/trained/boxed_2", "reward.meta=0.0", "reward.box=1.0"
    ]  # fmt: skip
    assert trainings["tuned_1"][5:] == ["seed=1", "out=runs/trained/tuned_1"]
    config = load_config("meta-grpo", words[3], words[4:])
    assert isinstance(config, MetaGRPOConfig)
    assert (config.seed, config.reward.weights) == (2, {"format": 1.0, "mask": 1.0, "box": 1.0})


def test_a_recipe_of_stage_one_goes_on_from_its_own_base() -> None:
    recipes = {"one_token": "concept_tokens_1"}
    plan = PLAN | {"trained": PLAN["trained"] | {"recipes": recipes}}
    words = claims.plan_trainings(plan, "runs/warm", Path("runs"), ["one_token_2"])["one_token_2"]
    assert words[:2] == ["train", "warmup"] and words[3].endswith("short_warmup.yaml")
    config = load_config("warmup", words[3], words[4:])
    assert (config.seed, config.model.concept_tokens, config.model.fresh_translation) == (2, 1, True)


@pytest.mark.parametrize(("statuses", "ran", "status"), [([0, 1, 0], 3, 1), ([0, 130, 0], 2, 130), ([143, 0], 1, 143)])
def test_an_interruption_stops_the_rest(
    monkeypatch: pytest.MonkeyPatch, statuses: list[int], ran: int, status: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(claims, "conceptseg", lambda words: (asked.append(words), statuses[len(asked) - 1])[1])
    assert claims.run_all([["x"]] * len(statuses)) == status and len(asked) == ran


def test_trainings_are_held_against_what_their_command_would_make_now(tmp_path: Path) -> None:
    trainings = claims.plan_trainings(PLAN, str(tmp_path / "warm"), tmp_path, ["tuned_1", "boxed_2"])
    for name, words in trainings.items():
        (tmp_path / "trained" / name).mkdir(parents=True)
        save_config(load_config("meta-grpo", words[3], words[4:]), tmp_path / "trained" / name / "config.yaml")
    claims.check_trainings(trainings)
    other = claims.plan_trainings(PLAN, str(tmp_path / "another"), tmp_path, ["boxed_2"])
    other["boxed_2"].append("learning_rate=1.0")
    with pytest.raises(InputError, match=r"trained otherwise.*: boxed_2 in model, learning_rate"):
        claims.check_trainings(other)


def test_a_recipe_of_another_base_is_no_ablation(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLAN | {"trained": PLAN["trained"] | {"recipes": {"odd": "odd"}}}
    with pytest.raises(ConfigError, match=r"There is no ablation 'odd'\. Known: architecture_sft"):
        claims.plan_trainings(plan, "w", Path("runs"))
    monkeypatch.setattr("nano.claims.plan.ablation_changes", lambda name: {"extends": "other"})
    with pytest.raises(InputError, match=r"odd: expected extends: meta_grpo or .*, got other"):
        claims.plan_trainings(plan, "w", Path("runs"))


def test_what_has_no_runs_is_told_and_not_left_out() -> None:
    page = claims.page(PLAN, two())
    assert rows_of(page)["5"] == ["Trained", "`claims.py train` and `run` with --warmup: tuned_1, tuned_2, warm"]
    assert rows_of(page)["6"] == ["More", "time"]
    assert page.index("| 5 |") > page.index("## Not measured")


def test_the_page_says_where_its_numbers_come_from_and_no_seconds_of_runs() -> None:
    page = claims.page(PLAN, two())
    table = claims.table_of_runs(commands(), two())
    assert "claims_runs.csv" in page
    assert "checkpoint aaaaaa-bbbbbb, commit 012345678" in table and "whole: world:all:seen_test:2:1; 40 quest" in table
    assert "conceptseg evaluate --model nano --route auto --data world:all:seen_test:2:1 --no-masks" in table
    assert "econds" not in page and "9.00" not in page
    assert rows_of(page)["living"] == ["CI", "50 %", "80.0", "80.0"]
    assert rows_of(page)["**all questions**"] == ["", "50 %", "66.0", "54.0"]


def test_the_timing_is_quoted_where_it_is() -> None:
    page = claims.page(PLAN, two(), timing=TIMING)
    assert rows_of(page)["auto"] == ["0.250", "0.300"] and rows_of(page)["reason"] == ["0.500", "0.600"]
    assert "SAM 3 alone answered 50 % of them" in page and "0.300 ± 0.100 seconds a question" in page
    assert page.count("*holds*.") == 1


@pytest.mark.parametrize(("drop", "meaning"), [(0.05, "it looks at them."), (0.01, "cannot be told")])
def test_how_far_references_are_looked_at_is_quoted(drop: float, meaning: str) -> None:
    report = REPORT | {"drop": drop, "drop_standard_error": 0.02}
    page = " ".join(claims.page(PLAN, two(), references=report).split())
    assert f"falls by {100 * drop:.1f} ± 2.0 points on 50 queries of saliency" in page and meaning in page
    assert "is for `nano/tools/references_matter.py` to say" in claims.page(PLAN, two())


def test_whole_runs_of_one_checkpoint_pass() -> None:
    claims.check_runs(PLAN, commands(), two(), {"timing.json": TIMING, "references_matter.json": None})


def test_runs_that_are_not_what_the_page_would_say_are_all_named() -> None:
    runs = two(route="direct", references=1)
    object.__setattr__(runs["whole"], "rows", runs["whole"].rows[:-3])
    expected = (
        "whole lacks 3 of .*; routed was made with route 'direct' instead of 'auto', references 1 instead of None"
    )
    with pytest.raises(InputError, match=expected):
        claims.check_runs(PLAN, commands(), runs)


def test_runs_of_one_checkpoint_agree_and_of_two_may_differ() -> None:
    everything = claims.plan_commands(PLAN, {"nano": "nano", "warmup": "w"}, Path("runs"))
    scores = {"CI": (0.5, 0.5), "CD": (0.5, 0.5), "CR": (0.5, 0.5)}
    other = DIGESTS | {"mllm": "dddddddd"}
    runs = two() | {"warm": run("warm", scores, other, model="w", route="reason")}
    claims.check_runs(PLAN, everything, runs)
    runs["routed"] = run("routed", scores, other)
    with pytest.raises(InputError, match=r"runs/whole \(home aaaaaa, mllm bbbbbb\); runs/routed .*mllm dddddd"):
        claims.check_runs(PLAN, everything, runs)
    with pytest.raises(InputError, match=r"timing\.json \(home aaaaaa, mllm dddddd\)"):
        claims.check_runs(PLAN, commands(), two(), {"timing.json": TIMING | {"sha256": other}})


def test_only_names_runs_there_are() -> None:
    assert list(claims.plan_commands(PLAN, PLACES, Path("runs"), ["routed"])) == ["routed"]
    assert list(commands()) == ["whole", "routed"]
    with pytest.raises(InputError, match=r"there is no 'rooted', 'warm'\. There are whole, routed"):
        claims.plan_commands(PLAN, PLACES, Path("runs"), ["rooted", "warm"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["write", "--only", "whole"], "--only is for train and run"),
        (["train"], "train needs --warmup"),
        (["train", "--warmup", "w", "--only", "whole"], "there is no 'whole'"),
        (["run", "--only", "hole"], "there is no 'hole'"),
        (["time", "--count", "30"], "a multiple of the 20 tasks, got 30"),
    ],
)
def test_wrong_requests_are_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Any, complaint: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["nano.claims", *words])
    with pytest.raises(SystemExit) as left:
        claims.main()
    assert left.value.code == 2 and complaint in capsys.readouterr().err


class FakeSegmenter(ConceptSegmenter):
    """Notes what it is asked; takes half a second of `clock` by auto and two by reason."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.images: list[Image.Image] = []
        self.clock = 0.0

    def prepare(self, references: Any) -> None:
        self.clock += 100.0

    def segment_batch(self, queries: Sequence[Query], *, route: str) -> list[Any]:
        self.asked.append((queries[0].source, route))
        self.images.append(queries[0].image)
        self.clock += 0.5 if route == "auto" else 2.0
        return [SimpleNamespace(route=Route.DIRECT if queries[0].source == "a" else Route.REASONED)]


def test_routes_take_turns_on_pictures_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSegmenter()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: fake.clock)
    samples = [
        ConceptSample(id=name, task="living", concept="cat", image=Image.fromarray(np.zeros((4, 4, 3), np.uint8)))
        for name in "ab"
    ]
    assert timing.time_routes(fake, samples) == [(0.5, 2.0, True), (0.5, 2.0, False)]
    assert fake.asked[2:] == [("a", "auto"), ("a", "reason"), ("b", "reason"), ("b", "auto")]
    assert fake.asked[:2] == [("a", "auto"), ("a", "reason")]  # not counted: weights are read
    assert len({id(image) for image in fake.images}) == 6


def test_timing_by_hand() -> None:
    found = timing.summarise_timing([(0.1, 0.4, True), (0.2, 0.5, True), (0.6, 0.6, False)])
    assert json.loads(json.dumps(found)) == found
    assert (found["questions"], found["direct"]) == (3, pytest.approx(2 / 3))
    assert found["auto"] == pytest.approx({"median": 0.2, "mean": 0.3})
    assert found["reason"] == pytest.approx({"median": 0.5, "mean": 0.5})
    # differences 0.3, 0.3, 0: mean 0.2, variance 0.03
    assert (found["difference"], found["standard_error"]) == pytest.approx((0.2, 0.1))


def test_the_shipped_plan_compares_runs_it_has_by_recipes_that_exist() -> None:
    plan = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    named = {name for claim in plan["claims"] for name in (claim["first"], claim["second"])}
    assert named == {*plan["runs"], *plan["trained"]["recipes"]}
    assert {level for claim in plan["claims"] for level in claim.get("levels", [])} <= {"CI", "CD", "CR"}
    for claim in plan["claims"]:
        assert claim.keys() <= {"table", "says", "first", "second", "levels", "margin", "within"}
        assert claim.get("margin", 0) <= 0 < claim.get("within", 1) and not {"margin", "within"} <= claim.keys()
    for claim in plan["untested"]:
        named = [word.rstrip(",") for word in claim["needs"].split() if "ablations/" in word]
        assert named and set(named) <= set(recipe_names())
