"""`conceptseg rule`, `review`, `compare`, `calibrate`: what they print and write, with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.cli import calibrate, main, rule, segment
from conceptseg.metrics import failed_row
from conceptseg.models.calibrated_router import ROUTER_FILE
from conceptseg.models.calibration import CALIBRATION_FILE
from tests.training.tiny import square_folder, square_sample, tiny_model


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=3))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, segmenter) -> None:
    for module in (rule, segment, calibrate):
        monkeypatch.setattr(module, "load_segmenter", lambda args: segmenter)


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("squares")
    told = []
    for number in range(4):
        sample = square_sample(number, references=0)
        image, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(sample.image).save(image)
        Image.fromarray(sample.mask).save(mask)
        told.append(f"{image}@{mask}")
    return told


@pytest.fixture(scope="module")
def learned(tmp_path_factory, references, segmenter) -> Path:
    path = tmp_path_factory.mktemp("rules") / "square.rule"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule, "load_segmenter", lambda args: segmenter)
        shown = [word for text in references for word in ("--ref", text)]
        assert main(["rule", "learn", "--concept", "bright square", *shown, "--samples", "1", "--out", str(path)]) == 0
    return path


def test_a_rule_is_shown_in_words_and_as_a_page(learned, capsys):
    assert main(["rule", "show", str(learned)]) == 0
    printed = capsys.readouterr().out
    assert "concept: bright square" in printed and "Expected IoU" in printed and "supports: references" in printed
    page = learned.with_name("square.rule.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4 and "bright square" in page and "Withheld" in page


def test_a_rule_is_checked_on_what_it_withheld_or_on_other_pictures(learned, references, capsys):
    assert main(["rule", "check", str(learned)]) == 0
    assert "mean" in capsys.readouterr().out
    assert main(["rule", "check", str(learned), "--ref", references[0], "--ref", references[1]]) == 0
    assert "on 2 pictures" in capsys.readouterr().out


def test_masks_that_are_label_maps_take_their_label(learned, references, tmp_path, capsys):
    image, _, mask = references[0].partition("@")
    labels = np.asarray(Image.open(mask)).astype(bool) * np.uint8(7)
    labels[0, 0] = 3
    Image.fromarray(labels).save(tmp_path / "labels.png")
    named = f"{image}@{tmp_path / 'labels.png'}"
    assert main(["rule", "check", str(learned), "--ref", named]) == 2
    assert "--label" in capsys.readouterr().err
    assert main(["rule", "check", str(learned), "--ref", named, "--label", "7", "--ignore", "3"]) == 0
    words = ["rule", "learn", "--concept", "x", "--ref", named, "--ref", named, "--samples", "1", "--budget", "2"]
    assert main([*words, "--label", "7", "--out", str(tmp_path / "a.rule")]) == 0


def test_what_reading_references_had_to_guess_is_told(learned, references, tmp_path, capsys):
    image, _, mask = references[0].partition("@")
    Image.fromarray(np.asarray(Image.open(image).convert("L")).astype(np.uint16) * 16).save(tmp_path / "deep.png")
    assert main(["rule", "check", str(learned), "--ref", f"{tmp_path / 'deep.png'}@{mask}"]) == 0
    assert "note: Reference 1: " in capsys.readouterr().err


def test_a_rule_is_applied_to_pictures(learned, references, tmp_path, capsys):
    picture = references[0].split("@")[0]
    out = tmp_path / "out"
    assert (
        main(["rule", "apply", str(learned), picture, "--out", str(out), "--instances", "--score-threshold", "0"]) == 0
    )
    (record,) = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert record["concept"] == "bright square" and record["expected_iou"] is not None
    assert 0 <= record["confidence"] <= 1 and record["calibrated"] is False
    assert all({"box", "score", "area", "rle"} == set(one) for one in record["instances"])
    assert json.loads((out / "request.json").read_text())["rule"]


def test_a_rule_and_references_exclude_each_other(learned, references, capsys):
    picture = references[0].split("@")[0]
    assert main(["segment", picture, "--rule", str(learned), "--ref", references[1]]) == 2
    assert "A rule brings its own references" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["segment", picture, "--rule", str(learned), "--concept", "square"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_rule_that_could_not_be_written_is_not_learned(references, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rule, "load_segmenter", lambda args: pytest.fail("the model was loaded"))
    words = ["rule", "learn", "--concept", "x", "--ref", references[0], "--out", str(tmp_path / "none" / "a.rule")]
    assert main(words) == 2 and "name a file in a folder that exists" in capsys.readouterr().err


def test_what_is_no_rule_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "a.rule").write_text("no")
    assert main(["rule", "show", str(tmp_path / "a.rule")]) == 2
    assert "is no rule" in capsys.readouterr().err


def test_review_puts_what_failed_and_what_is_least_certain_first(tmp_path, capsys):
    lines = [
        {"source": "/p/sure.jpg", "stem": "sure", "file": {}, "error": None, "confidence": 0.9, "calibrated": True},
        {"source": "/p/doubt.jpg", "stem": "doubt", "file": {}, "error": None, "confidence": 0.2, "calibrated": True},
        {
            "source": "/p/broken.jpg",
            "stem": "broken",
            "file": {},
            "error": "<b>",
            "confidence": None,
            "calibrated": False,
        },
        {"source": "/p/old.jpg", "stem": "old", "file": {}, "error": None},
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["review", str(tmp_path)]) == 0
    listed = (tmp_path / "review.txt").read_text().splitlines()
    assert [Path(line).stem for line in listed] == ["broken", "old", "doubt", "sure"]
    page = (tmp_path / "review.html").read_text()
    assert "&lt;b&gt;" in page and page.index("doubt.overlay.jpg") < page.index("sure.overlay.jpg")
    assert "not calibrated" in capsys.readouterr().out
    assert main(["review", str(tmp_path), "--count", "1"]) == 0
    assert (tmp_path / "review.txt").read_text() == "/p/broken.jpg\n"
    assert main(["review", str(tmp_path / "none")]) == 2


def run_folder(folder: Path, scores: list[float]) -> Path:
    folder.mkdir()
    config = {"data": ["set"], "model": "nano"}
    record = {"config": config, "checkpoint": {}, "software": {}, "questions": {"set": len(scores)}}
    (folder / "run.json").write_text(json.dumps(record))
    unsaid = dict.fromkeys(("error", "response", "rule", "answer", "true_rule", "true_answer", "check_iou", "box_iou"))
    rows = [
        {"data": "set", "id": str(n), "index": n, "task": "living", "concept": "cat"}
        | unsaid
        | {name: score if name == "miou" else 0.5 for name in failed_row()}
        for n, score in enumerate(scores)
    ]
    (folder / "rows-000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_runs_are_compared_question_by_question(tmp_path, capsys):
    base = run_folder(tmp_path / "base", [0.1, 0.2, 0.3, 0.4])
    better = run_folder(tmp_path / "better", [0.2, 0.3, 0.4, 0.51])
    assert main(["compare", str(base), str(better), str(base)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "+0.1025 ± 0.0025" in lines[2] and lines[2].rstrip().endswith("yes") and "4 of 4" in lines[2]
    assert lines[3].rstrip().endswith("same answers")
    assert main(["compare", str(base)]) == 2 and "two runs or more" in capsys.readouterr().err


def test_calibrate_writes_beside_the_checkpoint(tmp_path, capsys):
    data = square_folder(tmp_path / "data", 20, references=1, split="test")
    (tmp_path / "model").mkdir()
    assert main(["calibrate", "--data", str(data), "--model", str(tmp_path / "model")]) == 0
    told = json.loads((tmp_path / "model" / CALIBRATION_FILE).read_text())
    assert told["questions"] == 20 and told["absent"] == 0 and np.all(np.diff(told["expected"]) >= 0)
    printed = capsys.readouterr().out
    assert "20 questions about what is there, 0 about what is not" in printed and "router: SAM 3 alone" in printed
    router = json.loads((tmp_path / "model" / ROUTER_FILE).read_text())
    assert router["questions"] == 20 and router["checkpoint"] == told["checkpoint"]
    assert main(["calibrate", "--data", str(data), "--model", "owner/name"]) == 2


def test_what_it_is_not_is_shown_and_drawn(references, tmp_path, capsys):
    out = tmp_path / "apart.rule"
    shown = [word for text in references[:3] for word in ("--ref", text)]
    learn = ["rule", "learn", "--concept", "bright square", *shown, "--samples", "1", "--out", str(out)]
    assert main([*learn, "--unlike", references[3]]) == 0
    assert "unlike: references 4 mark what it is not" in capsys.readouterr().out
    assert main(["rule", "show", str(out)]) == 0
    assert "4  unlike    clear" in capsys.readouterr().out
    page = out.with_name("apart.rule.html").read_text()
    assert "what the concept is not" in page and "% clear)" in page
    assert main([*learn, "--unlike", references[3].split("@")[0]]) == 2
    assert "mark what is not the concept" in capsys.readouterr().err


def test_segment_is_told_what_it_is_not_and_remembers(references, tmp_path, capsys):
    out, image = tmp_path / "out", references[0].split("@")[0]
    asked = ["segment", image, "--concept", "bright square", "--ref", references[1], "--out", str(out)]
    assert main([*asked, "--unlike", references[2]]) == 0
    request = json.loads((out / "request.json").read_text())
    assert [one.get("unlike") for one in request["references"]] == [None, True]
    assert main(asked) == 2  # another request
    assert main(["segment", image, "--concept", "bright square", "--unlike", references[2], "--out", str(out)]) == 2
    assert "give at least one --ref" in capsys.readouterr().err


def test_segment_draws_the_union_of_objects_where_asked(references, tmp_path):
    out, image = tmp_path / "out", references[0].split("@")[0]
    asked = ["segment", image, "--concept", "bright square", "--mask-from", "instances", "--always", "--instances"]
    assert main([*asked, "--score-threshold", "0", "--out", str(out)]) == 0
    (record,) = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert record["mask_from"] == "instances" and record["area"] <= sum(one["area"] for one in record["instances"])
    assert json.loads((out / "request.json").read_text())["mask_from"] == ["instances", 0.0]
