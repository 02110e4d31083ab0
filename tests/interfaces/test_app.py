"""`conceptseg app`: what the arguments come to; the page itself is tested beside it."""

from __future__ import annotations

import importlib.util
import os

import pytest

from conceptseg.interfaces.app import serving as app_serving
from conceptseg.interfaces.cli import app, main
from conceptseg.interfaces.server import serving
from tests.interfaces.fakes import FakeSegmenter


@pytest.fixture
def started(monkeypatch) -> list:
    """(options, limits, model) of every page that would have been served."""
    calls: list = []

    def pretend(segmenter, options, limits, *, model, on_ready):
        calls.append((options, limits, model))
        on_ready()

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(app, "load_segmenter", lambda args: FakeSegmenter())
    monkeypatch.setattr(serving, "warm_up", lambda segmenter: None)
    monkeypatch.setattr(app_serving, "serve_page", pretend)
    monkeypatch.delenv("CONCEPTSEG_AUTH", raising=False)
    return calls


def test_it_listens_on_this_machine_by_default_and_offers_no_tools(started, capsys):
    assert main(["app"]) == 0
    options, limits, model = started[0]
    assert (options.host, options.port, options.auth, options.mcp, model) == ("127.0.0.1", 7860, [], False, "nano")
    assert (limits.max_body_bytes, limits.max_pixels, limits.max_references) == (64 << 20, 100_000_000, 16)
    told = capsys.readouterr()
    assert told.out == "The page is at http://127.0.0.1:7860 (nano); Ctrl-C stops.\n" and told.err == ""


def test_limits_and_doors_arrive(started):
    words = ["--host", "::1", "--port", "8000", "--mcp", "--max-upload-mb", "3", "--max-megapixels", "1.5"]
    assert main(["app", *words, "--max-references", "4", "--batch-size", "2"]) == 0
    assert main(["app", "--auth", "ann:a:b"]) == 0
    options, limits, _ = started[0]
    assert (options.host, options.port, options.mcp) == ("::1", 8000, True)
    assert started[1][0].auth == [("ann", "a:b")], "a password may hold colons"
    assert (limits.max_body_bytes, limits.max_pixels) == (3 << 20, 1_500_000)
    assert (limits.max_references, limits.batch_size) == (4, 2)


def test_users_come_from_a_file_or_the_environment_too(started, tmp_path, monkeypatch):
    (tmp_path / "users").write_text("ann:one\n\n ben:two \n")
    assert main(["app", "--auth-file", str(tmp_path / "users")]) == 0
    monkeypatch.setenv("CONCEPTSEG_AUTH", "eve:three")
    assert main(["app"]) == 0
    assert [options.auth for options, _, _ in started] == [[("ann", "one"), ("ben", "two")], [("eve", "three")]]


def test_an_open_door_is_warned_of(started, capsys):
    assert main(["app", "--host", "0.0.0.0"]) == 0
    assert "anyone who reaches 0.0.0.0 may use this page: set CONCEPTSEG_AUTH" in capsys.readouterr().err
    assert main(["app", "--host", "0.0.0.0", "--auth", "a:b"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-megapixels", "0"], "max_pixels must be above 0, got 0"),
        (["--auth", "ann"], "--auth must hold USER:PASSWORD"),
        (["--auth", ":x"], "--auth must hold USER:PASSWORD"),
        (["--auth", ""], "--auth must hold USER:PASSWORD"),
        (["--auth-file", "nowhere"], "nowhere"),
        (["--mcp", "--auth", "ann:x"], "--mcp has no login"),
        (["--auth-file", os.devnull], "must hold USER:PASSWORD"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(started, capsys, words, told):
    assert main(["app", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and started == []


def test_a_password_is_not_told(started, capsys):
    assert main(["app", "--auth", "secretword"]) == 2
    assert "secretword" not in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "words", "extra"), [("gradio", [], "app"), ("mcp", ["--mcp"], "mcp")])
def test_without_an_extra_it_says_what_to_install(started, monkeypatch, capsys, missing, words, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    assert main(["app", *words]) == 2
    error = capsys.readouterr().err
    assert f"needs {missing}: pip install 'conceptseg[{extra}]'" in error and error.count("\n") == 1
