"""Samples: what they are, how they lie on disk, how they are loaded, and ConceptWorld, which makes them."""

from __future__ import annotations

from conceptseg.data.loading import LoadedReference, LoadedSample, load_reference, load_sample
from conceptseg.data.reading import read_samples
from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.data.writing import write_samples

__all__ = [
    "ConceptSample",
    "LoadedReference",
    "LoadedSample",
    "Reference",
    "load_reference",
    "load_sample",
    "read_samples",
    "write_samples",
]
