"""`conceptseg serve`: segmentation, rules and annotation tools over HTTP (extra `[server]`)."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import add_model_arguments, load_segmenter
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.interfaces.server.options import ServerOptions

__all__ = ["add_parser", "is_local", "run"]

_TOKEN = "CONCEPTSEG_TOKEN"
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_EPILOG = f"""\
The token is read from --token-file or the environment's {_TOKEN}. SIGTERM and Ctrl-C finish what is in flight; a second
one does not. See docs/server.md for the routes, Label Studio, X-AnyLabeling and CVAT.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("serve", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--rules", type=Path, metavar="FOLDER", help="serve, learn and keep the .rule files of FOLDER")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=9090, help="default: 9090, Label Studio's default for ML backends")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="requests must bring what this file holds")
    parser.add_argument("--queue", type=int, default=32, metavar="N", help="requests in flight; more get 429 (32)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures at a time (default: 8)")
    parser.add_argument("--time-limit", type=float, default=100, metavar="S", help="seconds a request may take (100)")
    parser.add_argument("--max-body-mb", type=int, default=64, metavar="N", help="MiB a body may have (default: 64)")
    parser.add_argument("--max-megapixels", type=float, default=40, metavar="N", help="of a request's pictures (40)")
    parser.add_argument("--max-references", type=int, default=16, metavar="N", help="of a question (default: 16)")
    parser.add_argument(
        "--label-studio-root", type=Path, metavar="FOLDER", help="where Label Studio's uploads lie (its media folder)"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load the model, warm it up, and serve until a signal comes.

    Raises:
        MissingExtraError: the extra is not installed.
        InputError: a limit, a folder or the token is wrong.
        CheckpointError: the model cannot be loaded.
    """
    from conceptseg.errors import MissingExtraError

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"conceptseg serve needs {', '.join(missing)}: pip install 'conceptseg[server]'")
    from conceptseg.interfaces.server.app import create_app
    from conceptseg.interfaces.server.rules_store import RuleFolder
    from conceptseg.interfaces.server.serving import serve, warm_up

    options = _options(args)
    segmenter = load_segmenter(args)
    rules = None if args.rules is None else RuleFolder(args.rules, segmenter)
    warm_up(segmenter)
    if options.token is None and not is_local(args.host):
        print(f"conceptseg: anyone who reaches {args.host} may use this server: set {_TOKEN}.", file=sys.stderr)
    count = "" if rules is None else f", {len(rules.names())} rules"
    app = create_app(segmenter, rules, options)
    told = f"Serving {args.model} on http://{args.host}:{args.port}{count}; Ctrl-C stops."
    serve(app, args.host, args.port, on_ready=lambda: print(told, flush=True))
    return ExitStatus.DONE


def _options(args: argparse.Namespace) -> ServerOptions:
    from conceptseg.interfaces.server.options import ServerOptions

    return ServerOptions(
        places=args.queue,
        batch_size=args.batch_size,
        time_limit_s=args.time_limit,
        max_body_bytes=args.max_body_mb << 20,
        max_pixels=round(args.max_megapixels * 1e6),
        max_references=args.max_references,
        token=_token(args.token_file),
        media_root=args.label_studio_root,
    )


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(_TOKEN)
    return file.read_text(encoding="utf-8").strip()


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
