"""What a mask is worth: signs that come with every answer, and the table that makes an expected IoU of them.

The table belongs to a checkpoint and lies beside its weights. It is fitted on questions whose truth is known
(`conceptseg calibrate`): a least-squares mixture of the signs, then isotonic regression on the IoU, so that what is
called 0.8 has an IoU of 0.8 on average, there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conceptseg.errors import CheckpointError, InputError
from conceptseg.validation import explain_mistakes

__all__ = [
    "CALIBRATION_FILE",
    "Calibration",
    "Signals",
    "expected_error",
    "fit_calibration",
    "part_presence",
    "read_beside",
    "read_calibration",
]

CALIBRATION_FILE = "calibration.json"

_FEATURES = 8
_RIDGE = 1e-3
_LEAST = 20
"""Questions of a kind, below which nothing is fitted."""
_MAY_LOSE = 0.04
"""Share of things that are there which the threshold may overlook."""


@dataclass(frozen=True)
class Signals:
    """What speaks for a mask; all in [0, 1]."""

    presence: float
    """SAM 3's presence under the very prompt that drew the mask: after reasoning, on that route."""
    sharpness: float
    """The IoU that the mask would have if each pixel were as likely as its logit says."""
    agreement: float | None = None
    """IoU of the mask's box with the response's box; None where the response has none."""
    check: float | None = None
    """IoU of the response's check with the withheld reference's box; None where nothing was withheld."""

    def plain(self) -> float:
        """Their mean: the confidence of a checkpoint that was never calibrated."""
        known = [sign for sign in (self.presence, self.sharpness, self.agreement, self.check) if sign is not None]
        return float(np.mean(known))

    def features(self) -> list[float]:
        """The numbers that a calibration mixes."""
        told = [float(sign is not None) for sign in (self.agreement, self.check)]
        return [
            1.0,
            self.presence,
            self.sharpness,
            self.presence * self.sharpness,
            told[0],
            self.agreement or 0.0,
            told[1],
            self.check or 0.0,
        ]


class Calibration(BaseModel):
    """A checkpoint's table from signs to an expected IoU, and from which presence on something is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["conceptseg-calibration"] = "conceptseg-calibration"
    format_version: Literal[1] = 1
    checkpoint: str
    """`ConceptSegModel.digest` of the checkpoint that it was measured on."""
    weights: tuple[float, ...] = Field(min_length=_FEATURES, max_length=_FEATURES)
    mixed: tuple[float, ...] = Field(min_length=1, max_length=4096)
    """Knots of the isotonic table: mixtures of the signs, rising."""
    expected: tuple[float, ...] = Field(min_length=1, max_length=4096)
    """The IoU at each, rising; between knots it is interpolated."""
    presence_threshold: float = Field(ge=0, le=1)
    """From this presence on the concept counts as found."""
    questions: int = Field(ge=0)
    """Questions whose concept is in the picture, on which it was fitted."""
    absent: int = Field(ge=0)
    """Questions whose concept is not."""
    lost: float = Field(ge=0, le=1)
    """Share of the former that the threshold overlooks."""
    false: float = Field(ge=0, le=1)
    """Share of the latter that it lets pass."""
    data: tuple[str, ...] = ()
    """What it was fitted on."""

    @model_validator(mode="after")
    def _rises(self) -> Calibration:
        if len(self.mixed) != len(self.expected):
            raise ValueError("as many knots are needed as values")
        for name, values in (("mixed", self.mixed), ("expected", self.expected)):
            if not all(np.isfinite(values)) or any(np.diff(values) < 0):
                raise ValueError(f"the values of {name} must rise")
        return self

    def confidence(self, signals: Signals) -> float:
        """The IoU to expect, in [0, 1], if the concept is in the picture."""
        mixed = float(np.dot(self.weights, signals.features()))
        return float(np.clip(np.interp(mixed, self.mixed, self.expected), 0.0, 1.0))

    def write(self, folder: Path) -> Path:
        """Store it beside the checkpoint in `folder`."""
        path = folder / CALIBRATION_FILE
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path


def read_calibration(folder: Path, digest: str) -> Calibration | None:
    """The calibration beside a checkpoint; None where there is none, or, with a warning, one of other weights.

    Args:
        folder: of the checkpoint.
        digest: `ConceptSegModel.digest` of what was loaded.

    Raises:
        CheckpointError: the file is damaged.
    """
    return read_beside(folder / CALIBRATION_FILE, Calibration, digest)


M = TypeVar("M", bound=BaseModel)


def read_beside(path: Path, kind: type[M], digest: str) -> M | None:
    """What was measured on a checkpoint and lies beside it; None where nothing does, or, with a warning, what belongs
    to other weights.

    Args:
        path: the file.
        kind: what it holds; its `checkpoint` says whose it is.
        digest: `ConceptSegModel.digest` of what was loaded.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        measured = kind.model_validate(_read(path))
    except ValidationError as error:
        mistakes = "; ".join(explain_mistakes(error, kind))
        raise CheckpointError(f"{path} cannot be used: {mistakes}. Make it anew: conceptseg calibrate.") from error
    if getattr(measured, "checkpoint", None) == digest:
        return measured
    warnings.warn(
        f"{path} belongs to other weights than these and is not used; make it anew: conceptseg calibrate.",
        stacklevel=2,
    )
    return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Make it anew: conceptseg calibrate.") from error


