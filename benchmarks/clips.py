"""What earlier frames of a clip are worth as references: IoU with the first frame's mask alone, and with more shown.

    python benchmarks/clips.py DAVIS

DAVIS is a folder of samples (`samples.jsonl`) whose `group` is the clip and whose pictures sort as its frames. The
first frame's true mask is the reference, every other frame is measured. Differences are paired by clip; ± is the
standard error over clips.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev

from conceptseg import ConceptSegmenter, Reference
from conceptseg.data import ConceptSample, load_sample, read_samples
from conceptseg.geometry import mask_iou
from conceptseg.inference import SegmentationResult
from conceptseg.inference.video import LEAST_CHECK

Policy = Callable[[SegmentationResult, list[Reference]], list[Reference]]
"""From a frame's result and what was remembered to what is remembered."""


def held(result: SegmentationResult) -> bool:
    """Whether nothing speaks against a frame's mask: the check with the withheld reference, or that it is empty."""
    failed = result.check_iou is not None and result.check_iou < LEAST_CHECK
    return not failed and result.mask is not None and bool(result.mask.any())


def verified(most: int, confidence: float = 0.0) -> Policy:
    """Remember the last frames that held, of those that are sure enough; one whose check fails ends all memory."""

    def remember(result: SegmentationResult, memory: list[Reference]) -> list[Reference]:
        if result.check_iou is not None and result.check_iou < LEAST_CHECK:
            return []
        if not held(result) or (result.confidence or 0.0) < confidence:
            return memory
        return [*memory, Reference(result.image, mask=result.mask)][-most:]

    return remember


POLICIES: dict[str, Policy] = {
    "first frame only": lambda result, memory: [],
    "and the last 3 that verified": verified(3),
    "and the latest that verified": verified(1),
    "and the last 3 of confidence ≥ 0.8": verified(3, 0.8),
    "and the latest of confidence ≥ 0.8": verified(1, 0.8),
}


def ious_of(segmenter: ConceptSegmenter, clip: Sequence[ConceptSample], policy: Policy) -> list[float]:
    """IoU of all frames but the first."""
    first = Reference(clip[0].image, mask=clip[0].mask)
    memory: list[Reference] = []
    found = []
    for sample in clip[1:]:
        result = segmenter(sample.image, sample.concept, [first, *memory])
        found.append(mask_iou(result.mask, load_sample(sample).mask))
        memory = policy(result, memory)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    args = parser.parse_args()
    segmenter = ConceptSegmenter.from_pretrained(args.model)
    print(f"{args.model}, digest {segmenter.model.digest()}")
    clips: defaultdict[str, list[ConceptSample]] = defaultdict(list)
    for sample in read_samples(args.folder):
        clips[str(sample.group)].append(sample)
    ordered = [sorted(clip, key=lambda one: str(one.image)) for _, clip in sorted(clips.items())]
    base: list[float] = []
    for name, policy in POLICIES.items():
        by_clip = [fmean(ious_of(segmenter, clip, policy)) for clip in ordered]
        base = base or by_clip
        change = [one - other for one, other in zip(by_clip, base, strict=True)]
        frames = sum(len(clip) - 1 for clip in ordered)
        print(
            f"{name:36} {fmean(by_clip):.3f} ± {error(by_clip):.3f}   change {fmean(change):+.3f} ± {error(change):.3f}"
            f"   {len(by_clip)} clips, {frames} frames",
            flush=True,
        )
        print("   " + " ".join(f"{value:.2f}" for value in by_clip), flush=True)


def error(values: Sequence[float]) -> float:
    """Standard error of the mean."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
