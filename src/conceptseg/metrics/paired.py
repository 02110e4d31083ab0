"""The same pictures scored twice: how much better the second time, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from conceptseg.errors import InputError

__all__ = ["PairedChange", "paired_change"]

_CERTAIN = 0.05


@dataclass(frozen=True)
class PairedChange:
    """Two means over the same pictures, and their difference with what chance alone would do to it."""

    count: int
    """Pictures."""
    before: float
    """Mean of the first scores."""
    before_error: float
    """Its standard error; NaN for a single picture, as are the others."""
    after: float
    """Mean of the second scores."""
    after_error: float
    """Its standard error."""
    gain: float
    """after − before."""
    gain_error: float
    """Standard error of the mean difference, picture by picture."""
    p_value: float
    """Two-sided, of a paired t-test: how often chance alone makes so large a difference; 1 where it cannot be told."""

    @property
    def is_real(self) -> bool:
        """Whether chance alone would do this less than once in twenty times."""
        return self.p_value < _CERTAIN

    def __str__(self) -> str:
        """In percent, e.g. `45.2 ± 4.1 before, 64.8 ± 3.0 after: +19.6 ± 3.3 (n = 8, p = 0.001)`."""
        before, after = _plus_minus(self.before, self.before_error), _plus_minus(self.after, self.after_error)
        gain = _plus_minus(self.gain, self.gain_error, sign="+")
        p_value = f", p = {self.p_value:.3f}".replace("p = 0.000", "p < 0.001") if self.count > 1 else ""
        return f"{before} before, {after} after: {gain} (n = {self.count}{p_value})"


def paired_change(before: Sequence[float], after: Sequence[float]) -> PairedChange:
    """Compare scores of the same pictures, in the same order.

    Args:
        before: one score a picture.
        after: the same pictures' later scores.

    Raises:
        InputError: there are none, or their numbers differ.
    """
    if not before or len(before) != len(after):
        raise InputError(f"Expected two scores for every picture, got {len(before)} and {len(after)}.")
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    gains = second - first
    return PairedChange(
        count=len(gains),
        before=float(first.mean()),
        before_error=_standard_error(first),
        after=float(second.mean()),
        after_error=_standard_error(second),
        gain=float(gains.mean()),
        gain_error=_standard_error(gains),
        p_value=_p_value(float(gains.mean()), _standard_error(gains), len(gains)),
    )


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _p_value(gain: float, error: float, count: int) -> float:
    if count < 2 or gain == 0:
        return 1.0
    return 0.0 if error == 0 else float(2 * student.sf(abs(gain) / error, count - 1))


def _plus_minus(mean: float, error: float, sign: str = "") -> str:
    told = f"{100 * mean:{sign}.1f}"
    return told if math.isnan(error) else f"{told} ± {100 * error:.1f}"
