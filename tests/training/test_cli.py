from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import read_samples
from conceptseg.interfaces.cli import main
from conceptseg.training.recipes import recipe_names

TINY = ["model.device=cpu", "log.to=[]", "log.watched=0", "max_steps=1", "batch_size=2", "per_device_batch_size=2"]


def test_every_mistake_of_a_command_in_one_message(capsys):
    assert main(["train", "warmup", "out=x", "data.world.count=1", "typo.key=1", "other=2"]) == 2
    said = capsys.readouterr().err
    assert "2 mistake(s)" in said
    assert "typo: unknown key" in said and "other: unknown key" in said


def test_a_dry_run_says_what_would_be_done(tiny_checkpoint, squares, tmp_path, capsys):
    words = ["train", "meta-grpo", "--dry-run", f"out={tmp_path / 'run'}", f"model.checkpoint={tiny_checkpoint}"]
    assert main([*words, f"data.folders=[{squares}]", "data.held_out=2"]) == 0
    said = capsys.readouterr().out
    assert "learning_rate: 1.0e-06" in said
    assert "concept translation" in said and "reference policy" in said
    assert "2 updates of 64, in 8 part(s) on 1 device(s), over 6 samples; 2 held out." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "order",
    [
        ["out=a", "--dry-run", "epochs=3"],
        ["--dry-run", "out=a", "--config", "warmup", "epochs=3"],
        ["--config", "warmup", "out=a", "epochs=3", "--dry-run"],
        ["out=a", "--config=warmup", "data.limit=8", "--dry-run", "epochs=3"],
    ],
)
def test_overrides_may_stand_anywhere_in_the_line(order, tiny_checkpoint, capsys):
    assert main(["train", "warmup", *order, f"model.checkpoint={tiny_checkpoint}", "data.world.count=128"]) == 0
    said = capsys.readouterr().out
    assert "out: a\n" in said and "epochs: 3.0\n" in said


def test_what_looks_like_an_option_is_still_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "warmup", "out=a", "--dryrun", "epochs=3"])
    assert "unrecognized arguments: --dryrun" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["train", "--list"], ["train", "warmup", "--list"]])
def test_the_recipes_are_listed(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(words)
    assert capsys.readouterr().out.splitlines() == list(recipe_names())


def test_the_help_names_the_recipes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert "own_data   warmup: Fine-tuning" in said and "concept_tokens_4" in said


def test_training_from_the_command_line(tiny_checkpoint, squares, tmp_path):
    where = [f"out={tmp_path}", f"model.checkpoint={tiny_checkpoint}", f"data.folders=[{squares}]"]
    assert main(["train", "warmup", *where, *TINY, "responses.source=template"]) == 0
    assert (tmp_path / "model" / "ctm.safetensors").is_file()


def test_wrong_data_is_a_wrong_request(tmp_path, tiny_checkpoint, capsys):
    words = [f"out={tmp_path / 'run'}", f"data.folders=[{tmp_path}]", f"model.checkpoint={tiny_checkpoint}"]
    assert main(["train", "warmup", *words]) == 2
    assert "samples.jsonl" in capsys.readouterr().err


@pytest.fixture
def two_folders(tmp_path):
    def write(images, masks, empty=()):
        for folder, names in (("images", images), ("masks", masks)):
            for name in names:
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if folder == "images":
                    Image.fromarray(np.full((6, 8, 3), 7, dtype=np.uint8)).save(path)
                else:
                    mask = np.zeros((6, 8), dtype=np.uint8)
                    if name not in empty:
                        mask[1:3, 2:5] = 255
                    Image.fromarray(mask).save(path)
        return tmp_path / "images", tmp_path / "masks"

    return write


def test_images_and_masks_become_samples(two_folders, tmp_path, capsys):
    images, masks = two_folders(["a.jpg", "dir/b.png"], ["a_mask.png", "dir/b.png"])
    out = tmp_path / "set"
    words = ["data", "from-folders", str(images), str(masks), "--concept", "dent", "--out", str(out)]
    assert main([*words, "--task", "industrial_anomaly", "--answer", "dent"]) == 0
    samples = read_samples(out)
    assert [(s.id, s.task, s.concept, s.answer, s.group) for s in samples] == [
        ("a", "industrial_anomaly", "dent", "dent", None),
        ("dir/b", "industrial_anomaly", "dent", "dent", None),
    ]
    assert np.asarray(Image.open(samples[0].mask)).sum() == 6 * 255
    assert "2 samples" in capsys.readouterr().out


def test_unusable_pairs_are_listed(two_folders, tmp_path, capsys):
    images, masks = two_folders(["a.png", "b.png"], ["a.png", "b.png"], empty=("b.png",))
    words = ["data", "from-folders", str(images), str(masks), "--concept", "dent", "--out", str(tmp_path / "set")]
    assert main(words) == 1
    assert "left out: b: its mask is empty" in capsys.readouterr().err
    assert len((tmp_path / "set" / "samples.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "set" / "samples.jsonl").read_text())["id"] == "a"
