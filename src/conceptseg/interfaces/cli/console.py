"""What several commands share: loading a segmenter quietly, and writing tables and sizes for people."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptseg.inference import ConceptSegmenter

__all__ = [
    "add_label_arguments",
    "add_model_arguments",
    "at_least",
    "format_bytes",
    "format_table",
    "load_lens_segmenter",
    "load_segmenter",
    "named_path",
    "named_place",
    "protocol_changes",
    "words",
]

_UNITS = ("B", "KB", "MB", "GB", "TB")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--sam`, `--device`, `--seed`, and how the MLLM's weights are kept."""
    parser.add_argument(
        "--model", default="nano", metavar="M", help="nano, a folder, a hub id (owner/name[@revision]), or MLLM+SAM"
    )
    parser.add_argument("--sam", metavar="S", help="take SAM 3 from this folder or hub id instead of the checkpoint's")
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, mps, cuda or cuda:N")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of everything that is drawn by chance"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="of the MLLM's weights (bfloat16; float32 on a CPU)"
    )
    parser.add_argument("--bits", type=int, choices=(8, 4), help="quantise the MLLM's weights (extra [quant])")
    parser.add_argument(
        "--template",
        type=words,
        metavar="T",
        help="words that the MLLM is asked in: a template's name, or a folder of one's own (docs/full_size.md)",
    )
    parser.add_argument(
        "--max-new-tokens", type=at_least(1), metavar="N", help="longest response (the checkpoint's own limit)"
    )
    parser.add_argument(
        "--mark", choices=("box", "mask"), help="how the references' mosaic shows what is marked (the checkpoint's own)"
    )
    parser.add_argument(
        "--no-prior", action="store_true", help="keep the references' masks from SAM 3, as the paper does"
    )
    parser.add_argument(
        "--device-map", metavar="MAP", help="'auto' spreads the MLLM over all GPUs, then main memory (extra [quant])"
    )


def add_label_arguments(parser: argparse.ArgumentParser, of_what: str) -> None:
    """`--label` and `--ignore`: how label maps become masks.

    Args:
        parser: of the command.
        of_what: the masks they apply to, in words.
    """
    parser.add_argument(
        "--label",
        metavar="N",
        help=f"for {of_what} that are label maps: the value that is the target (of a palette the index), '#rrggbb' for "
        "a colour, 'any' for all but 0",
    )
    parser.add_argument("--ignore", metavar="N", help="the value that is neither target nor background, e.g. 255")


def at_least(least: int) -> Callable[[str], int]:
    """A kind of argument for argparse: whole numbers from one on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"it must be at least {least}, got {value}")
        return value

    return number


def words(text: str) -> str:
    """An argument that a model will read, for argparse: text, where file names may hold any bytes.

    Raises:
        ArgumentTypeError: it came as bytes that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def named_path(text: str) -> Path:
    """An argument that names a file or folder, for argparse.

    Raises:
        ArgumentTypeError: it is blank, which would mean the current folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is blank: name a file or folder")
    return Path(text)


def named_place(text: str) -> Path | str:
    """The same, where an address such as `s3://bucket/out` will do too; it stays text.

    Raises:
        ArgumentTypeError: as from `named_path`.
    """
    return text if "://" in text else named_path(text)


def protocol_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of `add_model_arguments` change of a checkpoint's protocol, self-contained: the texts of a
    template of one's own, not its folder.

    Raises:
        InputError: there is no such template, or its texts cannot be used.
    """
    from dataclasses import asdict

    from conceptseg.protocol import read_template, template_names

    changes: dict[str, Any] = {}
    if args.template is not None:
        template = read_template(args.template)
        own = None if args.template in template_names() else asdict(template)
        changes |= {"template": template.name, "instructions": own}
    if args.max_new_tokens is not None:
        changes["max_new_tokens"] = args.max_new_tokens
    if args.mark is not None:
        changes["mark"] = args.mark
    if args.no_prior:
        changes["reference_prior"] = False
    return changes


def load_segmenter(args: argparse.Namespace) -> ConceptSegmenter:
    """The segmenter that the arguments of `add_model_arguments` ask for.

    Raises:
        CheckpointError: there is no such checkpoint, or it is broken.
        InputError: no such device.
    """
    import torch
    from transformers.utils import logging

    from conceptseg.inference import ConceptSegmenter

    logging.disable_progress_bar()
    torch.manual_seed(args.seed)
    wanted = {name: getattr(args, name) for name in ("sam", "dtype", "bits", "device_map")}
    options: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if changes := protocol_changes(args):
        options["protocol"] = changes
    return ConceptSegmenter.from_pretrained(_local_or_name(args.model), device=args.device, **options)


def load_lens_segmenter(args: argparse.Namespace) -> ConceptSegmenter:
    """The same around a LENS checkpoint, for `--method lens`; it brings its own SAM 2.

    Raises:
        InputError: options were given that LENS does not have.
        CheckpointError: it is no LENS, or broken.
    """
    import torch

    from conceptseg.errors import InputError
    from conceptseg.inference import ConceptSegmenter
    from conceptseg.models.lens import load_lens

    refused = [
        f"--{name.replace('_', '-')}"
        for name in ("sam", "bits", "device_map", "template", "max_new_tokens", "mark", "no_prior")
        if getattr(args, name) not in (None, False)
    ]
    if refused:
        raise InputError(f"--method lens does not take {', '.join(refused)}.")
    torch.manual_seed(args.seed)
    dtype = getattr(torch, args.dtype) if args.dtype else None
    return ConceptSegmenter(load_lens(_local_or_name(args.model), device=args.device, dtype=dtype))


def _local_or_name(source: str) -> str:
    return str(Path(source).expanduser()) if source.startswith("~") else source


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in aligned columns, with a line under the header."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def format_bytes(count: float) -> str:
    """A number of bytes in its largest unit: 1536 → "1.5 KB" (powers of 1024)."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
