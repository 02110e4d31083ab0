"""The two named ways to measure a mask: what differs between them, as data.

`native` measures at the image's own size and agrees with PySODMetrics 1.6 wherever that library gives a number.
`paper` measures on a 600 × 600 square by the definitions behind the paper's tables. The formulas themselves are in
`overlap`, `weighted_f` and `structure`; each takes the `Protocol` it is to follow. `docs/metrics.md` sets the two
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from conceptseg.errors import InputError

__all__ = ["NATIVE", "PAPER", "Protocol", "ProtocolName", "get_protocol"]

ProtocolName: TypeAlias = Literal["native", "paper"]

_MACHINE_EPS = float(np.spacing(1))


@dataclass(frozen=True)
class Protocol:
    """One complete set of conventions; every number in a table names the protocol it was measured by."""

    name: ProtocolName
    square_px: int | None
    """Side of the square both masks are resized to by nearest neighbour; None keeps the image's own size."""
    truth_above: int
    """A 0..255 truth is foreground above this value."""
    ratio_smooth: float
    """Added to numerator and denominator of IoU and Dice; with 0, an empty ratio counts 0."""
    rate_eps: float
    """Added to the denominators of the true positive and true negative rates in BER."""
    half_is_foreground: bool
    """Whether a prediction of exactly 0.5 is foreground for BER (never for IoU)."""
    soft_dice: bool
    """Whether Dice takes the prediction as it is, or binarised above 0.5."""
    weighted_f_eps: float
    structure_eps: float
    structure_ddof: int
    """Degrees of freedom taken off in the variances of the S-measure (the covariance always takes one)."""
    structure_clamp: bool
    """Whether a negative S-measure becomes 0."""


NATIVE = Protocol(
    name="native",
    square_px=None,
    truth_above=128,
    ratio_smooth=0.0,
    rate_eps=0.0,
    half_is_foreground=False,
    soft_dice=False,
    weighted_f_eps=_MACHINE_EPS,
    structure_eps=_MACHINE_EPS,
    structure_ddof=1,
    structure_clamp=True,
)

PAPER = Protocol(
    name="paper",
    square_px=600,
    truth_above=127,
    ratio_smooth=1e-5,
    rate_eps=1e-8,
    half_is_foreground=True,
    soft_dice=True,
    weighted_f_eps=1e-6,
    structure_eps=1e-8,
    structure_ddof=0,
    structure_clamp=False,
)

_BY_NAME = {protocol.name: protocol for protocol in (NATIVE, PAPER)}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    for known, protocol in _BY_NAME.items():
        if name == known:
            return protocol
    raise InputError(f"Unknown protocol {name!r}. Known protocols: {', '.join(_BY_NAME)}.")
