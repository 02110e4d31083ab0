"""Nano's model card: of one checkpoint only, and no number that rests on a handful of questions."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conceptseg.errors import InputError
from conceptseg.evaluation.provenance import describe_checkpoint
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.models.config import ConceptSegConfig
from nano.one_checkpoint import require_one_checkpoint
from nano.tools import write_card

WORLD = "world:living:seen_test:30:1"
DIGESTS = {"home": "aaaaaaaa", "mllm": "bbbbbbbb", "sam": "cccccccc"}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, for which every checkpoint has `DIGESTS`."""
    monkeypatch.setattr(write_card, "describe_checkpoint", lambda source: {"sha256": DIGESTS})
    return write_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a checkpoint as the card reads itself."""
    (tmp_path / "config.json").write_text(json.dumps({"name": "n", "vocabulary": ["cat", "dog", "owl"]}))
    return tmp_path


def row(number: int, data: str, reasoned: bool) -> dict[str, Any]:
    """A question: IoU 0.5 direct and 1.0 reasoned; reasoned ones have a strict response, a right rule, a check of 0.25.

    mIoU is IoU, so ten of each kind give 0.75.
    """
    scores = dict.fromkeys(("mae", "ber", "wfm", "sm", "miou", "iou", "mdice"), 1.0 if reasoned else 0.5)
    told = {"rule": "The cat.", "answer": "dog", "response": "…", "valid": True, "box_iou": 0.75, "check_iou": 0.25}
    return {
        "data": data,
        "index": number,
        "id": str(number),
        "task": "living",
        "group": "cat",
        "concept": "cat",
        "true_rule": "The cat.",
        "true_answer": "cat",
        "intersection": 1,
        "union": 2,
        "error": None,
        "timings": {},
        **scores,
        **(told if reasoned else dict.fromkeys(told)),
        "route": "reasoned" if reasoned else "direct",
    }


def run(name: str, reasoned: Sequence[bool], digests: dict[str, str] = DIGESTS, data: str = WORLD, **other: Any) -> Run:
    rows = [row(number, data, is_reasoned) for number, is_reasoned in enumerate(reasoned)]
    config = EvaluationConfig(data=(data,), **other)
    return Run(Path("runs", name), name, config, {"sha256": digests}, {"commit": "0123"}, {data: len(rows)}, rows)


def write(card: ModuleType, runs: Sequence[Run], folder: Path) -> tuple[str, dict[str, Any]]:
    card.write_card(runs, folder, ["living"], "made pictures", ["one hour"])
    return (folder / "README.md").read_text(encoding="utf-8"), json.loads((folder / "scores.json").read_text())


def test_what_reasoning_did_is_told_of_twenty_questions_or_not_at_all(card: ModuleType, folder: Path) -> None:
    few, enough = run("few", [True] * 19 + [False] * 19), run("enough", [True] * 20 + [False] * 20)
    text, scores = write(card, [few, enough], folder)
    first, second = scores["table"]
    assert (first["n"], first["share"], first["reasoned"]) == (38, 0.5, 19)
    assert {first[name] for name in ("valid", "rule_right", "answer_right", "box_iou", "check_iou")} == {None}
    assert first["miou"] == pytest.approx(0.75)  # scores of all questions stay
    assert (second["reasoned"], second["valid"], second["rule_right"], second["answer_right"]) == (20, 1.0, 1.0, 0.0)
    assert (second["box_iou"], second["check_iou"]) == pytest.approx((0.75, 0.25))
    # the standard error of half 0.5, half 1: √(Σ 0.25² / (n - 1) / n) = 0.25 / √(n - 1)
    assert first["miou_error"] == pytest.approx(0.25 / 37**0.5, rel=1e-3)
    assert "| CI, trained on | seen_test | auto | 78 | 0.750 | 0.750 |" in text  # the mean of two rows
    assert "knows 3 things" in text


def test_every_number_stands_in_a_table_beside_the_card(card: ModuleType, folder: Path) -> None:
    write(card, [run("a", [True] * 20), run("b", [False] * 4, data="photos/open", route="direct")], folder)
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["task"], first["route"], first["n"], first["check_iou"]) == ("living", "auto", "20", "0.25")
    assert (second["set"], second["route"], second["miou"]) == ("photos/open", "direct", "0.5")


def test_photographs_have_a_column_a_route(card: ModuleType, folder: Path) -> None:
    runs = [
        run("m", [True, False, False], data="photos/open", method="match"),
        run("a", [False] * 3, data="photos/open", route="direct"),
        run("b", [True] * 3, data="photos/open", route="reason"),
        run("c", [True, True, False], data="photos/open", method="mllm-box", route="reason"),
    ]
    text, _ = write(card, runs, folder)
    assert "| part | set | n | match | direct | reason | mllm-box |" in text
    assert "| open | photos/open | 3 | 0.667 | 0.500 | 1.000 | 0.833 |" in text
    assert "| open | **mean over sets** | | 0.667 | 0.500 | 1.000 | 0.833 |" in text
    # Differences of 0, -50, 0; 0, 50, 50; and 0, 50, 0 points: a mean, and √(variance / 3).
    assert "| – | -16.7 ± 16.7 | +33.3 ± 16.7 | +16.7 ± 16.7 |" in text


def test_without_match_there_is_nothing_to_compare_with(card: ModuleType, folder: Path) -> None:
    text, _ = write(card, [run("a", [False] * 2, data="photos/open", route="direct")], folder)
    assert "| open | minus `match`, ± standard error | | – |" in text


def test_runs_of_two_checkpoints_make_no_card(card: ModuleType, folder: Path) -> None:
    runs = [run("a", [True]), run("b", [True], DIGESTS | {"mllm": "dddddddd"})]
    with pytest.raises(InputError, match=r"runs/a \(home aaaaaa, mllm bbbbbb, sam cccccc\); runs/b .*mllm dddddd"):
        write(card, runs, folder)
    assert not (folder / "README.md").exists()


def test_runs_of_another_checkpoint_than_the_folder_make_no_card(card: ModuleType, folder: Path) -> None:
    with pytest.raises(InputError, match=r"--checkpoint .*home aaaaaa.*; runs/a \(home eeeeee"):
        write(card, [run("a", [True], DIGESTS | {"home": "eeeeeeee"})], folder)


def test_an_unfinished_run_makes_no_card(card: ModuleType, folder: Path) -> None:
    half = run("half", [True] * 3)
    object.__setattr__(half, "questions", {WORLD: 5})
    with pytest.raises(InputError, match="A card needs whole runs: runs/half lacks 2 of its questions"):
        write(card, [run("whole", [True]), half], folder)
    assert not (folder / "README.md").exists()


def test_one_checkpoint_is_one_whoever_tells_of_it() -> None:
    require_one_checkpoint({})
    require_one_checkpoint({"a": {"home": "1", "sam": "2"}, "b": {"sam": "2", "home": "1"}})
    with pytest.raises(InputError, match=r"a \(home 1\); b \(unknown\)"):
        require_one_checkpoint({"a": {"home": "1"}, "b": {}})


def test_the_card_leaves_the_digest_as_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for part in Path(tiny_checkpoint).iterdir():
        (checkpoint / part.name).symlink_to(part)
    before = describe_checkpoint(str(checkpoint))["sha256"]
    (checkpoint / "scores.json").write_text("{}")
    (checkpoint / "README.md").write_text("a card")
    (checkpoint / "scores.csv").write_text("a,b")
    assert describe_checkpoint(str(checkpoint))["sha256"] == before
    (checkpoint / "more.json").write_text("{}")
    after = describe_checkpoint(str(checkpoint))["sha256"]
    assert after["home"] != before["home"] and after["mllm"] == before["mllm"]


def test_what_was_asked_without_the_prior_has_a_column_of_its_own(card: ModuleType, folder: Path) -> None:
    without = {"reference_prior": False}
    runs = [
        run("a", [True] * 3, data="photos/open", route="direct"),
        run("b", [False] * 3, data="photos/open", route="direct", asking=without),
    ]
    text, _ = write(card, runs, folder)
    assert "| part | set | n | direct | direct, no prior |" in text
    assert "| open | photos/open | 3 | 1.000 | 0.500 |" in text


def test_a_checkpoint_is_told_by_its_name_not_by_where_it_lay(card: ModuleType, folder: Path) -> None:
    text, scores = write(card, [run("a", [True] * 2, model="/somewhere/else/fresh")], folder)
    assert "/somewhere" not in text and "/somewhere" not in json.dumps(scores)
    assert f"model {ConceptSegConfig.read(folder).name}, route auto" in scores["runs"][0]
