"""What `conceptseg data build` does with a benchmark: SAM 3 as the function that the building of data asks for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from conceptseg.data.benchmarks import Benchmark
from conceptseg.data.building import DrawnMask, build_masks, build_selection, build_strata
from conceptseg.errors import InputError
from conceptseg.evaluation.baselines.objects import Pointer, draw_object
from conceptseg.evaluation.provenance import describe_checkpoint
from conceptseg.geometry import BoxXYXY, scale_box
from conceptseg.interfaces.cli.console import load_segmenter
from conceptseg.models.segmenter import PromptSegmenter

__all__ = ["build"]

_FROM_BOXES = ("mig_bench", "mgrounding")
_BY_CONFIDENCE = ("inaturalist",)


def build(benchmark: Benchmark, args: argparse.Namespace) -> Iterator[str]:
    """Build what a benchmark needs, and its selection where one is asked for; gives a line for each part.

    Args:
        benchmark: the data set's reader.
        args: of `conceptseg data build`.

    Raises:
        InputError: there is nothing to build.
        SampleError: the data set is not complete.
        CheckpointError: the model cannot be loaded.
    """
    name = benchmark.info.name
    if name in _FROM_BOXES:
        yield _build_masks(benchmark, args)
    elif name in _BY_CONFIDENCE:
        yield _build_strata(benchmark, args)
    elif args.out is None:
        raise InputError(f"Benchmark {name!r} is used as it is shipped. --out FOLDER writes its selection.")
    if args.out is not None:
        path = build_selection(
            benchmark, args.root, args.out, split=args.split, references=args.references, seed=args.seed
        )
        yield f"selection with hashes → {path}"


def _build_masks(benchmark: Benchmark, args: argparse.Namespace) -> str:
    sam, settings = _sam(args)

    @torch.no_grad()
    def draw(image: Image.Image, box_xyxy: BoxXYXY) -> DrawnMask | None:
        size_hw = (image.height, image.width)
        features = sam.encode(sam.preprocess([image]))
        found = draw_object(sam, features, Pointer(scale_box(box_xyxy, size_hw, (1, 1))), size_hw)
        return DrawnMask(found.mask, found.confidence) if found else None

    with _bar() as show:
        built = build_masks(
            benchmark,
            args.root,
            draw,
            settings=settings,
            split=args.split,
            least_quality=args.least_quality,
            progress=show,
        )
    kept = sum(one.kept for one in built)
    return f"{kept} of {len(built)} masks kept; look through {args.root / 'masks' / 'review.html'}"


def _build_strata(benchmark: Benchmark, args: argparse.Namespace) -> str:
    sam, settings = _sam(args)

    @torch.no_grad()
    def confidence(image: Image.Image, words: str) -> float:
        features = sam.encode(sam.preprocess([image]))
        return float(sam.decode(features, sam.embed_text([words])).presence.float().sigmoid())

    with _bar() as show:
        rare = build_strata(benchmark, args.root, confidence, settings=settings, progress=show)
    return f"{len(rare)} ultra-rare classes, e.g. {rare[0]}"


def _sam(args: argparse.Namespace) -> tuple[PromptSegmenter, dict[str, Any]]:
    """SAM 3, and what tells it from others."""
    digests = describe_checkpoint(args.model, args.sam)["sha256"]
    return load_segmenter(args).model.segmenter, {"sam": digests["sam"]}


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    with tqdm(unit="picture", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
