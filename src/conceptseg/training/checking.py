"""Finding bad samples before a run starts: each is named with its reason, none is silently skipped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conceptseg.data.checking import why_unusable
from conceptseg.errors import TrainingError
from conceptseg.files import replacing
from conceptseg.ledger import json_line
from conceptseg.training.drawing import SampleSet

__all__ = [
    "REJECTED_FILE",
    "Rejection",
    "check_samples",
    "list_rejections",
    "require_some",
    "require_usable",
    "sort_out",
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
