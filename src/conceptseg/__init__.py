"""Segment any concept: rules induced from reference images, masks drawn by SAM 3 (arXiv 2605.20385)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conceptseg.data.samples import ConceptSample, Reference
    from conceptseg.inference.engine import ConceptSegmenter
    from conceptseg.inference.results import SegmentationResult
    from conceptseg.inference.rules import Rule

__version__ = "0.1.0"
__all__ = ["ConceptSample", "ConceptSegmenter", "Reference", "Rule", "SegmentationResult", "__version__"]

_HOME = {
    "ConceptSample": "conceptseg.data.samples",
    "ConceptSegmenter": "conceptseg.inference.engine",
    "Reference": "conceptseg.data.samples",
    "Rule": "conceptseg.inference.rules",
    "SegmentationResult": "conceptseg.inference.results",
}


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that `import conceptseg` loads neither torch nor transformers."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'conceptseg' has no attribute {name!r}")
