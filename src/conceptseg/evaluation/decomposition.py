"""Appendix J as a measurement: which of rule, check, box and mask is right, together and apart.

The appendix looks at single pictures: a right mask may come from a wrong rule (a shortcut), a right rule may end in a
wrong mask (failed execution). Here every reasoned sample is counted. The appendix judges the reasoning text by eye;
relative to it, the check stands in for that text: the box by which the model verified its rule on a withheld reference
can be compared with the truth, words cannot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from conceptseg.errors import InputError
from conceptseg.evaluation.tables import Cell, Column, Origin, Row, Table
from conceptseg.models.calibration import expected_error

__all__ = [
    "RIGHT_FROM",
    "Calibration",
    "Decomposition",
    "Verdict",
    "answer_is_right",
    "calibrate",
    "decompose",
    "judge",
    "rule_is_right",
]

RIGHT_FROM = 0.5
"""The IoU from which a box or mask counts as right."""

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})
_BINS = 10
_MEANING = {
    (True, True, True): "understood",
    (True, True, False): "understood, not executed",
    (True, False, True): "right rule, verified wrongly",
    (True, False, False): "right rule, lost afterwards",
    (False, True, True): "grounded without its rule in words",
    (False, True, False): "found the reference only",
    (False, False, True): "shortcut: right mask for no reason",
    (False, False, False): "not understood",
}
"""(rule, check, mask) right → what to call it."""


@dataclass(frozen=True)
class Verdict:
    """What is right about one sample; None where it cannot be known."""

    rule: bool | None
    """By the true rule where the data state it, else by the true answer."""
    check: bool | None
    """None without a withheld reference."""
    box: bool
    mask: bool


@dataclass(frozen=True)
class Calibration:
    """How far the check's IoU, known while predicting, tells the mask's IoU, unknown then."""

    count: int
    bins: tuple[tuple[int, float, float], ...]
    """(samples, mean IoU of the check, mean IoU of the mask) by tenths of the check's IoU; empty tenths left out."""
    error: float
    """The mean over samples of their bin's |mean check IoU - mean mask IoU|."""
    pearson: float | None
    """Correlation of the two IoUs; None where one of them never varies."""
    spearman: float | None
    """Correlation of their ranks."""
    auroc: float | None
    """How often a right mask has the higher check IoU than a wrong one, ties halved; None without both kinds."""

    def sentence(self) -> str:
        """The numbers in words."""
        known = {"Pearson": self.pearson, "Spearman": self.spearman, "AUROC for a right mask": self.auroc}
        told = ", ".join(f"{name} {value:.2f}" for name, value in known.items() if value is not None)
        return f"IoU of check and mask on {self.count} samples: calibration error {self.error:.2f}" + (
            f", {told}." if told else "."
        )


@dataclass(frozen=True)
class Decomposition:
    """The reasoned samples of a run, by what is right."""

    verdicts: tuple[Verdict, ...]
    left_out: int
    """Samples without a response: taken by the shortcut, or failed."""
    calibration: Calibration | None
    """None where nothing was withheld."""

    def counts(self) -> Counter[tuple[bool, bool, bool]]:
        """How many samples of each of the eight ways (rule, check, mask), of those where all three are known."""
        return Counter((v.rule, v.check, v.mask) for v in self.verdicts if v.rule is not None and v.check is not None)

    def table(self, label: str, note: str = "") -> Table:
        """The eight ways with their shares, and how often the box is right in each; × 100."""
        counts = self.counts()
        whole = sum(counts.values())
        rows = []
        for way in _MEANING:
            boxes = [verdict.box for verdict in self.verdicts if (verdict.rule, verdict.check, verdict.mask) == way]
            cells: list[Cell] = [*("right" if right else "wrong" for right in way), float(counts[way])]
            cells += [100 * counts[way] / whole if whole else None, 100 * float(np.mean(boxes)) if boxes else None]
            rows.append(Row(_MEANING[way], Origin.OURS, cells, note=note))
        columns = [Column("rule"), Column("check"), Column("mask"), Column("n", decimals=0), Column("share")]
        columns.append(Column("box right"))
        title = f"{label}: reasoning and mask, right or wrong (Appendix J)"
        return Table("decomposition", title, columns, rows, self._remarks(whole))

    def _remarks(self, whole: int) -> list[str]:
        remarks = [
            f"Right is an IoU of {RIGHT_FROM} or more. A rule is right if it says what the true rule says; where "
            "that is not known, if the answer is the true answer.",
            f"{whole} samples; {len(self.verdicts) - whole} more have no known rule or nothing withheld, and "
            f"{self.left_out} no response (taken by the shortcut, or failed).",
        ]
        if self.calibration is not None:
            remarks.append(self.calibration.sentence())
        return remarks


