"""A router that was learned: when SAM 3 alone is as good as the reasoning, told by signs that cost next to nothing.

Eq. 9 of the paper knows presence and the number of words. This one is fitted on questions that were answered both ways
(`conceptseg calibrate`), knows a little more, and lies beside the checkpoint. It is used where it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from conceptseg.errors import InputError
from conceptseg.models.calibration import read_beside

__all__ = ["ROUTER_FILE", "BothWays", "CalibratedRouter", "RouterSigns", "fit_router", "read_router"]

ROUTER_FILE = "router.json"

_FEATURES = 8
_RIDGE = 1e-2
_FOLDS = 5
_LEAST = 20
"""Questions below which nothing is fitted."""
_MAY_COST = 0.005
"""IoU that shortcuts may cost, on average over all questions."""


@dataclass(frozen=True)
class RouterSigns:
    """What is known before the MLLM is asked."""

    words: int
    """Of the concept, as Eq. 9 counts them."""
    presence: float
    """SAM 3's, from the concept's words alone: Eq. 9's s."""
    presence_beside: float
    """The same once the reference prior has spoken; without references the same number."""
    sharpness: float
    """The IoU that SAM 3's own mask would have if each pixel were as likely as its logit says."""
    agreement: float | None = None
    """The cheap check: IoU of that mask drawn with and without the references; None without any."""

    def features(self) -> list[float]:
        """The numbers that a router mixes."""
        return [
            1.0,
            min(self.words, 6) / 6,
            self.presence,
            self.presence_beside,
            self.sharpness,
            self.presence_beside * self.sharpness,
            float(self.agreement is not None),
            self.agreement or 0.0,
        ]


@dataclass(frozen=True)
class BothWays:
    """A question that was answered by SAM 3 alone and by the reasoning."""

    signs: RouterSigns
    direct: float
    """IoU of SAM 3's own mask."""
    reasoned: float
    paper: float
    """IoU of the one that Eq. 9 would have taken."""


class CalibratedRouter(BaseModel):
    """Takes the shortcut where SAM 3's own mask is expected to be hardly worse than the reasoned one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["conceptseg-router"] = "conceptseg-router"
    format_version: Literal[1] = 1
    checkpoint: str
    """`ConceptSegModel.digest` of the checkpoint that it was fitted on."""
    weights: tuple[float, ...] = Field(min_length=_FEATURES, max_length=_FEATURES)
    """Of the signs: what SAM 3's own mask is expected to be better by."""
    least: float = Field(ge=-2, le=2)
    """From this expectation on the shortcut is taken."""
    questions: int = Field(ge=0)
    shortcuts: float = Field(ge=0, le=1)
    """Share of them that takes it; this and what follows by expectations from other questions (five folds)."""
    iou: float = Field(ge=0, le=1)
    """Mean IoU of its choices."""
    iou_reasoned: float = Field(ge=0, le=1)
    """Of reasoning always."""
    iou_direct: float = Field(ge=0, le=1)
    """Of SAM 3 alone always."""
    iou_paper: float = Field(ge=0, le=1)
    """Of Eq. 9's choices."""
    data: tuple[str, ...] = ()
    """What it was fitted on."""

    def accepts(self, signs: RouterSigns) -> bool:
        """Whether SAM 3 alone may answer."""
        return float(np.dot(self.weights, signs.features())) >= self.least

    def write(self, folder: Path) -> Path:
        """Store it beside the checkpoint in `folder`."""
        path = folder / ROUTER_FILE
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path

    def describe(self) -> str:
        """What it does, in a sentence."""
        return (
            f"router: SAM 3 alone answers {self.shortcuts:.0%} of {self.questions} questions; mean IoU {self.iou:.3f}, "
            f"of reasoning always {self.iou_reasoned:.3f}, of SAM 3 alone {self.iou_direct:.3f}, of Eq. 9 "
            f"{self.iou_paper:.3f}"
        )


def read_router(folder: Path, digest: str) -> CalibratedRouter | None:
    """The router beside a checkpoint; None where there is none, or, with a warning, one of other weights.

    Raises:
        CheckpointError: the file is damaged.
    """
    return read_beside(folder / ROUTER_FILE, CalibratedRouter, digest)


def fit_router(answers: Sequence[BothWays], *, checkpoint: str, data: Sequence[str] = ()) -> CalibratedRouter:
    """The router that takes most shortcuts at next to no cost.

    Args:
        answers: questions whose concept is in the picture, answered both ways.
        checkpoint: digest of the checkpoint that answered.
        data: what was asked, to be remembered.

    Raises:
        InputError: fewer than twenty questions.
    """
    if len(answers) < _LEAST:
        raise InputError(f"A router needs at least {_LEAST} questions, got {len(answers)}.")
    features = np.array([one.signs.features() for one in answers])
    direct, reasoned, paper = (
        np.array([getattr(a, name) for a in answers]) for name in ("direct", "reasoned", "paper")
    )
    gain = direct - reasoned
    folds = np.arange(len(answers)) % _FOLDS
    foreseen = np.empty(len(answers))
    for fold in range(_FOLDS):
        foreseen[folds == fold] = features[folds == fold] @ _weights(features[folds != fold], gain[folds != fold])
    least = _least_gain(foreseen, gain)
    taken = foreseen >= least
    return CalibratedRouter(
        checkpoint=checkpoint,
        weights=tuple(map(float, _weights(features, gain))),
        least=least,
        questions=len(answers),
        shortcuts=float(taken.mean()),
        iou=float(np.where(taken, direct, reasoned).mean()),
        iou_reasoned=float(reasoned.mean()),
        iou_direct=float(direct.mean()),
        iou_paper=float(paper.mean()),
        data=tuple(data),
    )


def _weights(features: Float[np.ndarray, "questions signs"], gain: Float[np.ndarray, " questions"]) -> np.ndarray:
    gram = features.T @ features + _RIDGE * len(gain) * np.eye(_FEATURES)
    return np.linalg.solve(gram, features.T @ gain)


def _least_gain(foreseen: Float[np.ndarray, " questions"], gain: Float[np.ndarray, " questions"]) -> float:
    """The expectation from which on most shortcuts are taken while the mean IoU stays within what they may cost."""
    order = np.argsort(-foreseen, kind="stable")
    change = np.cumsum(gain[order]) / len(gain)
    affordable = np.flatnonzero(change >= -_MAY_COST)
    if not len(affordable):
        return 2.0
    return float(np.clip(foreseen[order][affordable[-1]], -2.0, 2.0))
