"""The command line as a whole: what it lists, what it loads, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from conceptseg import __version__
from conceptseg.errors import CheckpointError
from conceptseg.interfaces.cli import entry, main

HEAVY = {"torch", "transformers", "numpy", "PIL", "scipy", "pydantic", "tqdm", "fastapi", "uvicorn"}


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["doctor", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    script = (
        "import sys\nfrom conceptseg.interfaces.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as stop: status = stop.code\n"
        "print(status, *sorted(name for name in sys.modules if '.' not in name))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    status, *modules = output.splitlines()[-1].split()
    assert status == "0" and not HEAVY & set(modules)


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in entry.COMMANDS)


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_parses_its_help(name, capsys):
    module = import_module(f"conceptseg.interfaces.cli.{name}")
    assert callable(module.run)
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: conceptseg {name}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"conceptseg {__version__}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sgement"], "invalid choice: 'sgement'"),
        ([], "required: COMMAND"),
        (["segment", "x"], "one of the arguments --concept --rule is required"),
        (["segment", "x", "--concept", "y", "--route", "fast"], "invalid choice: 'fast'"),
        (["segment", "x", "--concept", "caf\udce9"], "--concept: 'caf\\udce9' is not UTF-8"),
        (["data", "from-folders", "a", "b", "--out", "c", "--concept", "caf\udce9"], "is not UTF-8"),
        (["doctor", "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_arguments_that_do_not_parse_are_one_line(arguments, complaint, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    printed = capsys.readouterr().err
    assert complaint in printed and "--help" in printed and len(printed.splitlines()) == 1


def fail_with(monkeypatch, error: BaseException) -> None:
    def run(args):
        raise error

    monkeypatch.setattr(import_module("conceptseg.interfaces.cli.doctor"), "run", run)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CheckpointError("nano has\nno weights."), 2, "conceptseg: nano has no weights."),
        (PermissionError(13, "Permission denied", "out"), 2, "conceptseg: [Errno 13] Permission denied: 'out'"),
        (KeyError("x"), 3, "conceptseg: a bug, please report it: KeyError: 'x'. --debug shows where."),
        (KeyboardInterrupt(), 130, "conceptseg: interrupted; what was finished is kept"),
    ],
)
def test_failures_are_one_line_and_a_status(error, status, said, monkeypatch, capsys):
    fail_with(monkeypatch, error)
    assert main(["doctor"]) == status
    printed = capsys.readouterr().err
    assert printed.startswith(said) and len(printed.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_where(arguments, monkeypatch, capsys):
    fail_with(monkeypatch, CheckpointError("no weights."))
    assert main(arguments) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "a.jpg", "--concept", "cat"],
        ["evaluate", "--data", "folder"],
        ["calibrate", "--data", "folder"],
        ["rule", "learn", "--concept", "cat", "--ref", "a.jpg@m.png", "--out", "a.rule"],
        ["rule", "check", "a.rule"],
        ["world", "make", "--task", "all", "--out", "folder"],
    ],
)
def test_a_seed_is_a_whole_number_from_0_on(command, capsys):
    for seed, told in (("-1", "argument --seed: it must be at least 0, got -1"), ("x", "'x' is no whole number")):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--seed", seed])
        assert told in capsys.readouterr().err
