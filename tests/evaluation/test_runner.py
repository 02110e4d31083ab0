"""The runner: killed, shared, damaged or failing, it counts every question once."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from conceptseg.data import ConceptSample, write_samples
from conceptseg.errors import InputError, ResourceError
from conceptseg.evaluation.records import RowWriter, mask_path, read_rows
from conceptseg.evaluation.runner import evaluate
from conceptseg.evaluation.runs import load_run
from conceptseg.evaluation.settings import EvaluationConfig, Shard
from conceptseg.metrics import failed_row
from tests.evaluation.fakes import BROKEN, FakeSegmenter, write_set

FORK = multiprocessing.get_context("fork")


def config_of(*data: Path, **changes: Any) -> EvaluationConfig:
    return EvaluationConfig.of({"data": tuple(map(str, data)), "method": "fake", "batch_size": 3} | changes)


def measure(config: EvaluationConfig, out: Path, **options: Any) -> list[dict[str, Any]]:
    return evaluate(config, out, FakeSegmenter, **options)


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "timings"} for row in rows]


@pytest.fixture
def data(tmp_path) -> tuple[Path, Path]:
    return write_set(tmp_path / "moths", 10), write_set(tmp_path / "shadows", 7, task="shadow")


def test_every_question_has_one_row_in_order(fake_method, data, tmp_path):
    rows = measure(config_of(*data), tmp_path / "run")
    assert [row["id"] for row in rows] == [f"moths/{n:03d}" for n in range(10)] + [f"shadows/{n:03d}" for n in range(7)]
    assert fake_method.asked == [row["id"] for row in rows]
    first = rows[0]  # brightness 0 + 3 + 6 → 1 + 9 % 11 = 10 of 12 columns, 6 of them true
    assert (first["intersection"], first["union"]) == (6 * 12, 10 * 12)
    assert first["iou"] == pytest.approx(0.6) and first["task"] == "camouflage" and first["data"] == "moths"
    assert rows[-1]["task"] == "shadow" and rows[-1]["true_answer"] == "moth" and rows[-1]["error"] is None


def test_the_record_says_what_was_measured(fake_method, data, tmp_path):
    measure(config_of(*data, protocol="paper"), tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["config"]["protocol"] == "paper" and record["questions"] == {"moths": 10, "shadows": 7}
    assert record["checkpoint"]["sha256"] == {"home": "0123456789"}
    assert {"conceptseg", "commit", "python", "packages"} <= record["software"].keys()
    run = load_run(tmp_path / "run")
    assert run.missing == 0 and run.failures == [] and "17 questions" in run.note and "UNFINISHED" not in run.note


def test_a_note_tells_of_files_that_differed_from_the_commit(fake_method, data, tmp_path):
    measure(config_of(*data), tmp_path)
    run = load_run(tmp_path)
    for commit, told in (("0123456789ab", "commit 012345678"), ("0123456789ab+changes", "commit 012345678+changes")):
        assert replace(run, software={"commit": commit}).note.endswith(told)


def test_killed_three_times_is_like_not_at_all(fake_method, data, tmp_path):
    whole = measure(config_of(*data), tmp_path / "whole")
    for dies_at in (1, 5, 8):  # in the first batch, in the second, after three of what was left

        def die(number: int = dies_at) -> None:
            fake_method.asked.clear()
            fake_method.dies_at = number
            measure(config_of(*data), tmp_path / "killed")

        child = FORK.Process(target=die)
        child.start()
        child.join()
        assert child.exitcode == -9
    before = len(read_rows(tmp_path / "killed"))
    assert before == 0 + 3 + 7
    assert load_run(tmp_path / "killed").missing == 7 and "UNFINISHED" in load_run(tmp_path / "killed").note
    fake_method.asked.clear()
    assert numbers(measure(config_of(*data), tmp_path / "killed")) == numbers(whole)
    assert len(fake_method.asked) == 17 - before


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_line_cut_off_by_a_kill_is_written_anew(fake_method, data, tmp_path, cut):
    whole = measure(config_of(*data), tmp_path / "run")
    path = tmp_path / "run/rows-000.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_rows(tmp_path / "run")) == 16
    assert numbers(measure(config_of(*data, batch_size=3), tmp_path / "run"))[:-1] == numbers(whole)[:-1]
    assert all(json.loads(line)["id"] for line in path.read_text().splitlines())
    assert len(path.read_text().splitlines()) == 17


def test_two_processes_are_like_one(fake_method, data, tmp_path):
    whole = measure(config_of(*data), tmp_path / "whole")
    children = [
        FORK.Process(
            target=measure, args=(config_of(*data), tmp_path / "shared"), kwargs={"shard": Shard(rank=rank, count=2)}
        )
        for rank in (0, 1)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    lines = [len((tmp_path / f"shared/rows-00{rank}.jsonl").read_text().splitlines()) for rank in (0, 1)]
    assert sum(lines) == 17 and min(lines) > 0
    assert numbers(read_rows(tmp_path / "shared")) == numbers(whole)


def test_another_number_of_processes_goes_on_where_one_stopped(fake_method, data, tmp_path):
    whole = measure(config_of(*data), tmp_path / "whole")
    measure(config_of(*data), tmp_path / "run", shard=Shard(rank=1, count=3))
    for rank in (0, 1):
        measure(config_of(*data), tmp_path / "run", shard=Shard(rank=rank, count=2))
    assert numbers(read_rows(tmp_path / "run")) == numbers(whole)
    assert sum(len(path.read_text().splitlines()) for path in (tmp_path / "run").glob("rows-*")) == 17


def test_a_deleted_line_costs_one_question(fake_method, data, tmp_path):
    measure(config_of(*data), tmp_path / "run")
    path = tmp_path / "run/rows-000.jsonl"
    lines = path.read_text().splitlines()
    gone = json.loads(lines.pop(4))
    path.write_text("\n".join(lines) + "\n")
    fake_method.asked.clear()
    rows = measure(config_of(*data), tmp_path / "run")
    assert fake_method.asked == [gone["id"]] and len(rows) == 17


def test_a_finished_run_loads_no_model(fake_method, data, tmp_path):
    measure(config_of(*data), tmp_path / "run")
    again = evaluate(config_of(*data), tmp_path / "run", lambda: pytest.fail("the model was loaded"))
    assert len(again) == 17


def test_a_failing_question_scores_worst_and_stays(fake_method, tmp_path):
    folder = write_set(tmp_path / "set", 5, concept=lambda number: BROKEN if number == 2 else "moth")
    (folder / "images" / "set_004.png").write_bytes(b"no picture")
    rows = measure(config_of(folder), tmp_path / "run")
    assert [row["error"] is None for row in rows] == [True, True, False, True, False]
    assert rows[2]["error"] == "RuntimeError: the picture cannot be answered" and "set_004" in rows[4]["error"]
    assert [rows[2][name] for name in ("mae", "ber", "wfm", "miou", "mdice")] == [1, 1, 0, 0, 0]
    assert (rows[2]["intersection"], rows[2]["union"]) == (0, 72)  # the truth is known: it weighs in ΣI / ΣU
    assert (rows[4]["intersection"], rows[4]["union"]) == (0, 1)  # it is not: but no empty union that counts as 1
    run = load_run(tmp_path / "run")
    accumulator = run.accumulate()
    assert len(accumulator) == 5 and len(run.failures) == 2 and "2 failed" in run.note
    assert accumulator.giou() == pytest.approx(sum(row["iou"] for row in rows) / 5, abs=1e-6)


def test_what_failed_is_asked_again_only_on_request(fake_method, tmp_path, monkeypatch):
    folder = write_set(tmp_path / "set", 3, concept=lambda number: BROKEN if number == 1 else "moth")
    measure(config_of(folder), tmp_path / "run")
    monkeypatch.setattr("tests.evaluation.fakes.BROKEN", "mended")
    fake_method.asked.clear()
    assert measure(config_of(folder), tmp_path / "run")[1]["error"] is not None and fake_method.asked == []
    rows = measure(config_of(folder), tmp_path / "run", retry_failed=True)
    assert fake_method.asked == ["set/001"] and len(rows) == 3 and rows[1]["error"] is None
    assert rows[1]["iou"] > 0


def test_a_picture_that_could_not_be_read_and_was_mended_is_asked_again(fake_method, tmp_path):
    folder = write_set(tmp_path / "set", 3)
    path = folder / "images" / "set_001.png"
    picture = path.read_bytes()
    path.write_bytes(b"no picture")
    assert measure(config_of(folder), tmp_path / "run")[1]["error"] is not None
    path.write_bytes(picture)
    fake_method.asked.clear()
    rows = measure(config_of(folder), tmp_path / "run")
    assert fake_method.asked == ["set/001"] and len(rows) == 3 and rows[1]["iou"] > 0


def change_picture(folder: Path) -> None:
    Image.new("RGB", (12, 12), (9, 9, 9)).save(folder / "images" / "set_001.png")


def change_mask(folder: Path) -> None:
    path = folder / "masks" / "set_000.png"  # one file for all: they are alike
    ImageOps.invert(Image.open(path)).save(path)


def change_words(folder: Path) -> None:
    index = folder / "samples.jsonl"
    index.write_text(index.read_text().replace('"concept": "1"', '"concept": "another"'))


def change_reference(folder: Path) -> None:
    Image.new("RGB", (9, 9), (200, 0, 0)).save(folder / "images" / "set_001-ref0.png")


def change_box(folder: Path) -> None:
    index = folder / "samples.jsonl"
    lines = index.read_text().splitlines()
    lines[1] = lines[1].replace("[1.0, 2.0, 5.0, 6.0]", "[1.0, 2.0, 5.0, 7.0]")
    index.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "count"),
    [(change_picture, 1), (change_words, 1), (change_reference, 1), (change_box, 1), (change_mask, None)],
)
def test_what_changed_is_scored_again_and_told(fake_method, tmp_path, change, count):
    folder = write_set(tmp_path / "set", 3)
    measure(config_of(folder), tmp_path / "run")
    before = folder / "samples.jsonl", (folder / "samples.jsonl").read_bytes()
    change(folder)
    told: list[str] = []
    fake_method.asked.clear()
    rows = measure(config_of(folder), tmp_path / "run", tell=told.append)
    asked = list(fake_method.asked)
    assert asked == ["set/001"] if count else len(asked) >= 1
    assert told == [
        f"{len(asked)} questions are asked again: their pictures, masks, words or references have changed since they "
        "were scored."
    ]
    fresh = measure(config_of(folder), tmp_path / "fresh")
    assert [row["concept"] for row in rows] == [row["concept"] for row in fresh]
    assert [row["state"]["digest"] for row in rows] == [row["state"]["digest"] for row in fresh]
    fake_method.asked.clear()
    assert len(measure(config_of(folder), tmp_path / "run")) == 3 and fake_method.asked == []
    assert before[0].is_file()


def test_a_failure_on_changed_data_takes_the_place_of_a_success(fake_method, tmp_path):
    folder = write_set(tmp_path / "set", 2)
    measure(config_of(folder), tmp_path / "run")
    (folder / "images" / "set_001.png").write_bytes(b"no picture")
    rows = measure(config_of(folder), tmp_path / "run")
    assert rows[1]["error"] is not None and rows[1]["revision"] == 1
    assert read_rows(tmp_path / "run") == rows


def test_a_copy_of_the_data_is_no_change(fake_method, tmp_path):
    folder = write_set(tmp_path / "set", 3)
    measure(config_of(folder), tmp_path / "run")
    for path in folder.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    fake_method.asked.clear()
    measure(config_of(folder), tmp_path / "run")
    assert fake_method.asked == []


def test_rows_from_before_states_were_kept_stay_and_are_told(fake_method, tmp_path):
    folder = write_set(tmp_path / "set", 2)
    measure(config_of(folder), tmp_path / "run")
    path = tmp_path / "run/rows-000.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "state"}) + "\n" for row in rows))
    told: list[str] = []
    fake_method.asked.clear()
    measure(config_of(folder), tmp_path / "run", tell=told.append)
    assert fake_method.asked == [] and told[0].startswith("2 rows are kept that do not say what they were scored on")


@pytest.mark.parametrize(
    "edit",
    [
        {"iou": "much"},
        {"index": "0"},
        {"index": -1},
        {"error": 3},
        {"task": "magic"},
        {"union": float("nan")},
        {"intersection": 10**400},
        {"timings": [1]},
        {"state": "x"},
        {"revision": "1"},
        {"rule": ["a"]},
        {"id": None},
    ],
)
def test_a_row_of_wrong_types_is_asked_again_and_told(fake_method, tmp_path, edit):
    folder = write_set(tmp_path / "set", 2)
    whole = measure(config_of(folder), tmp_path / "run")
    path = tmp_path / "run/rows-000.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(json.dumps(json.loads(lines[0]) | edit) + "\n" + lines[1] + "\n[1]\n\xff\n")
    told: list[str] = []
    rows = measure(config_of(folder), tmp_path / "run", tell=told.append)
    assert [(row["index"], row["id"], row["error"]) for row in rows] == [(0, "set/000", None), (1, "set/001", None)]
    assert rows[1] == whole[1]
    assert told == ["3 damaged lines are left aside; their questions are asked again."]
    assert load_run(tmp_path / "run").missing == 0


@pytest.mark.parametrize(
    "content", ["null", "[]", '{"config": {}}', "\xff", "{", '{"config": 1, "questions": 2}', "[" * 9999]
)
def test_a_damaged_record_of_a_run_is_refused(fake_method, tmp_path, content):
    folder = write_set(tmp_path / "set", 2)
    measure(config_of(folder), tmp_path / "run")
    (tmp_path / "run/run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"run\.json is (damaged|not the record)"):
        measure(config_of(folder), tmp_path / "run")


def test_rows_that_are_a_folder_are_refused(fake_method, tmp_path):
    (tmp_path / "run/rows-000.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match=r"Cannot read .*rows-000\.jsonl: Is a directory"):
        measure(config_of(write_set(tmp_path / "set", 2)), tmp_path / "run")


def test_a_folder_with_results_of_segment_is_no_run(fake_method, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/request.json").write_text("{}")
    with pytest.raises(InputError, match=r"run holds results of `conceptseg segment` \(request\.json\)"):
        measure(config_of(write_set(tmp_path / "set", 2)), tmp_path / "run")


def test_a_presence_that_is_no_number_costs_the_question_its_score(fake_method, tmp_path, monkeypatch):
    answer = fake_method.answer
    broken = lambda self, queries, route: [replace(r, presence=float("nan")) for r in answer(self, queries, route)]  # noqa: E731
    monkeypatch.setattr(fake_method, "answer", broken)
    rows = measure(config_of(write_set(tmp_path / "set", 2)), tmp_path / "run")
    assert all("no numbers (presence nan)" in row["error"] for row in rows)
    assert [row["iou"] for row in rows] == [0, 0]


def test_trouble_of_the_machine_ends_the_run_and_costs_no_sample(fake_method, data, tmp_path, monkeypatch):
    def out_of_memory(self, queries, route):
        raise ResourceError("Out of memory.")

    monkeypatch.setattr(fake_method, "answer", out_of_memory)
    with pytest.raises(ResourceError, match=r"Out of memory\."):
        measure(config_of(*data), tmp_path / "run")
    assert read_rows(tmp_path / "run") == []


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_memory_that_runs_out_inside_a_method_is_trouble_of_the_machine(
    fake_method, data, tmp_path, monkeypatch, error
):
    monkeypatch.setattr(fake_method, "answer", Mock(side_effect=error))
    with pytest.raises(ResourceError, match="Out of memory while answering 3 questions at a time"):
        measure(config_of(*data), tmp_path / "run")
    assert read_rows(tmp_path / "run") == []


def test_rows_of_two_runs_do_not_mix(fake_method, data, tmp_path, monkeypatch):
    measure(config_of(*data), tmp_path / "run")
    with pytest.raises(InputError, match="holds another run; it differs in: protocol, seed"):
        measure(config_of(*data, protocol="paper", seed=1), tmp_path / "run")
    monkeypatch.setattr("conceptseg.evaluation.runner.describe_checkpoint", lambda model, sam, **_: {"sha256": "other"})
    with pytest.raises(InputError, match="it differs in: concept_tokens, layout, name, sha256"):
        measure(config_of(*data), tmp_path / "run")


def test_a_setting_that_names_a_file_stands_for_what_it_holds(fake_method, data, tmp_path):
    rule = tmp_path / "defect.rule"
    rule.write_bytes(b"learned on Monday")
    config = config_of(*data, options={"file": str(rule)})
    measure(config, tmp_path / "run")
    measure(config, tmp_path / "run")
    rule.write_bytes(b"learned on Tuesday")
    with pytest.raises(InputError, match="differs in: what the file holds of file"):
        measure(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "Unknown method 'magic'"),
        ({"options": {"colour": 3}}, "Method 'fake' does not take these settings: colour"),
    ],
)
def test_a_wrong_method_leaves_no_run_behind(fake_method, data, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        measure(config_of(*data, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_that_changed_between_two_calls_are_refused(fake_method, tmp_path):
    folder = write_set(tmp_path / "moths", 3)
    measure(config_of(folder), tmp_path / "run")
    index = folder / "samples.jsonl"
    lines = index.read_text().splitlines()
    index.write_text("\n".join([*lines[:2], lines[2].replace("moths/002", "moths/new")]) + "\n")
    with pytest.raises(InputError, match=r"rows of questions that are no longer there.* e\.g\. 'moths/002'"):
        measure(config_of(folder), tmp_path / "run")
    index.write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(InputError, match="it differs in: the number of questions of moths"):
        measure(config_of(folder), tmp_path / "run")


def row_of(data: str, name: str) -> dict[str, Any]:
    return {"data": data, "id": name, "index": 0, "task": "shadow", "concept": "x", "error": "y", **failed_row()}


def test_two_writers_of_one_file_are_refused(tmp_path):
    with RowWriter(tmp_path), pytest.raises(InputError, match="Another process is writing to"):
        RowWriter(tmp_path)
    with RowWriter(tmp_path, rank=1), RowWriter(tmp_path) as writer:
        writer.write([row_of("a", "b")])
    assert len(read_rows(tmp_path)) == 1


def test_a_number_that_is_none_is_not_written(tmp_path):
    with RowWriter(tmp_path) as writer, pytest.raises(ValueError, match="not JSON compliant"):
        writer.write([row_of("a", "b") | {"iou": float("nan")}])
    assert read_rows(tmp_path) == []


def test_an_id_that_is_no_utf_8_comes_back_as_it_was(tmp_path):
    odd = row_of("süß\u2028", "moth\udcff\n")
    with RowWriter(tmp_path) as writer:
        writer.write([odd])
    assert read_rows(tmp_path) == [odd]


def test_a_run_cannot_be_kept_in_a_file(fake_method, data, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match=r"Cannot write to .*run: File exists\. Choose another --out"):
        measure(config_of(*data), tmp_path / "run")


def test_predictions_are_kept_for_the_gallery(fake_method, data, tmp_path):
    rows = measure(config_of(*data), tmp_path / "run")
    kept = np.asarray(Image.open(mask_path(tmp_path / "run", rows[0])))
    assert kept.dtype == bool and kept.shape == (12, 12) and kept[:, :10].all() and not kept[:, 10:].any()
    measure(config_of(*data), tmp_path / "bare", keep_masks=False)
    assert not (tmp_path / "bare/masks").exists()


def test_progress_is_told(fake_method, data, tmp_path):
    told = []
    measure(config_of(*data), tmp_path / "run", progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 17), (6, 17), (9, 17), (10, 17), (13, 17), (16, 17), (17, 17)]


def street(folder: Path) -> Path:
    """Two pictures with two questions each."""
    picture, truth = np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12), dtype=bool)
    truth[:, :6] = True
    for name in ("one", "two"):
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"{name}.png")
    write_samples(
        [
            ConceptSample(f"{name}/{concept}", "urban_scene", concept, folder / f"{name}.png", truth, group=concept)
            for name in ("one", "two")
            for concept in ("road", "sky")
        ],
        folder,
    )
    return folder


def test_questions_about_one_picture_are_asked_together_with_one_object(fake_method, tmp_path, monkeypatch):
    answer, batches = fake_method.answer, []

    def note(self, queries, route):
        batches.append([(query.source, id(query.image)) for query in queries])
        return answer(self, queries, route)

    monkeypatch.setattr(fake_method, "answer", note)
    measure(config_of(street(tmp_path / "street"), batch_size=3), tmp_path / "run")
    names = [[source for source, _ in batch] for batch in batches]
    assert names == [["one/road", "one/sky"], ["two/road", "two/sky"]]  # not three and one
    assert all(len({picture for _, picture in batch}) == 1 for batch in batches)
    batches.clear()
    measure(config_of(street(tmp_path / "street"), batch_size=1), tmp_path / "single")  # one question at a time
    assert [len(batch) for batch in batches] == [1] * 4 and batches[0][0][1] == batches[1][0][1]


def test_overlaps_of_one_picture_are_resolved_by_presence(fake_method, tmp_path, monkeypatch):
    answer = fake_method.answer

    def sky_is_surer(self, queries, route):
        return [replace(r, presence={"road": 0.2, "sky": 0.9}[r.concept]) for r in answer(self, queries, route)]

    monkeypatch.setattr(fake_method, "answer", sky_is_surer)
    folder = street(tmp_path / "street")
    kept = measure(config_of(folder), tmp_path / "kept")
    assert [row["union"] for row in kept] == [72] * 4  # every mask is column 0
    resolved = measure(config_of(folder, overlaps="resolved"), tmp_path / "resolved")
    assert [(row["concept"], row["intersection"]) for row in resolved] == [
        ("road", 0),
        ("sky", 12),
        ("road", 0),
        ("sky", 12),
    ]
    path = tmp_path / "resolved/rows-000.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[1:]) + "\n")  # the road of picture one: needs its sky to be drawn again
    again = measure(config_of(folder, overlaps="resolved"), tmp_path / "resolved")
    assert numbers(again) == numbers(resolved) and len(path.read_text().splitlines()) == 4


def test_a_retried_question_takes_its_pixels_from_its_neighbours(fake_method, tmp_path, monkeypatch):
    answer, fails = fake_method.answer, [True]

    def sky_is_surer(self, queries, route):
        if fails[0] and any(query.concept == "sky" for query in queries):
            raise RuntimeError("the sky cannot be answered")
        return [replace(r, presence={"road": 0.2, "sky": 0.9}[r.concept]) for r in answer(self, queries, route)]

    monkeypatch.setattr(fake_method, "answer", sky_is_surer)
    config, told = config_of(street(tmp_path / "street"), overlaps="resolved"), []
    alone = measure(config, tmp_path / "run")
    assert [(row["intersection"], row["error"] is None) for row in alone] == [(12, True), (0, False)] * 2
    fails[0] = False
    rows = measure(config, tmp_path / "run", retry_failed=True, tell=told.append)
    assert [row["intersection"] for row in rows] == [0, 12, 0, 12]
    assert [line.split(":")[0] for line in told] == ["2 questions are asked again beside those that failed"]


def test_the_same_questions_score_the_same_however_their_truth_is_stored(fake_method, data, tmp_path):
    scores = {}
    for name, kept in {"1": (1, None), "255": (255, None), "7": (7, 7), "refused": (7, None)}.items():
        folder = write_set(tmp_path / name / "moths", 3)
        for path in {row["mask"] for row in map(json.loads, (folder / "samples.jsonl").read_text().splitlines())}:
            truth = np.asarray(Image.open(folder / path)) == 255
            Image.fromarray(truth.astype(np.uint8) * kept[0]).save(folder / path)
        rows = measure(config_of(folder, references=0, label=kept[1]), tmp_path / f"run{name}")
        scores[name] = [row["iou"] for row in rows]
        if name == "refused":
            assert all("label map" in row["error"] for row in rows) and set(scores[name]) == {0.0}
    assert scores["1"] == scores["255"] == scores["7"] and min(scores["1"]) > 0


def test_labels_are_not_for_the_world(fake_method, tmp_path):
    with pytest.raises(InputError, match="world:living:seen_test:1:0 makes exact masks"):
        measure(config_of("world:living:seen_test:1:0", label=1), tmp_path / "run")
    with pytest.raises(InputError, match="label must be a whole number or a colour"):
        config_of("world:living:seen_test:1:0", label="seven")


def test_no_two_sets_share_a_folder_of_predictions(tmp_path):
    sets = ["x#val", "x_val", "x/val", "x val", ".x_val", "_", "#", ""]
    paths = {mask_path(tmp_path, {"data": name, "index": 0}) for name in sets}
    assert len(paths) == len(sets) and all(path.parent.parent == tmp_path / "masks" for path in paths)
    assert mask_path(tmp_path, {"data": "x_val", "index": 3}) == tmp_path / "masks/x_val/000003.png"