def fit_calibration(
    there: Sequence[tuple[Signals, float]],
    absent: Sequence[Signals],
    *,
    checkpoint: str,
    data: Sequence[str] = (),
    present: Sequence[Signals] | None = None,
) -> Calibration:
    """The table that fits answers whose truth is known.

    Args:
        there: signs and true IoU of answers about what is in the picture.
        absent: signs of answers about what is not; without any, everything counts as found.
        checkpoint: digest of the checkpoint that answered.
        data: what was asked, to be remembered.
        present: signs of the answers that count where presence is concerned, one a question; None for all of `there`.

    Raises:
        InputError: fewer than twenty answers of either kind (but for none of the latter).
    """
    if len(there) < _LEAST or 0 < len(absent) < _LEAST:
        raise InputError(
            f"A calibration needs at least {_LEAST} questions whose concept is in the picture, and as many or none "
            f"whose concept is not; got {len(there)} and {len(absent)}."
        )
    features = np.array([signals.features() for signals, _ in there])
    ious = np.array([iou for _, iou in there])
    gram = features.T @ features + _RIDGE * len(there) * np.eye(_FEATURES)
    weights = np.linalg.solve(gram, features.T @ ious)
    mixed, expected = _isotonic(features @ weights, ious)
    shown = np.array([one.presence for one in (present if present is not None else [one for one, _ in there])])
    missing = np.array([signals.presence for signals in absent])
    threshold = part_presence(shown, missing)
    return Calibration(
        checkpoint=checkpoint,
        weights=tuple(map(float, weights)),
        mixed=tuple(map(float, mixed)),
        expected=tuple(map(float, expected)),
        presence_threshold=threshold,
        questions=len(shown),
        absent=len(absent),
        lost=float((shown < threshold).mean()),
        false=float((missing >= threshold).mean()) if len(missing) else 0.0,
        data=tuple(data),
    )


def expected_error(confidences: Sequence[float], ious: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and IoU over bins of equal width, by their shares."""
    said, true = np.array(confidences), np.array(ious)
    places = np.clip((said * bins).astype(int), 0, bins - 1)
    gaps = [abs(said[places == n].mean() - true[places == n].mean()) * (places == n).mean() for n in np.unique(places)]
    return float(np.sum(gaps))


def _isotonic(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]
) -> tuple[Float[np.ndarray, " knots"], Float[np.ndarray, " knots"]]:
    """Pool adjacent violators: the rising steps nearest to y, each as a knot in the middle of its points."""
    order = np.argsort(x, kind="stable")
    blocks: list[list[float]] = []  # sum of x, sum of y, points
    for px, py in zip(x[order], y[order], strict=True):
        blocks.append([float(px), float(py), 1.0])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    sums = np.array(blocks)
    return np.maximum.accumulate(sums[:, 0] / sums[:, 2]), np.maximum.accumulate(sums[:, 1] / sums[:, 2])


def part_presence(present: Float[np.ndarray, " there"], missing: Float[np.ndarray, " absent"]) -> float:
    """The presence that parts best what is there from what is not, while it overlooks little of the former.

    Args:
        present: presence where the concept is.
        missing: presence where it is not.
    """
    if not len(missing):
        return 0.0
    most = float(np.quantile(present, _MAY_LOSE, method="lower"))
    candidates = sorted({most, 0.0, *(float(np.nextafter(value, 1.0)) for value in missing if value < most)})
    wrong = [(present < t).mean() + (missing >= t).mean() for t in candidates]
    best = int(np.argmin(wrong))
    # Halfway to what is there, where there is room: the next picture's presence may lie a little lower.
    above = [float(value) for value in present if value >= candidates[best]]
    return min(most, (candidates[best] + min(above, default=candidates[best])) / 2)
