"""`conceptseg models` and `conceptseg doctor`: what they tell of checkpoints and of the machine."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from conceptseg.interfaces.cli import doctor, main
from conceptseg.interfaces.cli.console import format_bytes, format_table
from conceptseg.models.checkpoints import bundled_folder


def test_the_known_checkpoints_are_listed_without_the_network(nano, capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "nano" in printed and "zhaoyuan666/ConceptSeg-R1-7B" in printed and "SAM License" in printed


def test_a_checkpoint_is_described_part_by_part(nano, tmp_path, capsys):
    copy = shutil.copytree(bundled_folder(), tmp_path / "copy", copy_function=os.symlink)
    (copy / "scores.json").unlink(missing_ok=True)
    (copy / "scores.json").write_text(json.dumps({"table": [{"task": "saliency", "iou": 0.71234}, {"task": "x"}]}))
    assert main(["models", str(copy)]) == 0
    printed = capsys.readouterr().out
    count = sum(parameter.numel() for parameter in nano.model.translation.parameters())
    assert f"{count / 1e6:.1f} M" in printed
    for told in ("reasoner", "translation", "segmenter", "Apache-2.0", nano.model.config.vocabulary[0], "0.712"):
        assert told in printed


def test_a_broken_checkpoint_is_one_line(tmp_path, capsys):
    assert main(["models", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "has no config.json" in printed and len(printed.splitlines()) == 1


def test_the_doctor_looks_at_everything(nano, capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for told in ("Python", "torch", "transformers", "[train]", "[app]", "CPU", "disk", "nano", "loads and answers"):
        assert told in printed


def test_the_doctor_fails_where_something_must_be_mended(monkeypatch, capsys):
    found = [doctor.Check("a", True, "fine"), doctor.Check("b", None, "not there, not needed")]
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter(found),))
    assert main(["doctor"]) == 0
    found.append(doctor.Check("c", False, "mend me"))
    assert main(["doctor"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_tables_are_aligned():
    assert format_table(("a", "long"), [("xyz", 1)]).splitlines() == ["a    long", "───  ────", "xyz  1"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (2**30, "1.0 GB"), (5 * 2**50, "5120.0 TB")]
)
def test_sizes_are_written_in_their_largest_unit(count, text):
    assert format_bytes(count) == text