def judge(row: Mapping[str, Any]) -> Verdict:
    """What is right about a reasoned sample, from its row."""
    check = row["check_iou"]
    return Verdict(
        rule=rule_is_right(row),
        check=None if check is None else check >= RIGHT_FROM,
        box=(row["box_iou"] or 0.0) >= RIGHT_FROM,
        mask=row["iou"] >= RIGHT_FROM,
    )


def decompose(rows: Iterable[Mapping[str, Any]]) -> Decomposition:
    """Judge every sample that has a response."""
    rows = list(rows)
    reasoned = [row for row in rows if row["error"] is None and row["response"] is not None]
    checked = [row for row in reasoned if row["check_iou"] is not None]
    calibration = calibrate([r["check_iou"] for r in checked], [r["iou"] for r in checked]) if checked else None
    return Decomposition(tuple(map(judge, reasoned)), len(rows) - len(reasoned), calibration)


def rule_is_right(row: Mapping[str, Any]) -> bool | None:
    """Whether a response's rule is the true one; where that is unknown, whether its answer is; else None.

    Rules are compared word by word, case and punctuation aside.
    """
    if row.get("true_rule") is not None:
        return _words(row.get("rule")) == _words(row["true_rule"])
    return answer_is_right(row)


def answer_is_right(row: Mapping[str, Any]) -> bool | None:
    """Whether a response's answer is the true one, articles and a plural's s aside; None where no answer is known."""
    if row.get("true_answer") is None:
        return None
    return _noun_phrase(row.get("answer")) == _noun_phrase(row["true_answer"])


def calibrate(check_ious: Sequence[float], mask_ious: Sequence[float]) -> Calibration:
    """Compare checks with masks, sample by sample.

    Args:
        check_ious: IoU of each sample's check with the withheld box, 0 to 1.
        mask_ious: IoU of its mask with the truth, 0 to 1.

    Raises:
        InputError: there are no samples, or not equally many of both.
    """
    if len(check_ious) != len(mask_ious) or not check_ious:
        raise InputError(f"Expected one mask a check, at least one, got {len(mask_ious)} and {len(check_ious)}.")
    checks, masks = np.asarray(check_ious, float), np.asarray(mask_ious, float)
    tenth = np.minimum((checks * _BINS).astype(int), _BINS - 1)
    members = [tenth == number for number in range(_BINS) if (tenth == number).any()]
    bins = tuple((int(m.sum()), float(checks[m].mean()), float(masks[m].mean())) for m in members)
    return Calibration(
        count=len(checks),
        bins=bins,
        error=expected_error(check_ious, mask_ious, _BINS),
        pearson=_correlation(checks, masks),
        spearman=_correlation(rankdata(checks), rankdata(masks)),
        auroc=_auroc(checks, masks >= RIGHT_FROM),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _auroc(scores: np.ndarray, right: np.ndarray) -> float | None:
    """The Mann-Whitney statistic as a share of all pairs."""
    hits = int(right.sum())
    misses = len(right) - hits
    if not hits or not misses:
        return None
    ranks = float(rankdata(scores)[right].sum())
    return (ranks - hits * (hits + 1) / 2) / (hits * misses)


def _words(text: str | None) -> list[str]:
    return _WORD.findall((text or "").casefold())


def _noun_phrase(text: str | None) -> list[str]:
    words = (word for word in _words(text) if word not in _ARTICLES)
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]
