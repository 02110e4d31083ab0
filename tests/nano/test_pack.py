"""A run in a few small files: what is carried, what is not, and that it is the same on the other side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nano.tools import pack


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    tensors = {"model.w": torch.randn(300, 7), "adam.exp_avg.w": torch.randn(300, 7)}
    save_file(tensors, folder / "vision.safetensors", {"progress": '{"step": 3}'})
    (folder / "names.json").write_text('["cat"]', encoding="utf-8")
    return folder


def carry(run: Path) -> Path:
    parts, again = run.parent / "parts", run.parent / "again"
    parts.mkdir(exist_ok=True)
    again.mkdir()
    pack.pack(run, parts)
    pack.unpack(parts, again)
    return again


def test_packed_state_is_small_and_the_same_to_half_precision(run: Path) -> None:
    again = carry(run)
    restored = load_file(again / "vision.safetensors")
    assert set(restored) == {"model.w"}
    assert torch.equal(restored["model.w"], load_file(run / "vision.safetensors")["model.w"].half().float())
    assert (again / "names.json").read_text(encoding="utf-8") == '["cat"]'
    with safe_open(again / "vision.safetensors", "pt") as file:
        assert json.loads(file.metadata()["progress"]) == {"step": 3}


def test_the_last_stages_newest_whole_checkpoint_comes_along_as_it_is(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_PART_BYTES", 1000)
    moments = np.random.default_rng(0).bytes(2500)
    for step in (30, 60, 90):
        folder = run / "meta_grpo" / f"checkpoint-{step}"
        (folder / "mllm").mkdir(parents=True)
        (folder / "optimizer.pt").write_bytes(moments[step:])
        (folder / "mllm" / "config.json").write_text("{}", encoding="utf-8")
        if step < 90:
            (folder / "training_state.json").write_text("{}", encoding="utf-8")  # written last: it is whole
    again = carry(run)
    assert [path.name for path in (again / "meta_grpo").iterdir()] == ["checkpoint-60"]
    whole = again / "meta_grpo" / "checkpoint-60"
    assert (whole / "optimizer.pt").read_bytes() == moments[60:]
    assert (whole / "mllm" / "config.json").read_text(encoding="utf-8") == "{}"


def test_older_parts_and_half_written_files_are_left_behind(run: Path) -> None:
    parts = run.parent / "parts"
    parts.mkdir()
    save_file({"vision.safetensors/model.old": torch.ones(1)}, parts / "part-7.safetensors")
    (run / ".segmenter.part.safetensors").write_bytes(b"half")
    (run / ".texts.part.json").write_text("[", encoding="utf-8")
    again = carry(run)
    assert set(load_file(again / "vision.safetensors")) == {"model.w"}
    assert sorted(path.name for path in again.iterdir()) == ["names.json", "vision.safetensors"]
