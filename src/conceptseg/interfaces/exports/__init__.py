"""Results of `conceptseg segment` in the formats of annotation tools and trainers."""

from conceptseg.interfaces.exports.exporter import ExportOptions
from conceptseg.interfaces.exports.results import Answer, Picture, Results, read_results
from conceptseg.interfaces.exports.writing import FORMATS, ExportReport, export_results

__all__ = [
    "FORMATS",
    "Answer",
    "ExportOptions",
    "ExportReport",
    "Picture",
    "Results",
    "export_results",
    "read_results",
]
