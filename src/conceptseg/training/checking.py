"""Finding bad samples before a run starts: each is named with its reason, none is silently skipped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conceptseg.data.loading import load_reference, load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ImageError, InputError, SampleError, TrainingError
from conceptseg.files import replacing
from conceptseg.geometry import clip_box
from conceptseg.ledger import json_line
from conceptseg.training.drawing import SampleSet, is_same_picture

__all__ = [
    "REJECTED_FILE",
    "Rejection",
    "check_samples",
    "list_rejections",
    "require_some",
    "require_usable",
    "sort_out",
    "why_unusable",
]

REJECTED_FILE = "rejected.jsonl"
"""What was left out of a run, one line a sample, in the run's folder."""

_SHOWN = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejection:
    """A sample that cannot be learned from."""

    place: int
    """Its place in the set."""
    sample_id: str
    reason: str


def why_unusable(sample: ConceptSample) -> str | None:
    """What is wrong with a sample, or None.

    Looked at are: pictures and masks that cannot be read or differ in size, no mask, an empty mask, a reference's box
    that leaves its picture, an empty reference mask, and a reference that is the target itself.
    """
    try:
        loaded = load_sample(sample)
        if loaded.mask is None:
            return "it has no mask"
        if not loaded.mask.any():
            return "its mask is empty"
        return next(_reference_faults(sample), None)
    except (ImageError, SampleError, InputError) as error:
        return str(error)


def check_samples(samples: SampleSet) -> list[Rejection]:
    """Every sample from folders that cannot be used; ConceptWorld's are right by construction and not looked at."""
    faults = ((place, sample.id, why_unusable(sample)) for place, sample in samples.stored())
    return [Rejection(place, name, reason) for place, name, reason in faults if reason]


def require_usable(rejections: list[Rejection]) -> None:
    """Refuse to start with bad samples.

    Raises:
        TrainingError: there are some; up to twenty are listed with their reasons.
    """
    if rejections:
        raise TrainingError(
            f"{len(rejections)} samples cannot be learned from (data.on_bad_sample=skip leaves them out):\n"
            f"{_describe(rejections)}"
        )


def sort_out(samples: SampleSet, rejections: list[Rejection]) -> SampleSet:
    """The set without its bad samples, which are counted in the log."""
    if not rejections:
        return samples
    bad = {rejection.place for rejection in rejections}
    _log.warning("%d of %d samples are left out:\n%s", len(bad), len(samples), _describe(rejections))
    return samples.pick([place for place in range(len(samples)) if place not in bad])


def require_some(samples: SampleSet, rejections: list[Rejection]) -> None:
    """Refuse to start when everything was left out.

    Raises:
        TrainingError: no sample is left.
    """
    if not samples:
        raise TrainingError(f"No sample can be used:\n{_describe(rejections)}")


def list_rejections(rejections: list[Rejection], folder: Path) -> None:
    """Write all that is left out of a run to `rejected.jsonl` of its folder; no such file where nothing is."""
    path = folder / REJECTED_FILE
    if not rejections:
        path.unlink(missing_ok=True)
        return
    rows: list[Mapping[str, str]] = [{"id": r.sample_id, "reason": r.reason} for r in rejections]
    with replacing(path) as fresh:
        fresh.write_bytes(b"".join(map(json_line, rows)))


def _describe(rejections: list[Rejection]) -> str:
    """Bad samples with their reasons, a line each, at most twenty."""
    lines = [f"{rejection.sample_id}: {rejection.reason}" for rejection in rejections[:_SHOWN]]
    if len(rejections) > _SHOWN:
        lines.append(f"… and {len(rejections) - _SHOWN} more")
    return ";\n".join(lines)


def _reference_faults(sample: ConceptSample) -> Iterator[str]:
    for number, reference in enumerate(sample.references):
        if is_same_picture(reference.image, sample.image):
            yield f"reference {number} is the target itself"
        loaded = load_reference(reference)
        if loaded.mask is not None and not loaded.mask.any():
            yield f"reference {number} has an empty mask"
        size_hw = (loaded.image.height, loaded.image.width)
        if reference.box is not None and clip_box(reference.box, size_hw) != tuple(reference.box):
            yield (
                f"reference {number}: the box {reference.box} reaches outside its picture of "
                f"{loaded.image.width}×{loaded.image.height} pixels (width × height)"
            )
