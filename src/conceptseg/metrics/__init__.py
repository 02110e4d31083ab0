"""Binary-mask metrics, each defined once, in two named protocols (numpy and scipy only)."""

from conceptseg.metrics.accumulator import Accumulator
from conceptseg.metrics.inputs import IgnoreAs
from conceptseg.metrics.protocols import ProtocolName
from conceptseg.metrics.scoring import METRICS, Metric, failed_row, image_row, score

__all__ = ["METRICS", "Accumulator", "IgnoreAs", "Metric", "ProtocolName", "failed_row", "image_row", "score"]
