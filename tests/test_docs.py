"""The documentation holds: its commands parse, its options exist, its links and the site's pages are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conceptseg.interfaces.cli.entry import COMMANDS, build_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_USAGE = re.compile(r"[\[\]|…]|\.\.\.|\b[A-Z]{2,}\b|(?<=\s)[A-Z](?=\s|$)")
"""What a line has that shows a form rather than a command."""
_END = re.compile(r"\s(?:#|&&|;|>|\|)\s.*")


def lines_of(page: Path) -> Iterator[str]:
    """All lines that call `conceptseg`, with those they go on in."""
    whole = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    whole = re.sub(r"\n {12,}(?=[\[-])", " ", whole)  # forms go on in lines that are indented further
    for line in whole.splitlines():
        found = re.match(r"(?:\s{4,}|\$ )?(conceptseg [a-z-]+.*)", line)
        if found and "$(" not in found[1]:  # what a shell puts there is not known here
            yield found[1]


LINES = [(page.name, line) for page in PAGES for line in lines_of(page)]
CALLS = [one for one in LINES if not _USAGE.search(_END.sub("", one[1]))]
FORMS = [one for one in LINES if one not in CALLS]


def test_there_is_something_to_check() -> None:
    assert len(CALLS) >= 20 and len(FORMS) >= 15


@pytest.mark.parametrize(("page", "line"), CALLS)
def test_commands_parse(page: str, line: str) -> None:
    words = shlex.split(_END.sub("", line), comments=True)[1:]
    try:
        assert build_parser(words[0]).parse_args(words).command == words[0]
    except SystemExit as done:  # `train --list` and the like have said what they were asked
        assert done.code == 0


@pytest.mark.parametrize(("page", "line"), FORMS)
def test_options_in_forms_exist(page: str, line: str, capsys: pytest.CaptureFixture) -> None:
    words = line.split()[1:]
    if words[0] not in COMMANDS:
        assert words == ["COMMAND", "--help"]
        return
    sub = [words[1]] if words[0] in ("rule", "data", "models", "world", "train") and words[1][0].islower() else []
    with pytest.raises(SystemExit, match="0"):
        build_parser(words[0]).parse_args([words[0], *(word.split("|")[0] for word in sub), "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line.split("  #")[0])) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_site_shows_every_page_once_and_no_other() -> None:
    content = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = [page for entry in content["nav"] for value in entry.values() for page in _pages(value)]
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def _pages(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    assert isinstance(value, list)
    return [page for entry in value for one in entry.values() for page in _pages(one)]


def test_the_reference_names_what_there_is() -> None:
    for page in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            module = ROOT / "src" / (name.replace(".", "/") + ".py")
            parent = module.parent.with_suffix(".py")
            named = (
                re.search(rf"^(?:class|def) {module.stem}\b", parent.read_text(), re.MULTILINE)
                if parent.is_file()
                else None
            )
            assert module.is_file() or named, name
