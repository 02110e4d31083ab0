"""`conceptseg segment`: a concept in images, folders or patterns; resumes, and one bad image never stops a folder."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.interfaces.cli.asking import UNCALIBRATED, check_numbers, describe_request, load_rule, stream_options
from conceptseg.interfaces.cli.cluster import add_cluster_arguments, refuse_cluster_arguments, segment_on_cluster
from conceptseg.interfaces.cli.console import (
    add_label_arguments,
    add_model_arguments,
    load_segmenter,
    named_place,
    words,
)
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.data import Reference
    from conceptseg.inference import ConceptSegmenter, Rule, SegmentationResult
    from conceptseg.interfaces.cli.ledger import Ledger

__all__ = ["add_parser", "run"]

_OUT = Path("conceptseg-out")
_EPILOG = """\
DIR then holds STEM.mask.png and STEM.overlay.jpg for every image, results.jsonl with one line an image (route, rule,
check, box, answer, timings), and request.json. The same command goes on where it was stopped and retries what failed.
A clip's frames lie in DIR-frames; each is shown with those before it, and DIR/overlay.mp4 shows all.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("segment", description=__doc__, epilog=_EPILOG)
    parser.add_argument("images", nargs="+", metavar="IMAGE|FOLDER|GLOB|CLIP")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--concept", type=words, metavar="TEXT", help="what to segment, in words")
    asked.add_argument("--rule", type=Path, metavar="FILE", help="a learned rule instead (conceptseg rule learn)")
    parser.add_argument(
        "--ref",
        action="append",
        default=[],
        metavar="IMG | IMG@MASK | IMG@x1,y1,x2,y2 | FRAME@…",
        help="a picture of the concept, marked by a mask file or a box; may be repeated, the first one is used to "
        "verify the rule; FRAME is the number of one of the clip's own frames, from 0",
    )
    parser.add_argument(
        "--unlike",
        action="append",
        default=[],
        metavar="IMG@MASK | IMG@x1,y1,x2,y2",
        help="a picture in which something is marked that looks like the concept and is not; may be repeated",
    )
    add_label_arguments(parser, "the references' masks")
    parser.add_argument(
        "--route",
        choices=("auto", "calibrated", "direct", "reason"),
        default="auto",
        help="default: auto (Eq. 9); calibrated: the checkpoint's own router (conceptseg calibrate)",
    )
    parser.add_argument("--out", type=named_place, default=_OUT, metavar="DIR", help=f"default: {_OUT}")
    parser.add_argument("--overwrite", action="store_true", help="discard the results that DIR already holds")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="images at a time (default: 8)")
    parser.add_argument(
        "--two-pass",
        action="store_true",
        help="SAM 3 over all images first, then the MLLM over what is left: it is loaded late and let go again",
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="responses to draw, the best is kept")
    parser.add_argument("--always", action="store_true", help="keep the mask where the concept is not found")
    parser.add_argument("--instances", action="store_true", help="also write the single objects, a list in each line")
    parser.add_argument(
        "--mask-from",
        choices=("semantic", "instances"),
        default="semantic",
        help="which of SAM 3's heads draws the mask (default: semantic); instances: the union of its single objects",
    )
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, metavar="S", help="of single objects (default: 0.5)"
    )
    add_model_arguments(parser)
    add_cluster_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Segment all images that are not done yet, and say how it went.

    Raises:
        InputError: no images, a reference that cannot be used, or a results folder of another request or process.
        CheckpointError: the model cannot be loaded.
    """
    from conceptseg.data.pictures import LeftOut
    from conceptseg.errors import InputError
    from conceptseg.interfaces.cli.clips import find_clip, finish_clip, reference_in_clip
    from conceptseg.interfaces.cli.inputs import Images, find_images, parse_references
    from conceptseg.interfaces.cli.ledger import Ledger
    from conceptseg.words import check_words

    if args.engine == "ray":
        return segment_on_cluster(args)
    refuse_cluster_arguments(args)
    rule = load_rule(args)
    args.concept = check_words(args.concept, "--concept") if rule is None else rule.concept
    check_numbers(args)
    clip = find_clip(args.images, args.out)
    if clip and (args.two_pass or rule is not None or args.samples != 1 or args.mask_from != "semantic"):
        raise InputError(
            "--two-pass, --rule, --samples and --mask-from are not for clips: frames are shown with those before them."
        )
    named = [[reference_in_clip(one, clip) if clip else one for one in given] for given in (args.ref, args.unlike)]
    references = parse_references(named[0], named[1], args.label, args.ignore)
    images = Images(list(clip.frames), LeftOut()) if clip else find_images(args.images, exclude=args.out)
    with Ledger(args.out, describe_request(args, references), overwrite=args.overwrite) as ledger:
        pending = ledger.pending(images.paths)
        if clip and pending:
            pending = images.paths  # frames lean on those before them
        tally = _Tally(total=len(images.paths), kept=len(images.paths) - len(pending))
        if pending:
            ledger.claim()
            asked = _Asked(args.concept if rule is None else rule, references, args, is_clip=clip is not None)
            _segment_pending(load_segmenter(args), pending, asked, ledger, tally)
        told = [*ledger.told(), *images.left_out.lines()]
    for line in told:
        print(line, file=sys.stderr)
    for note, count in tally.notes.items():
        print(f"note, {count} of {tally.total} images: {note}", file=sys.stderr)
    if tally.uncalibrated:
        print(UNCALIBRATED, file=sys.stderr)
    for image, reason in tally.failed.items():
        print(f"failed: {image}: {reason}", file=sys.stderr)
    print(tally.summary(args.out))
    if clip:
        finish_clip(clip, args.out)
    return ExitStatus.SOME_FAILED if tally.failed or (clip and clip.damage) else ExitStatus.DONE


@dataclass
class _Tally:
    """How many images went which way."""

    total: int
    kept: int
    routes: Counter[str] = field(default_factory=Counter)
    failed: dict[Path, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    started: float = 0.0
    uncalibrated: int = 0
    objects: int | None = None

    def add(self, image: Path, result: SegmentationResult, objects: int | None = None) -> None:
        if objects is not None:
            self.objects = (self.objects or 0) + objects
        self.uncalibrated += result.confidence is not None and not result.calibrated
        if result.error is not None or result.route is None:
            self.failed[image] = result.error or "no result"
        else:
            self.routes[result.route.value] += 1
            self.notes.update(result.notes)

    def summary(self, out: Path) -> str:
        done = self.routes.total()
        parts = [f"{done} masks ({self.routes['direct']} direct, {self.routes['reasoned']} reasoned)"]
        parts += [f"{self.objects} single objects"] if self.objects is not None else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{self.kept} done before"] if self.kept else []
        pace = f", {(time.perf_counter() - self.started) / done:.2f} s/image" if done else ""
        return f"{self.total} images: {', '.join(parts)}{pace} → {out}"


@dataclass
class _Asked:
    """What is asked of every image."""

    concept: str | Rule
    references: Sequence[Reference]
    args: argparse.Namespace
    is_clip: bool = False

    def record_of(self, result: SegmentationResult) -> dict[str, Any]:
        """The line of an image that was answered."""
        if not self.args.instances:
            return result.to_dict()
        found = result.instances_to_dicts(self.args.score_threshold)
        return result.to_dict() | {"instances": found, "count": len(found)}

    def results(self, segmenter: ConceptSegmenter, images: Sequence[Path]) -> Iterator[tuple[Path, SegmentationResult]]:
        """Answers, as they come."""
        args = self.args
        if self.is_clip:
            from conceptseg.inference.video import segment_frames

            how: dict[str, Any] = {"route": args.route, "always": args.always}
            frames = segment_frames(segmenter, images, args.concept, self.references, **how)
            return zip(images, frames, strict=True)
        how = stream_options(args)
        if args.two_pass:
            numbered = segmenter.stream_in_two_passes(images, self.concept, self.references, **how)
            return ((images[index], result) for index, result in numbered)
        return zip(images, segmenter.stream(images, self.concept, self.references, **how), strict=True)


def _segment_pending(
    segmenter: ConceptSegmenter, pending: Sequence[Path], asked: _Asked, ledger: Ledger, tally: _Tally
) -> None:
    from tqdm import tqdm

    segmenter.build_mosaic(
        asked.references
    )  # a bad reference is the request's fault: say so before anything is written
    stems = ledger.begin(pending)
    tally.started = time.perf_counter()
    with tqdm(total=tally.total, initial=tally.kept, unit="image", disable=None) as bar:
        for image, result in asked.results(segmenter, pending):
            if result.error is None:
                result.save_pictures(ledger.folder, stems[image])
            record = asked.record_of(result)
            ledger.append(image, stems[image], record)
            tally.add(image, result, record.get("count"))
            bar.set_postfix(failed=len(tally.failed), refresh=False)
            bar.update()
