"""What a sample was made of at a time, so that a run that goes on notices that its data have changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data.fingerprints import fingerprint_source
from conceptseg.data.samples import ConceptSample, ImageSource
from conceptseg.digests import MISSING, FileDigests, digest_of
from conceptseg.errors import ConceptSegError
from conceptseg.images import LazyImage, SelectedMask
from conceptseg.masks import Label

__all__ = ["SampleState", "SampleStates"]


@dataclass(frozen=True)
class SampleState:
    """A sample's words, pictures, masks and references in short."""

    stamp: str | None
    """By words, sizes and times of files; None where something is not a file."""
    digest: str
    """By words and content."""

    def to_dict(self) -> dict[str, str | None]:
        """JSON-ready, for a row."""
        return {"stamp": self.stamp, "digest": self.digest}


class SampleStates:
    """The states of samples; a file that many of them share is read once."""

    def __init__(self) -> None:
        self._files = FileDigests()

    def of(self, sample: ConceptSample) -> SampleState:
        """A sample's state now; its files are read."""
        return SampleState(self.stamp(sample), self.digest(sample))

    def is_same(self, sample: ConceptSample, earlier: Mapping[str, Any]) -> bool:
        """Whether a sample is what it was.

        Args:
            sample: as it is now.
            earlier: `SampleState.to_dict()`; files are read only if their sizes or times are others.
        """
        stamp = earlier.get("stamp")
        return (stamp is not None and stamp == self.stamp(sample)) or earlier.get("digest") == self.digest(sample)

    def stamp(self, sample: ConceptSample) -> str | None:
        """See `SampleState`."""
        sources = list(_sources(sample))
        files = [source for source in sources if not isinstance(source, _IN_MEMORY)]
        if len(files) < len(sources):
            return None
        return digest_of(_words(sample), *(self._files.stamp(source) if source else "" for source in files))

    def digest(self, sample: ConceptSample) -> str:
        """See `SampleState`."""
        return digest_of(_words(sample), *(self._content(source) for source in _sources(sample)))

    def _content(self, source: ImageSource | None) -> str:
        if source is None:
            return ""
        if isinstance(source, _IN_MEMORY):
            return _digest_in_memory(source)
        return self._files.digest(source)


_IN_MEMORY = (bytes, Image.Image, np.ndarray, LazyImage)


def _sources(sample: ConceptSample) -> Iterator[ImageSource | None]:
    yield sample.image
    yield _as_stored(sample.mask)
    for reference in sample.references:
        yield reference.image
        yield _as_stored(reference.mask)


def _as_stored(mask: ImageSource | None) -> ImageSource | None:
    """A mask without its selection, which `_words` tells: a file then stays a file."""
    return _as_stored(mask.source) if isinstance(mask, SelectedMask) else mask


def _selected(mask: ImageSource | None) -> list[Label | None]:
    return [mask.label, mask.ignore, *_selected(mask.source)] if isinstance(mask, SelectedMask) else []


def _words(sample: ConceptSample) -> str:
    """All that is said of a sample, where its references' boxes are, and what is selected in masks."""
    boxes = [reference.box for reference in sample.references]
    selected = [_selected(sample.mask)]
    selected += [[reference.label, reference.ignore, *_selected(reference.mask)] for reference in sample.references]
    return json.dumps([sample.concept, sample.task, sample.rule, sample.answer, sample.group, boxes, selected])


def _digest_in_memory(source: bytes | Image.Image | np.ndarray | LazyImage) -> str:
    if isinstance(source, LazyImage):
        try:
            source = source.make()
        except (ConceptSegError, OSError) as error:  # what cannot be made has its reason for a content
            return digest_of(str(error))
    return fingerprint_source(source) or MISSING
