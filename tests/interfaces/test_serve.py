"""`conceptseg serve`: what the arguments come to; the server itself is tested beside it."""

from __future__ import annotations

import pytest

from conceptseg.interfaces.cli import main, serve
from conceptseg.interfaces.server import serving
from tests.interfaces.fakes import FakeSegmenter


@pytest.fixture
def started(monkeypatch) -> list:
    """What was done, in order: the model warmed up, (app, host, port) of a server that would have been started."""
    calls: list = []

    def pretend(app, host, port, *, on_ready):
        calls.append((app, host, port))
        on_ready()

    monkeypatch.setattr(serve, "load_segmenter", lambda args: FakeSegmenter())
    monkeypatch.setattr(serving, "warm_up", lambda segmenter: calls.append("warm"))
    monkeypatch.setattr(serving, "serve", pretend)
    monkeypatch.delenv("CONCEPTSEG_TOKEN", raising=False)
    return calls


def test_it_listens_on_this_machine_by_default(started, capsys):
    assert main(["serve"]) == 0
    warm, (app, host, port) = started
    assert warm == "warm"
    assert (host, port) == ("127.0.0.1", 9090) and app.state.service.options.token is None
    told = capsys.readouterr()
    assert told.out == "Serving nano on http://127.0.0.1:9090; Ctrl-C stops.\n" and told.err == ""


def test_limits_rules_and_token_arrive(started, tmp_path, capsys):
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "a.rule").write_text("")
    words = ["--rules", str(tmp_path), "--token-file", str(tmp_path / "token"), "--queue", "5", "--batch-size", "2"]
    words += ["--time-limit", "7", "--max-body-mb", "3", "--max-megapixels", "1.5", "--max-references", "4"]
    assert main(["serve", *words, "--label-studio-root", str(tmp_path)]) == 0
    options = started[1][0].state.service.options
    assert (options.token, options.places, options.batch_size, options.time_limit_s) == ("s3cret", 5, 2, 7)
    assert (options.max_body_bytes, options.max_pixels, options.max_references) == (3 << 20, 1_500_000, 4)
    assert options.media_root == tmp_path and "1 rules" in capsys.readouterr().out


def test_an_open_door_is_warned_of(started, monkeypatch, capsys):
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert "anyone who reaches 0.0.0.0" in capsys.readouterr().err
    monkeypatch.setenv("CONCEPTSEG_TOKEN", "t")
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert capsys.readouterr().err == "" and started[3][0].state.service.options.token == "t"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--queue", "0"], "places must be above 0, got 0"),
        (["--time-limit", "-1"], "time_limit_s must be above 0"),
        (["--rules", "nowhere"], "The folder of rules 'nowhere' does not exist"),
        (["--label-studio-root", "nowhere"], "The folder of uploads 'nowhere' does not exist"),
        (["--token-file", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(started, capsys, words, told):
    assert main(["serve", *words]) == 2
    assert told in capsys.readouterr().err and started == []


def test_a_blank_token_is_no_token(started, monkeypatch, capsys):
    monkeypatch.setenv("CONCEPTSEG_TOKEN", "")
    assert main(["serve"]) == 2 and "token" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None if name == "fastapi" else object())
    assert main(["serve"]) == 2
    assert "needs fastapi: pip install 'conceptseg[server]'" in capsys.readouterr().err
