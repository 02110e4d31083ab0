"""`conceptseg models` and `conceptseg doctor`: what they tell of checkpoints and of the machine."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from huggingface_hub import constants

from conceptseg.interfaces.cli import doctor, main
from conceptseg.interfaces.cli.console import format_bytes, format_table
from conceptseg.models.checkpoints import bundled_folder
from tests.models.tiny import write_released


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


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("CONCEPTSEG_SAM", raising=False)


def test_the_doctor_tells_what_a_published_model_needs_without_the_hub(offline, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", ())
    assert main(["doctor", "--model", "zhaoyuan666/ConceptSeg-R1-7B"]) == 1  # neither part can be had here
    printed = capsys.readouterr().out
    assert "`hf download facebook/sam3`, or pass a local copy with --sam PATH" in printed
    rows = {line.split()[0]: line for line in printed.splitlines() if "-bit" in line}
    assert "15.4 GB" in rows["16-bit"] and "3.1 GB" in rows["16-bit"]  # 2 · 8.29 G, 4 · 0.84 G bytes
    assert list(rows) == ["16-bit", "8-bit", "4-bit"]


def test_the_doctor_knows_the_bundled_model_in_full(nano, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", ())
    assert main(["doctor", "--model", "nano"]) == 0
    assert str(bundled_folder()) in capsys.readouterr().out


def test_a_released_checkpoint_is_imported(tmp_path, capsys):
    write_released(tmp_path / "released")
    assert main(["models", "import", str(tmp_path / "released"), str(tmp_path / "ours")]) == 0
    assert f"--model {tmp_path / 'ours'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["sam"] == "facebook/sam3"
    assert main(["models", "import", str(tmp_path / "released"), str(tmp_path / "ours")]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["import"], ["import", "a"], ["nano", "b"], ["import", "a", "b", "c"]])
def test_other_words_are_a_wrong_request(words, capsys):
    assert main(["models", *words]) == 2
    assert "expected nothing, M, or import SRC DST" in capsys.readouterr().err


def test_tables_are_aligned():
    assert format_table(("a", "long"), [("xyz", 1)]).splitlines() == ["a    long", "───  ────", "xyz  1"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (2**30, "1.0 GB"), (5 * 2**50, "5120.0 TB")]
)
def test_sizes_are_written_in_their_largest_unit(count, text):
    assert format_bytes(count) == text
