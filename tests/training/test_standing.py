"""A run goes on from the same data and whole files only, and has its folder to itself."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from conceptseg.data import read_samples
from conceptseg.errors import InputError
from conceptseg.ledger import LOCK_FILE, lone_writer
from conceptseg.training.checkpoints import STATE_FILE
from conceptseg.training.config_reading import load_config
from conceptseg.training.run import train
from conceptseg.training.standing import DATA_FILE, alone_in, check_data, file_sizes, read_state, require_whole
from tests.training.tiny import square_folder


@pytest.fixture
def folder(tmp_path):
    return square_folder(tmp_path / "data", 3)


@pytest.fixture
def out(tmp_path, folder):
    (tmp_path / "run").mkdir()
    check_data(tmp_path / "run", read_samples(folder), resumed=False)
    return tmp_path / "run"


def lines(folder):
    return (folder / "samples.jsonl").read_text().splitlines()


def change_words(folder):
    write_lines(folder, [lines(folder)[0].replace("bright square", "dark square"), *lines(folder)[1:]])


def change_picture(folder):
    Image.new("RGB", (48, 40)).save(read_samples(folder)[0].image)


def change_reference(folder):
    Image.new("RGB", (48, 40)).save(read_samples(folder)[0].references[1].image)


def take_away(folder):
    write_lines(folder, lines(folder)[1:])


def rename(folder):
    write_lines(folder, [line.replace("square/000", "square/new") for line in lines(folder)])


def turn_round(folder):
    write_lines(folder, lines(folder)[::-1])


def write_lines(folder, content):
    (folder / "samples.jsonl").write_text("\n".join(content) + "\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (change_words, r"1 changed \(square/000\)"),
        (change_picture, r"1 changed \(square/000\)"),
        (change_reference, r"1 changed \(square/000\)"),
        (take_away, r"1 gone \(square/000\)"),
        (rename, r"1 new \(square/new\); 1 gone \(square/000\)"),
        (turn_round, "samples stand in another order"),
    ],
)
def test_other_data_are_refused(out, folder, change, told):
    change(folder)
    with pytest.raises(InputError, match=rf"learned from other data: {told}\. Going on would mix them"):
        check_data(out, read_samples(folder), resumed=True)
    check_data(out, read_samples(folder), resumed=False)  # a fresh start takes what is there now
    check_data(out, read_samples(folder), resumed=True)


def test_the_same_data_are_the_same_wherever_and_whenever_written(out, folder):
    for path in folder.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    check_data(out, read_samples(folder), resumed=True)


def test_a_run_from_before_this_was_noted_goes_on_with_a_warning(out, folder, caplog):
    (out / DATA_FILE).unlink()
    check_data(out, read_samples(folder), resumed=True)
    assert "does not say what it was trained on" in caplog.text and (out / DATA_FILE).is_file()


@pytest.mark.parametrize("content", ["null\n", '{"id": 3}\n', "\xff\n", '{"id": "a", "digest": "b"}'])
def test_damaged_notes_are_refused(out, folder, content):
    (out / DATA_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"trained_on\.jsonl is damaged, so what this run was trained"):
        check_data(out, read_samples(folder), resumed=True)


@pytest.mark.parametrize("content", ["null", "[]", "{", "\xff", "{}", '{"config": 3}', ""])
def test_a_state_file_that_is_damaged_is_refused_with_advice(tmp_path, content):
    (tmp_path / STATE_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"training_state\.json .*Delete .* to go on from the checkpoint before it"):
        read_state(tmp_path / STATE_FILE)


def test_a_checkpoint_that_was_cut_off_is_refused_with_advice(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"1234")
    state = {"files": file_sizes(tmp_path)}
    require_whole(tmp_path, state)
    require_whole(tmp_path, {})
    (tmp_path / "a.safetensors").write_bytes(b"123")
    with pytest.raises(InputError, match=r"is damaged: a\.safetensors missing or cut off\. Delete"):
        require_whole(tmp_path, state)


def test_a_folder_takes_one_run_at_a_time(tmp_path, monkeypatch):
    with alone_in(tmp_path), pytest.raises(InputError, match="Another process is writing to"), lone_writer(tmp_path):
        pass
    monkeypatch.setenv("RANK", "1")
    with lone_writer(tmp_path), alone_in(tmp_path):  # of the same launch
        pass
    (tmp_path / "run.json").touch()
    with pytest.raises(InputError, match="holds an evaluation run"), alone_in(tmp_path):
        pass


def test_train_asks_all_this(tiny_checkpoint, squares, tmp_path):
    where = [f"out={tmp_path / 'run'}", f"model.checkpoint={tiny_checkpoint}", f"data.folders=[{squares}]"]
    short = ["log.to=[]", "log.watched=0", "max_steps=1", "batch_size=2", "per_device_batch_size=2", "model.device=cpu"]
    config = load_config("warmup", None, [*where, *short, "responses.max_new_tokens=6"])
    with lone_writer(config.out), pytest.raises(InputError, match="Another process is writing to"):
        train(config)
    train(config)
    path = config.out / DATA_FILE
    notes = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(notes) == 8 and (config.out / LOCK_FILE).exists()
    path.write_text("".join(json.dumps(note | {"stamp": "", "digest": "other"}) + "\n" for note in notes))
    with pytest.raises(InputError, match=r"learned from other data: 8 changed"):
        train(config)
