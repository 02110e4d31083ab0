"""The one place where masks become run lengths and polygons, and come back: exact, holes included."""

from conceptseg.shapes.brush import encode_brush
from conceptseg.shapes.outlines import Part, fill_polygon, trace_parts
from conceptseg.shapes.run_lengths import (
    compress_runs,
    count_target,
    decode_run_lengths,
    encode_run_lengths,
    to_coco_rle,
)

__all__ = [
    "Part",
    "compress_runs",
    "count_target",
    "decode_run_lengths",
    "encode_brush",
    "encode_run_lengths",
    "fill_polygon",
    "to_coco_rle",
    "trace_parts",
]
