"""What `segment` asks of every picture, whichever engine answers: rule, numbers, and a description of it all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg import __version__
from conceptseg.digests import file_digest
from conceptseg.interfaces.cli.console import protocol_changes

if TYPE_CHECKING:
    from conceptseg.data import Reference
    from conceptseg.inference import Rule

__all__ = ["UNCALIBRATED", "check_numbers", "describe_request", "load_rule", "stream_options"]

UNCALIBRATED = (
    "note: this checkpoint was never calibrated (conceptseg calibrate): confidence orders answers but is no expected "
    "IoU, and only a rule with a threshold of its own empties masks"
)
"""Said once at the end of a run."""


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing.

    Raises:
        InputError: one of them lies outside its range.
    """
    from conceptseg.errors import InputError

    if not 0 <= args.score_threshold <= 1:
        raise InputError(f"--score-threshold must lie in 0…1, got {args.score_threshold}.")
    if args.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {args.batch_size}.")


def stream_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `ConceptSegmenter.stream` is told besides images, concept and references."""
    how: dict[str, Any] = {"batch_size": args.batch_size, "route": args.route}
    how |= {"always": True} if args.always else {}
    if args.mask_from != "semantic":
        how |= {"mask_from": args.mask_from, "score_threshold": args.score_threshold}
    return how | ({"samples": args.samples, "seed": args.seed} if args.samples != 1 else {})


def load_rule(args: argparse.Namespace) -> Rule | None:
    """The rule of `--rule`; None where a concept is asked for.

    Raises:
        InputError: references are given besides, or the file is no rule.
    """
    from conceptseg.errors import InputError

    if args.rule is None:
        return None
    if args.ref or args.unlike:
        raise InputError("A rule brings its own references: give --rule, or --concept with --ref and --unlike.")
    from conceptseg.inference import Rule

    return Rule.load(args.rule)


def describe_request(args: argparse.Namespace, references: Sequence[Reference]) -> dict[str, Any]:
    """All that decides an answer: a results folder holds the answers to one of these."""
    from conceptseg.models.checkpoints import BUNDLED, bundled_folder
    from conceptseg.models.hub import hub_settings
    from conceptseg.models.local_files import content_of_model

    model = bundled_folder() if args.model == BUNDLED else Path(args.model)
    return {
        "concept": args.concept,
        "rule": None if args.rule is None else file_digest(args.rule),
        "samples": args.samples,
        "always": args.always,
        "instances": args.score_threshold if args.instances else None,
        **({} if args.mask_from == "semantic" else {"mask_from": [args.mask_from, args.score_threshold]}),
        "references": [_describe(reference) for reference in references],
        "model": str(model.resolve()) if model.is_dir() else args.model,
        "weights": content_of_model(args.model, args.sam),
        "sam": args.sam or hub_settings().sam,
        "dtype": args.dtype,
        "bits": args.bits,
        "protocol": protocol_changes(args) or None,
        "route": args.route,
        "seed": args.seed,
        "conceptseg": __version__,
    }


def _describe(reference: Reference) -> dict[str, Any]:
    """A reference by what its files hold, wherever they lie."""
    return {
        "image": file_digest(str(reference.image)),
        "mask": None if reference.mask is None else file_digest(str(reference.mask)),
        "box": None if reference.box is None else list(reference.box),
        **{name: value for name in ("label", "ignore") if (value := getattr(reference, name)) is not None},
        **({"unlike": True} if reference.unlike else {}),
    }
