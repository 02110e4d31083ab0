"""One prediction against one truth: the seven numbers of the paper's tables, and the row kept of every image."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from numpy.typing import ArrayLike

from conceptseg.errors import InputError
from conceptseg.metrics.inputs import IgnoreAs, Pair, make_pair
from conceptseg.metrics.overlap import confusion, overlap_scores
from conceptseg.metrics.protocols import Protocol, ProtocolName, get_protocol
from conceptseg.metrics.structure import s_measure
from conceptseg.metrics.weighted_f import weighted_f

__all__ = ["METRICS", "Metric", "failed_row", "image_row", "score"]


@dataclass(frozen=True)
class Metric:
    """How a metric is written in a table, and which way is better."""

    title: str
    higher_is_better: bool


METRICS: MappingProxyType[str, Metric] = MappingProxyType(
    {
        "mae": Metric("MAE", False),
        "ber": Metric("BER", False),
        "wfm": Metric("F_β^ω", True),
        "sm": Metric("S_m", True),
        "miou": Metric("mIoU", True),
        "iou": Metric("IoU", True),
        "mdice": Metric("mDice", True),
    }
)
"""The per-image metrics by name, in the order of the paper's Table 8."""


def score(
    prediction: ArrayLike,
    truth: ArrayLike,
    protocol: ProtocolName = "native",
    ignore: int | None = None,
    integer_wfm: bool = False,
    *,
    ignore_as: IgnoreAs = "exclude",
    label: int | None = None,
) -> dict[str, float]:
    """Compare a predicted mask with the true one.

    Every input gives a number: an empty truth, a full one, a single pixel, a foreground at the image's edge.
    Predictions are never stretched by their own minimum and maximum, unlike in the evaluators we compare with.

    Args:
        prediction: (height, width). Bool; float in 0..1; or integers, 0/1 if none is above 1 and 0..255 otherwise.
        truth: (height, width), the prediction's shape. Bool; float, foreground above 0.5; or integers, read by the
            table of `conceptseg.masks.read_values`: 0/1, 0/255, 0/65535, 0/1/255 with 255 not judged, or grey levels,
            foreground above 128 (`native`) or above 127 (`paper`). A label map is refused unless `label` is given.
        protocol: `native` measures at the image's own size and agrees with PySODMetrics 1.6. `paper` first resizes
            both to 600 × 600 by nearest neighbour, thresholds the truth after that, and follows the definitions
            behind the paper's tables (§4.1, Appendix E; see docs/metrics.md).
        ignore: the truth's value for pixels that are not to be judged, such as 255 in ReasonSeg or 128 in a
            `ConceptSample`; None if it has none.
        integer_wfm: compute the weighted F-measure with the truncating convolution of the paper's evaluation code,
            to compare with its published numbers. Only with `paper`; the prediction is binarised above 0.5 for it.
        ignore_as: what the ignored pixels become: `exclude` leaves them out of every metric (as LISA does),
            `foreground` (Seg-Zero) and `background` (LENS) count them.
        label: the truth's value that is the foreground, where it is a label map.

    Returns:
        `METRICS` by name, as fractions: the paper prints them × 100. All lie in 0..1, except that the S-measure of
        `paper`, as in the original, falls below 0 for a reversed structure and may exceed 1 by 1e-5.

    Raises:
        InputError: not two-dimensional, shapes differ, values out of range, a truth that is a label map without
            `label`, unknown protocol or `ignore_as`, or `integer_wfm` without `paper`.
    """
    rules = get_protocol(protocol)
    return _scores(make_pair(prediction, truth, rules, ignore, ignore_as, label), rules, integer_wfm)


def image_row(
    prediction: ArrayLike,
    truth: ArrayLike,
    protocol: ProtocolName = "native",
    ignore: int | None = None,
    integer_wfm: bool = False,
    *,
    ignore_as: IgnoreAs = "exclude",
    label: int | None = None,
    **labels: str,
) -> dict[str, float | int | str]:
    """`score` as a row for an `Accumulator` or a line of JSON.

    Args:
        prediction: as in `score`, and so are `truth`, `protocol`, `ignore`, `integer_wfm` and `ignore_as`.
        truth: see `score`.
        protocol: see `score`.
        ignore: see `score`.
        integer_wfm: see `score`.
        ignore_as: see `score`.
        label: see `score`.
        labels: what the row is about (`id="…"`, `task="shadow"`), copied into it.

    Returns:
        The labels, the seven scores, and `intersection` and `union`: pixel counts of the foregrounds (binarised above
        0.5), from which data-set level IoU is made.

    Raises:
        InputError: as `score`.
    """
    rules = get_protocol(protocol)
    pair = make_pair(prediction, truth, rules, ignore, ignore_as, label)
    counts = confusion(pair)
    return {
        **labels,
        **_scores(pair, rules, integer_wfm),
        "intersection": counts.true_positive,
        "union": counts.union,
    }


def failed_row(**labels: str) -> dict[str, float | int | str]:
    """The row of a sample for which no mask could be made: the worst score everywhere, so that it stays in the mean.

    Its intersection and union are 0: score an empty prediction with `image_row` instead where the truth is at hand
    and data-set level IoU matters.
    """
    worst = {name: 0.0 if metric.higher_is_better else 1.0 for name, metric in METRICS.items()}
    return {**labels, **worst, "intersection": 0, "union": 0}


def _scores(pair: Pair, protocol: Protocol, integer_wfm: bool) -> dict[str, float]:
    if integer_wfm and protocol.name != "paper":
        raise InputError("integer_wfm reproduces the paper's evaluation code: use it with protocol='paper'.")
    scores = overlap_scores(pair, protocol)
    scores["wfm"] = weighted_f(pair, protocol, integer=integer_wfm)
    scores["sm"] = s_measure(pair, protocol)
    return {name: scores[name] for name in METRICS}
