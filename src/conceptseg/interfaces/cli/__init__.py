"""The command line: `conceptseg COMMAND …`, a module a command, each imported only when it is asked for."""

from __future__ import annotations

from conceptseg.interfaces.cli.entry import main

__all__ = ["main"]
