"""From the words after `conceptseg` to an exit status: finds the command, loads it alone, and reports what went wrong.

A command is a module of this package with `add_parser(subparsers)` and `run(args) -> int`, listed in `COMMANDS`. Heavy
imports belong inside `run`.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import NoReturn

from conceptseg import __version__
from conceptseg.errors import ConceptSegError
from conceptseg.interfaces.cli.streams import forgiving_streams

__all__ = ["COMMANDS", "ExitStatus", "Parser", "build_parser", "main"]

COMMANDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "segment": "segment a concept in images, folders or patterns",
        "export": "results in the formats of annotation tools and trainers",
        "demo": "run bundled pictures through every level and write a page about it",
        "world": "make and show ConceptWorld samples",
        "models": "what is known of a checkpoint",
        "train": "warm up the concept translation, or train with Meta-GRPO",
        "rule": "learn a rule from references, look at it, check it, apply it",
        "review": "the results of `segment`, least certain first",
        "calibrate": "measure what a checkpoint's answers are worth",
        "evaluate": "measure a method on benchmarks",
        "report": "the paper's tables from what was measured",
        "compare": "which of several runs is better, by how much, is it real",
        "data": "benchmarks and one's own pictures: list, check, build",
        "app": "the page in the browser, for people who draw",
        "serve": "segmentation, rules and annotation tools over HTTP",
        "doctor": "what this machine has and lacks",
    }
)
"""Command → its line in `conceptseg --help`; `conceptseg NAME` is run by the module of that name in this package."""


class ExitStatus(IntEnum):
    """What a command tells the shell."""

    DONE = 0
    SOME_FAILED = 1
    """Some items failed; they are listed."""
    WRONG_REQUEST = 2
    """The request cannot be carried out as it stands: arguments, files, checkpoint or machine."""
    BUG = 3
    """Something nobody expected."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and leave."""
        self.exit(ExitStatus.WRONG_REQUEST, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `conceptseg`; None takes them from the process.

    Returns:
        An `ExitStatus`.

    Raises:
        SystemExit: from argparse, for `--help`, `--version` and arguments that do not parse.
    """
    try:
        with forgiving_streams():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except OSError as error:  # what was printed could not be handed over, e.g. to a file on a full disk
        return _fail(ExitStatus.WRONG_REQUEST, f"Cannot print: {error.strerror}")


def _run(words: list[str]) -> int:
    debug = "--debug" in words  # taken anywhere, in front of a command or behind it
    words = [word for word in words if word != "--debug"]
    wanted = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(wanted).parse_args(words)
    try:
        return int(_module_of(args.command).run(args))
    except KeyboardInterrupt:
        return _fail(ExitStatus.INTERRUPTED, "interrupted; what was finished is kept, the same command goes on from it")
    except (ConceptSegError, OSError) as error:
        if debug:
            traceback.print_exc()
        return _fail(ExitStatus.WRONG_REQUEST, str(error))
    except Exception as error:  # the last line of defence: a traceback is for those who ask
        if debug:
            traceback.print_exc()
        hint = "" if debug else " --debug shows where."
        return _fail(ExitStatus.BUG, f"a bug, please report it: {type(error).__name__}: {error}.{hint}")


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    """The parser of all commands, in which only the wanted one knows its arguments, and is imported."""
    parser = Parser(prog="conceptseg", description="Segment any concept: a mask, and why.")
    parser.add_argument("--version", action="version", version=f"conceptseg {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for name, summary in COMMANDS.items():
        if name == wanted:
            _module_of(name).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def _module_of(command: str) -> ModuleType:
    return import_module(f"{__package__}.{command}")


def _fail(status: ExitStatus, message: str) -> ExitStatus:
    print(f"conceptseg: {' '.join(message.split())}", file=sys.stderr)
    return status
