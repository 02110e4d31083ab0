"""The published names through the real command line, on folders that look like what the hub serves for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from conceptseg.interfaces.cli import main
from tests.fixtures.hub_layout import QWEN, RELEASED, SAM3

PAIR = f"{QWEN}+{SAM3}"
QUESTION = ["--concept", "the camouflaged animal in it", "--device", "cpu"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, colour in enumerate(("red", "green")):
        Image.new("RGB", (60 + 10 * number, 50), colour).save(folder / f"{number}.png")
    return folder


def rows(out: Path) -> dict[str, dict]:
    read = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {Path(row["source"]).name: row for row in read}


def said(out: Path) -> dict[str, str]:
    return {name: row["response"] for name, row in rows(out).items()}


def segment(pictures: Path, out: Path, *options: str) -> list[str]:
    return [
        "segment",
        str(pictures),
        *QUESTION,
        "--route",
        "reason",
        "--out",
        str(out),
        "--max-new-tokens",
        "4",
        *options,
    ]


@pytest.mark.parametrize("model", [PAIR, RELEASED])
def test_a_published_name_answers_alike_in_a_batch_alone_and_in_two_passes(
    downloaded, pictures, tmp_path, model, capsys
):
    reference = ["--ref", f"{pictures / '0.png'}@5,5,30,30"]
    ways = {"batch": [], "alone": ["--batch-size", "1"], "two": ["--two-pass"]}
    for name, options in ways.items():
        assert main(segment(pictures, tmp_path / name, "--model", model, *reference, *options)) == 0
    answers = [said(tmp_path / name) for name in ways]
    assert answers[0] == answers[1] == answers[2] and all(answers[0].values())
    boxed = any("No concept translation" in note for row in rows(tmp_path / "two").values() for note in row["notes"])
    assert boxed is (model == PAIR)
    told = capsys.readouterr().err
    assert "generation flags" not in told and "Chat template" not in told


def test_words_of_ones_own_are_asked_and_belong_to_the_request(downloaded, pictures, tmp_path, capsys):
    words = tmp_path / "my_words"
    words.mkdir()
    for variant in ("with_proxy", "with_references", "without_references"):
        (words / f"{variant}.txt").write_text("Where is {problem}?")
    out = tmp_path / "out"
    assert main(segment(pictures, out, "--model", RELEASED, "--template", str(words))) == 0
    asked = json.loads((out / "request.json").read_text())["protocol"]
    assert (asked["max_new_tokens"], asked["template"]) == (4, "my_words")
    assert asked["instructions"]["with_proxy"] == "Where is {problem}?"
    own = said(out)
    assert main(segment(pictures, tmp_path / "theirs", "--model", RELEASED)) == 0
    assert own != said(tmp_path / "theirs")
    (words / "without_references.txt").write_text("Show me {problem}!")
    assert main(segment(pictures, out, "--model", RELEASED, "--template", str(words))) == 2
    assert "another request (it differs in: protocol)" in capsys.readouterr().err


def test_wrong_words_are_a_line_before_anything_is_read(pictures, tmp_path, capsys):
    (tmp_path / "with_proxy.txt").write_text("Where is {concept}?")
    assert main(segment(pictures, tmp_path / "out", "--model", "no/such", "--template", str(tmp_path))) == 2
    told = capsys.readouterr().err
    assert "with_proxy.txt lacks {problem}" in told and "with_references.txt is missing" in told
    assert len(told.splitlines()) == 1


def test_the_doctor_and_the_list_of_parts_know_them(downloaded, capsys):
    assert main(["models", RELEASED]) == 0
    printed = capsys.readouterr().out
    assert "8 concept tokens" in printed and "template 'released', frame 600 px" in printed and "BF16" in printed


@pytest.mark.slow
@pytest.mark.parametrize("model", [PAIR, RELEASED])
@pytest.mark.parametrize("bits", [None, "4"])
def test_from_a_cold_start(hub_folders, pictures, tmp_path, model, bits):
    if bits:
        pytest.importorskip("bitsandbytes")
    command = [
        sys.executable,
        "-m",
        "conceptseg.interfaces.cli",
        *segment(pictures, tmp_path / "out", "--model", model),
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub_folders.cache), "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    done = subprocess.run(
        [*command, *(["--bits", bits] if bits else [])],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 masks (0 direct, 2 reasoned)" in done.stdout
    assert "Traceback" not in done.stderr and "generation flags" not in done.stderr
