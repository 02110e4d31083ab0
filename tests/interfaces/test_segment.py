"""`conceptseg segment`: what it promises of folders, resuming, kills and mistakes, with a model that costs nothing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.cli import main, segment
from conceptseg.interfaces.cli.console import add_model_arguments, load_segmenter, protocol_changes
from conceptseg.interfaces.cli.ledger import LOCK_FILE, Ledger
from tests.interfaces.fakes import FakeSegmenter


@pytest.fixture
def fake(monkeypatch) -> FakeSegmenter:
    segmenter = FakeSegmenter()
    monkeypatch.setattr(segment, "load_segmenter", lambda args: segmenter)
    return segmenter


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twenty files with the names of pictures, of which numbers 3, 8 and 17 are broken, each in its own way."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(20):
        picture = Image.fromarray(np.full((12, 16, 3), 10 * number, dtype=np.uint8))
        picture.save(pictures / f"{number:02}.png")
    (pictures / "03.png").write_bytes(b"")
    (pictures / "08.png").write_text("no picture at all")
    whole = (pictures / "17.png").read_bytes()
    (pictures / "17.png").write_bytes(whole[: len(whole) // 2])
    return pictures


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def masks(out: Path) -> set[str]:
    return {path.name for path in out.glob("*.mask.png")}


GOOD = {f"{number:02}.png" for number in range(20)} - {"03.png", "08.png", "17.png"}


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return ["segment", str(folder), "--concept", "camouflaged object", "--out", str(out), *more]


def test_a_folder_with_broken_pictures_gives_the_others_and_says_which_failed(folder, tmp_path, fake, capsys):
    out = tmp_path / "out"
    assert main(command(folder, out)) == 1
    printed = capsys.readouterr()
    assert set(fake.seen) == GOOD and len(fake.seen) == 17
    assert masks(out) == {name.replace(".png", ".mask.png") for name in GOOD}
    assert len(list(out.glob("*.overlay.jpg"))) == 17
    assert [line.split(":")[1].strip() for line in printed.err.splitlines() if line.startswith("failed")] == [
        str(folder / name) for name in ("03.png", "08.png", "17.png")
    ]
    assert "20 images: 17 masks (17 direct, 0 reasoned), 3 failed" in printed.out.splitlines()[-1]


def test_what_was_scaled_or_left_out_is_counted_at_the_end(tmp_path, fake, capsys):
    for number in range(2):
        Image.fromarray(np.full((6, 8), 4000, np.uint16)).save(tmp_path / f"deep{number}.tif")
    pages = [Image.new("L", (8, 6), level) for level in (9, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert main(command(tmp_path, tmp_path / "out")) == 0
    told = capsys.readouterr().err
    assert "note, 2 of 3 images: The picture uses 12 of its 16 bits" in told
    assert "note, 1 of 3 images: The file has several frames or pages, of which only the first was read." in told
    assert sorted(len(row["notes"]) for row in records(tmp_path / "out")) == [1, 1, 1]


def test_references_that_are_label_maps_want_a_label(folder, tmp_path, fake, capsys):
    labels = tmp_path / "labels.png"
    Image.fromarray(np.where(np.arange(192).reshape(12, 16) % 16 < 5, 7, 2).astype(np.uint8)).save(labels)
    words = [*command(folder, tmp_path / "out"), "--ref", f"{folder / '00.png'}@{labels}"]
    assert main(words) == 2
    assert "holds the values 2, 7" in capsys.readouterr().err
    assert main([*words, "--label", "7"]) == 1  # the broken pictures
    capsys.readouterr()
    assert main([*words, "--label", "2"]) == 2  # another request
    assert "differs in: references" in capsys.readouterr().err


def test_notes_are_shown_once_with_their_count(folder, tmp_path, fake, monkeypatch, capsys):
    answer = FakeSegmenter.__call__

    def with_note(*args, **options):
        return dataclasses.replace(answer(*args, **options), notes=("Reference 1 is empty.",))

    monkeypatch.setattr(FakeSegmenter, "__call__", with_note)
    main(command(folder, tmp_path / "out"))
    assert capsys.readouterr().err.splitlines()[0] == "note, 17 of 20 images: Reference 1 is empty."


def test_two_passes_leave_the_same_results_in_another_order(folder, tmp_path, fake):
    assert main(command(folder, tmp_path / "one")) == main(command(folder, tmp_path / "two", "--two-pass")) == 1
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert one != two and sorted(one, key=lambda r: r["source"]) == sorted(two, key=lambda r: r["source"])
    assert masks(tmp_path / "one") == masks(tmp_path / "two")


def test_how_weights_are_kept_reaches_the_model(monkeypatch):
    asked = {}
    monkeypatch.setattr(ConceptSegmenter, "from_pretrained", lambda source, **options: asked.update(options))
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    load_segmenter(parser.parse_args(["--device", "cpu"]))
    assert asked == {"device": "cpu"}
    load_segmenter(parser.parse_args(["--sam", "a/b", "--bits", "4", "--dtype", "float16", "--device-map", "auto"]))
    assert asked == {"device": "auto", "sam": "a/b", "bits": 4, "dtype": "float16", "device_map": "auto"}


def test_again_nothing_is_computed_twice_and_only_failures_are_tried(folder, tmp_path, fake):
    out = tmp_path / "out"
    main(command(folder, out))
    fake.seen.clear()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.mask.png")}
    assert main(command(folder, out)) == 1
    assert fake.seen == []
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.mask.png")} == before
    assert len(records(out)) == 20
    Image.new("RGB", (16, 12)).save(folder / "03.png")
    main(command(folder, out))
    assert fake.seen == ["03.png"]


def test_a_finished_folder_needs_no_model(folder, tmp_path, fake, monkeypatch):
    for name in ("03.png", "08.png", "17.png"):
        (folder / name).unlink()
    main(command(folder, tmp_path / "out"))
    monkeypatch.setattr(segment, "load_segmenter", lambda args: pytest.fail("the model was loaded"))
    assert main(command(folder, tmp_path / "out")) == 0


def test_killed_in_the_middle_and_run_again_it_is_complete(folder, tmp_path, fake, capsys):
    out = tmp_path / "out"

    def run_slowly() -> None:
        fake.pause_s = 0.05
        main(command(folder, out))

    process = multiprocessing.get_context("fork").Process(target=run_slowly)
    process.start()
    deadline = time.monotonic() + 60
    while not ((out / "results.jsonl").is_file() and len(records(out)) >= 5):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.01)
    capsys.readouterr()
    assert main(command(folder, out)) == main(command(folder, out, "--overwrite")) == 2  # one process at a time
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 2 and all(f"Another process is writing to {out}" in line for line in complaints)
    assert fake.seen == []
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = len(records(out))
    assert 5 <= done < 20
    (out / ".00.mask.part.png").write_bytes(b"half a picture")  # what a kill while writing leaves
    assert main(command(folder, out)) == 1
    assert len(fake.seen) == len(GOOD - {Path(r["source"]).name for r in records(out)[:done]})
    assert sorted(Path(record["source"]).name for record in records(out)) == sorted(p.name for p in folder.iterdir())
    assert [path.name for path in out.glob(".*")] == [LOCK_FILE]
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path)).shape == (12, 16)


def test_what_another_process_wrote_while_the_model_was_read_is_not_lost(tmp_path):
    mine = Ledger(tmp_path / "out", {"concept": "cat"})
    with Ledger(tmp_path / "out", {"concept": "cat"}) as other:
        other.append(tmp_path / "a.png", other.begin([tmp_path / "a.png"])[tmp_path / "a.png"], {})
    with mine, pytest.raises(InputError, match=r"Another process wrote to .*out just now"):
        mine.begin([tmp_path / "b.png"])
    assert len(records(tmp_path / "out")) == 1


def test_a_half_written_line_is_dropped_and_its_picture_done_again(folder, tmp_path, fake):
    out = tmp_path / "out"
    main(command(folder, out))
    fake.seen.clear()
    lines = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").write_text("\n".join([*lines[:19], lines[19][:40]]))
    main(command(folder, out))
    assert fake.seen == ["19.png"]
    assert len(records(out)) == 20


@pytest.mark.parametrize("vanished", ["00.mask.png", "picture"])
def test_a_lost_mask_or_a_changed_picture_is_done_again(folder, tmp_path, fake, vanished):
    out = tmp_path / "out"
    main(command(folder, out))
    fake.seen.clear()
    if vanished == "picture":
        Image.new("RGB", (30, 20)).save(folder / "00.png")
    else:
        (out / vanished).unlink()
    main(command(folder, out))
    assert fake.seen == ["00.png"]


def test_a_results_folder_belongs_to_one_request(folder, tmp_path, fake, capsys):
    out = tmp_path / "out"
    main(command(folder, out))
    other = ["segment", str(folder), "--concept", "shadow", "--out", str(out)]
    capsys.readouterr()
    assert main(other) == 2
    assert "results of another request (it differs in: concept)" in capsys.readouterr().err
    assert {record["concept"] for record in records(out)} == {"camouflaged object"}
    fake.seen.clear()
    assert main([*other, "--overwrite"]) == 1
    assert len(fake.seen) == 17
    assert {record["concept"] for record in records(out)} == {"shadow"}


def test_other_weights_in_the_same_place_are_another_request(folder, tmp_path, fake, capsys):
    out, model = tmp_path / "out", tmp_path / "model"
    model.mkdir()
    (model / "ctm.safetensors").write_bytes(b"first training")
    main(command(folder, out, "--model", str(model)))
    (model / "ctm.safetensors").write_bytes(b"other training")
    capsys.readouterr()
    assert main(command(folder, out, "--model", str(model))) == 2
    assert "results of another request (it differs in: weights)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["calibration.json", "config.json", "mllm/tokenizer.json"])
def test_settings_of_a_checkpoint_are_part_of_the_request(folder, tmp_path, fake, capsys, name):
    out, model = tmp_path / "out", tmp_path / "model"
    (model / "mllm").mkdir(parents=True)
    (model / name).write_text('{"threshold": 0.1}')
    (model / "scores.json").write_text("{}")
    main(command(folder, out, "--model", str(model)))
    (model / "scores.json").write_text('{"miou": 0.5}')
    assert main(command(folder, out, "--model", str(model))) == 1  # goes on: scores decide no answer
    (model / name).write_text('{"threshold": 0.9}')
    capsys.readouterr()
    assert main(command(folder, out, "--model", str(model))) == 2
    assert "results of another request (it differs in: weights)" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["--sam", "pair", "named"])
def test_sam_from_elsewhere_is_known_by_what_it_holds(folder, tmp_path, fake, capsys, how):
    out, mllm, sam = (tmp_path / name for name in ("out", "mllm", "sam"))
    mllm.mkdir()
    sam.mkdir()
    (sam / "model.safetensors").write_bytes(b"first training")
    if how == "named":
        (mllm / "config.json").write_text(json.dumps({"format": "conceptseg", "sam": str(sam)}))
    given = {"--sam": [str(mllm), "--sam", str(sam)], "pair": [f"{mllm}+{sam}"], "named": [str(mllm)]}[how]
    main(command(folder, out, "--model", *given))
    (sam / "model.safetensors").write_bytes(b"other training")
    capsys.readouterr()
    assert main(command(folder, out, "--model", *given)) == 2
    assert "results of another request (it differs in: weights)" in capsys.readouterr().err


def test_references_count_by_what_they_hold_not_by_their_name(folder, tmp_path, fake):
    out = tmp_path / "out"
    reference = tmp_path / "reference.png"
    shutil.copy(folder / "00.png", reference)
    main(command(folder, out, "--ref", f"{reference}@1,1,8,8"))
    fake.seen.clear()
    shutil.copy(reference, tmp_path / "copy.png")
    assert main(command(folder, out, "--ref", f"{tmp_path / 'copy.png'}@1,1,8,8")) == 1
    assert fake.seen == []
    shutil.copy(folder / "01.png", reference)
    assert main(command(folder, out, "--ref", f"{reference}@1,1,8,8")) == 2


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path, fake):
    names = ["a/x.png", "b/x.png", "b/X.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    out = tmp_path / "out"
    assert main(command(tmp_path / "a", out)) == 0
    assert main(["segment", str(tmp_path / "b"), str(tmp_path / "a"), *command(tmp_path, out)[2:]]) == 0
    stems = {Path(record["source"]).relative_to(tmp_path).as_posix(): record["stem"] for record in records(out)}
    assert stems["a/x.png"] == "x"
    assert len({stem.casefold() for stem in stems.values()}) == 3
    assert masks(out) == {f"{stem}.mask.png" for stem in stems.values()}


def test_overlong_names_stop_nothing_and_stay_apart(tmp_path, fake):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("n" * 250 + ".png", "n" * 249 + "m.png", "ö" * 125 + ".png", "short.png"):
        Image.new("RGB", (8, 8)).save(pictures / name)
    assert main(command(pictures, tmp_path / "out")) == 0
    assert len(masks(tmp_path / "out")) == 4
    fake.seen.clear()
    assert main(command(pictures, tmp_path / "out")) == 0
    assert fake.seen == []


def test_a_results_folder_that_is_a_file_is_refused_before_the_model_is_read(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segment, "load_segmenter", lambda args: pytest.fail("read the model"))
    (tmp_path / "taken").touch()
    assert main(command(folder, tmp_path / "taken")) == 2
    assert "taken is a file: name a folder" in capsys.readouterr().err


def test_results_inside_the_folder_are_no_inputs(folder, fake):
    out = folder / "results"
    main(command(folder, out))
    fake.seen.clear()
    main(command(folder, out))
    assert fake.seen == []


def test_ctrl_c_keeps_what_is_done(folder, tmp_path, fake, monkeypatch, capsys):
    whole_stream = fake.stream

    def interrupted(*args, **options):
        for count, result in enumerate(whole_stream(*args, **options)):
            if count == 2:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(fake, "stream", interrupted)
    assert main(command(folder, tmp_path / "out")) == 130
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    monkeypatch.setattr(fake, "stream", whole_stream)
    fake.seen.clear()
    main(command(folder, tmp_path / "out"))
    assert set(fake.seen) == GOOD - {"00.png", "01.png"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "There is no file or folder 'nowhere'"),
        (["*.nothing"], "Nothing matches '*.nothing'"),
        ([""], "The argument '' is blank"),
        ([".", "--ref", "absent.png"], "there is no such image"),
        ([".", "--concept", "  "], "--concept is empty"),
        ([".", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(folder, monkeypatch, fake, capsys, arguments, complaint):
    monkeypatch.chdir(folder)
    assert main(["segment", "--concept", "shadow", "--out", "new", *arguments]) == 2
    printed = capsys.readouterr().err
    assert complaint in printed and len(printed.splitlines()) == 1
    assert not Path("new").exists()


def test_a_reference_that_cannot_be_used_stops_before_anything_is_written(folder, tmp_path, fake, capsys):
    out = tmp_path / "out"
    assert main(command(folder, out, "--ref", f"{folder / '00.png'}@100,100,120,120")) == 2
    assert "lies outside its picture" in capsys.readouterr().err
    assert not out.exists()


def test_the_protocol_is_changed_by_what_is_said_alone():
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    assert protocol_changes(parser.parse_args([])) == {}
    said = parser.parse_args(["--no-prior", "--mark", "mask", "--max-new-tokens", "9"])
    assert protocol_changes(said) == {"reference_prior": False, "mark": "mask", "max_new_tokens": 9}
