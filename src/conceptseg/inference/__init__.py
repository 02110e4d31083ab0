"""From an image, a concept and references to a mask with its reasons."""

from __future__ import annotations

from conceptseg.inference.engine import ConceptSegmenter
from conceptseg.inference.inputs import PreparedReferences, Query
from conceptseg.inference.instances import Instance
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice, route_threshold, takes_shortcut
from conceptseg.inference.rules import Rule

__all__ = [
    "ConceptSegmenter",
    "Instance",
    "PreparedReferences",
    "Query",
    "Route",
    "RouteChoice",
    "Rule",
    "SegmentationResult",
    "route_threshold",
    "takes_shortcut",
]
