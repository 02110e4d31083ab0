"""The examples run, with the smallest model there is."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit status of an example."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_every_example_is_run_here_and_told_of() -> None:
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"]({path.name})" in told and f'run("{path.name}"' in tests


def test_defects_are_found_by_references(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--model", str(tiny_checkpoint), "--count", "1", "--out", str(tmp_path))
    assert run("defects_with_references.py", monkeypatch, *words) == 0
    assert (tmp_path / "plate_0.mask.png").is_file()


def test_own_data_become_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("max_steps=1", "log.to=[]", "log.watched=0", "batch_size=2", "per_device_batch_size=2")
    words = ("--model", str(tiny_checkpoint), "--count", "5", "--out", str(tmp_path), *settings, "model.device=cpu")
    assert run("own_data_fine_tuned.py", monkeypatch, *words) == 0
    assert (tmp_path / "run/model/config.json").is_file()


def test_a_rule_becomes_tasks(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--model", str(tiny_checkpoint), "--count", "2", "--budget", "4", "--out", str(tmp_path))
    assert run("rule_into_label_studio.py", monkeypatch, *words) == 0
    assert len(json.loads((tmp_path / "tasks/tasks.json").read_text())) == 2
    assert "surface defect" in (tmp_path / "tasks/label_config.xml").read_text()
