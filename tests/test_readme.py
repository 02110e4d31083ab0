"""The README runs: its Python, its commands, its links."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from conceptseg.interfaces.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURES = ROOT / "src" / "conceptseg" / "assets" / "demo"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    return [words for words in lines if words]


@pytest.fixture
def desk(tmp_path, monkeypatch, nano) -> Path:
    """A folder that holds the files the README speaks of."""
    (tmp_path / "photos").mkdir()
    for name, source in {
        "photo.jpg": "images/cat.jpg",
        "a.jpg": "images/flower.jpg",
        "a.png": "masks/flower.png",
        "b.jpg": "images/cup.jpg",
        "photos/one.jpg": "images/coins.jpg",
        "photos/two.jpg": "images/rocket.jpg",
    }.items():
        shutil.copy(PICTURES / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(code, desk, capsys):
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 8
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith(("direct", "reasoned"))
    assert (desk / "masks" / "photo.mask.png").is_file()


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "conceptseg"], ids=" ".join)
def test_the_commands_run(words, desk):
    assert main(words[1:]) == 0
    assert (desk / "masks" / "results.jsonl").is_file()


def test_the_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {words[1] for words in commands() if words[0] == "make"}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_the_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_scripts_it_names_exist():
    for script in re.findall(r"(?:recipes|benchmarks)/[\w/]+\.\w+", README):
        assert (ROOT / script).is_file()


def test_the_equations_are_where_it_says():
    told = re.findall(r"(\w+\.py) \(Eq\. ([\d, ]+)\)", README)
    assert {number for _, numbers in told for number in numbers.split(", ")} >= {"2", "3", "5", "9"}
    for name, numbers in told:
        (path,) = [path for path in (ROOT / "src").rglob(name) if "Eq. " in path.read_text(encoding="utf-8")]
        text = " ".join(re.findall(r"Eq\. [\d, and]+", path.read_text(encoding="utf-8")))
        assert set(numbers.split(", ")) <= set(re.findall(r"\d", text))
