"""`conceptseg app`: the page in the browser, for people who draw (extra `[app]`)."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import add_model_arguments, load_segmenter
from conceptseg.interfaces.cli.entry import ExitStatus
from conceptseg.interfaces.cli.serve import is_local

if TYPE_CHECKING:
    from conceptseg.interfaces.server.options import ServerOptions

__all__ = ["add_parser", "run"]

_AUTH = "CONCEPTSEG_AUTH"
_EPILOG = f"""\
Users and passwords are read from --auth, --auth-file (a USER:PASSWORD a line) or the environment's {_AUTH}; what stands
in --auth can be read by everyone who may list this machine's processes. See docs/app.md.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("app", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="who may come in")
    parser.add_argument("--auth-file", type=Path, metavar="FILE", help="the same, a USER:PASSWORD a line")
    parser.add_argument("--mcp", action="store_true", help="offer MCP tools to programs (extra [mcp])")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--max-upload-mb", type=int, default=64, metavar="N", help="MiB a file may have (default: 64)")
    parser.add_argument("--max-megapixels", type=float, default=100, metavar="N", help="of a question's pictures (100)")
    parser.add_argument("--max-references", type=int, default=16, metavar="N", help="of a question (default: 16)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures at a time (default: 8)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load the model, warm it up, and serve the page until a signal comes.

    Raises:
        MissingExtraError: the extra is not installed.
        InputError: a limit or a password is wrong.
        CheckpointError: the model cannot be loaded.
    """
    _check_installed(args.mcp)
    from conceptseg.errors import InputError
    from conceptseg.interfaces.app.serving import AppOptions, serve_page
    from conceptseg.interfaces.server.serving import warm_up

    limits, auth = _limits(args), _auth(args)
    if args.mcp and auth:
        raise InputError(
            "--mcp has no login (Gradio's MCP tools know none): leave out the users, or --mcp. `conceptseg serve` has "
            "an API with a token."
        )
    segmenter = load_segmenter(args)
    warm_up(segmenter)
    if not auth and not is_local(args.host):
        print(f"conceptseg: anyone who reaches {args.host} may use this page: set {_AUTH}.", file=sys.stderr)
    told = f"The page is at http://{args.host}:{args.port} ({args.model}); Ctrl-C stops."
    options = AppOptions(args.host, args.port, auth, args.mcp, args.open)
    serve_page(segmenter, options, limits, model=args.model, on_ready=lambda: print(told, flush=True))
    return ExitStatus.DONE


def _check_installed(with_mcp: bool) -> None:
    from conceptseg.errors import MissingExtraError

    if importlib.util.find_spec("gradio") is None:
        raise MissingExtraError("conceptseg app needs gradio: pip install 'conceptseg[app]'")
    if with_mcp and importlib.util.find_spec("mcp") is None:
        raise MissingExtraError("conceptseg app --mcp needs mcp: pip install 'conceptseg[mcp]'")


def _limits(args: argparse.Namespace) -> ServerOptions:
    from conceptseg.interfaces.server.options import ServerOptions

    return ServerOptions(
        batch_size=args.batch_size,
        max_body_bytes=args.max_upload_mb << 20,
        max_pixels=round(args.max_megapixels * 1e6),
        max_references=args.max_references,
    )


def _auth(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Users with their passwords, from wherever they were given."""
    if args.auth_file is not None:
        lines = args.auth_file.read_text(encoding="utf-8").splitlines()
        told, where = [line for line in lines if line.strip()], str(args.auth_file)
    else:
        given = args.auth if args.auth is not None else os.environ.get(_AUTH)
        told, where = ([] if given is None else [given]), "--auth" if args.auth is not None else _AUTH
        if given is None:
            return []
    return [_user(line, where) for line in told or [""]]


def _user(line: str, where: str) -> tuple[str, str]:
    from conceptseg.errors import InputError

    user, colon, password = line.strip().partition(":")
    if not (user and colon and password):
        raise InputError(f"{where} must hold USER:PASSWORD, neither of them empty.")
    return user, password
