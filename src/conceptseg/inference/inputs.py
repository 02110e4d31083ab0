"""What callers hand over as images, made ready for a batch: the obvious reading, or one clear error."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from conceptseg.data.loading import LoadedReference
from conceptseg.data.samples import ImageSource
from conceptseg.decoding import is_ready
from conceptseg.errors import ImageError, InputError
from conceptseg.images import LazyImage, ReadImage, describe_source, read_image
from conceptseg.inference.instances import DEFAULT_SCORE, check_score
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice, route_threshold
from conceptseg.models.matching import SeenReferences
from conceptseg.protocol import Mosaic
from conceptseg.words import check_words

__all__ = [
    "MASK_SOURCES",
    "OPENED_FILES",
    "AppliedRule",
    "InTurn",
    "PreparedReferences",
    "Query",
    "Question",
    "Request",
    "as_concepts",
    "as_images",
    "check_batch_size",
    "chunks",
    "is_picture",
    "load_query",
    "try_query",
]

T = TypeVar("T")

MOST_SAMPLES = 64
MASK_SOURCES = ("semantic", "instances")

OPENED_FILES = threading.Lock()
"""Held while a caller's PIL image is read: one that is still to be decoded must not be by two threads at once."""


@dataclass(frozen=True, eq=False)
class PreparedReferences:
    """References ready for any number of images."""

    mosaic: Mosaic
    """How the MLLM sees them."""
    loaded: tuple[LoadedReference, ...]
    """In order, in memory."""
    seen: SeenReferences | None = None
    """What the reference prior compares targets with, where there is a prior and something is marked."""


@dataclass(frozen=True)
class AppliedRule:
    """What a learned rule adds to a question (`conceptseg.inference.rules`)."""

    begun: str = ""
    """The verified part of the response, which the MLLM goes on from; nothing where it is to begin itself."""
    presence_threshold: float | None = None
    """From this presence on the concept is there; None leaves it to the checkpoint's calibration."""
    expected_iou: float | None = None
    """The IoU to expect of the rule's masks, where it could be verified."""
    confidence_shift: float = 0.0
    """How much better or worse than they looked the rule's masks of known pictures were."""
    notes: tuple[str, ...] = ()
    """What the reader of an answer should know of the rule."""


@dataclass(frozen=True, eq=False)
class Query:
    """One image with its question, ready for a batch; queries of a batch may differ in everything.

    Raises:
        InputError: the concept is no text, says nothing, or cannot be read.
        ImageError: the image is none.
    """

    image: Image.Image
    """RGB, upright; anything else that `read_image` reads is made so."""
    concept: str
    """Blanks are put in order (`conceptseg.words`)."""
    references: PreparedReferences | None = None
    source: str = ""
    origin: Path | None = None
    """The image's file, absolute; None where it came from memory."""
    notes: tuple[str, ...] = ()
    """What was left out or scaled in reading the image."""
    rule: AppliedRule | None = None
    """What is known already, where a learned rule is applied."""

    @property
    def mosaic(self) -> Mosaic | None:
        """The references as the MLLM sees them; None without any."""
        return None if self.references is None else self.references.mosaic

    def __post_init__(self) -> None:
        object.__setattr__(self, "concept", check_words(self.concept))
        if not (isinstance(self.image, Image.Image) and is_ready(self.image)):
            read = _read_source(self.image)
            object.__setattr__(self, "image", read.image)
            object.__setattr__(self, "notes", self.notes + read.notes)


def _read_source(image: ImageSource) -> ReadImage:
    """`read_image`, which any number of threads may call with one and the same PIL image."""
    if not isinstance(image, Image.Image):
        return read_image(image)
    with OPENED_FILES:
        return read_image(image)


def load_query(
    image: ImageSource, concept: str, references: PreparedReferences | None, rule: AppliedRule | None = None
) -> Query:
    """A question about an image.

    Raises:
        ImageError: the image cannot be read.
        InputError: the concept says nothing, or cannot be read.
    """
    read = _read_source(image)
    return Query(read.image, concept, references, *_whence(image), notes=read.notes, rule=rule)


def try_query(
    image: ImageSource, concept: str, references: PreparedReferences | None, rule: AppliedRule | None = None
) -> Query | SegmentationResult:
    """A question about an image, or the result that says why the image cannot be read."""
    try:
        return load_query(image, concept, references, rule)
    except ImageError as error:
        source, origin = _whence(image)
        threshold = route_threshold(concept)
        return SegmentationResult(concept, source, error=str(error), threshold=threshold, origin=origin)


@dataclass(frozen=True)
class Question:
    """What is asked of any number of images."""

    concept: str
    references: PreparedReferences | None = None
    rule: AppliedRule | None = None

    def about(self, image: ImageSource) -> Query:
        """The question about one image; errors as of `load_query`."""
        return load_query(image, self.concept, self.references, self.rule)

    def try_about(self, image: ImageSource) -> Query | SegmentationResult:
        """The question about one image, or the result that says why the image cannot be read."""
        return try_query(image, self.concept, self.references, self.rule)


@dataclass(frozen=True)
class Request:
    """How a caller wants to be answered."""

    route: RouteChoice = RouteChoice.AUTO
    always: bool = False
    """Whether masks of concepts that are not found are kept."""
    samples: int = 1
    """Responses that are drawn, of which the best is kept; the first is the likeliest one."""
    seed: int = 0
    """Of the others."""
    objects_above: float | None = None
    """Draw the union of the single objects from this score on instead of the semantic mask; None for the latter."""

    @classmethod
    def of(
        cls,
        route: str | RouteChoice,
        rule: Route | None = None,
        *,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
        mask_from: str = "semantic",
        score_threshold: float = DEFAULT_SCORE,
    ) -> Request:
        """A request in a caller's words.

        Args:
            route: as a caller names it; a router follows a rule, where there is one.
            rule: the route of the rule that is applied.
            always: as above.
            samples: as above.
            seed: as above.
            mask_from: "semantic" for SAM 3's semantic head (the paper's), "instances" for the union of its objects.
            score_threshold: from which score on objects count.

        Raises:
            InputError: there is no such route, `samples` is not a number of responses, or the mask is to come from
                somewhere else or from scores outside 0…1.
        """
        choice = RouteChoice.of(route)
        if choice in (RouteChoice.AUTO, RouteChoice.CALIBRATED) and rule is not None:
            choice = RouteChoice.DIRECT if rule is Route.DIRECT else RouteChoice.REASON
        if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= MOST_SAMPLES:
            raise InputError(f"samples must be 1…{MOST_SAMPLES}, got {samples!r}: how many responses are drawn.")
        if mask_from not in MASK_SOURCES:
            raise InputError(f"A mask comes from one of {', '.join(MASK_SOURCES)}, got {mask_from!r}.")
        above = check_score(score_threshold) if mask_from == "instances" else None
        return cls(choice, always, samples, seed, above)


def _whence(image: ImageSource) -> tuple[str, Path | None]:
    """A result's `source` and `origin`: the path as it is and made absolute, or what messages call the picture."""
    if isinstance(image, (str, Path)):
        return str(image), Path(os.path.abspath(image))
    return describe_source(image).strip("'\""), None


def is_picture(source: object) -> bool:
    """Whether something is one picture rather than several: a file name, bytes, a PIL image, an array of one."""
    if isinstance(source, np.ndarray):
        return source.dtype.kind not in "OUS" and source.ndim <= 3
    return isinstance(source, (str, Path, bytes, bytearray, Image.Image, LazyImage))


def as_images(images: object) -> Iterable[ImageSource]:
    """Several images, as they came.

    Raises:
        InputError: it is one image, a folder's name, or nothing that could be gone through.
    """
    if isinstance(images, (str, Path)) and os.path.isdir(images):
        raise InputError(
            f"{str(images)!r} is a folder: give the pictures in it, e.g. sorted(Path({str(images)!r}).glob('*.jpg'))."
        )
    if is_picture(images):
        name = describe_source(images)  # type: ignore[arg-type]
        raise InputError(
            f"Expected several images (a list, a generator), got one: {name}. Put it into a list: [image]."
        )
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise InputError(f"Expected several images (a list, a generator), got {type(images).__name__}.")
    return images


def as_concepts(concepts: Iterable[T]) -> list[T]:
    """Several concepts, as they came.

    Raises:
        InputError: it is one concept, or none.
    """
    if isinstance(concepts, (str, Mapping)) or not isinstance(concepts, Iterable):
        raise InputError(f"Expected several concepts, got {concepts!r}. Put it into a list: [concept].")
    listed = list(concepts)
    if not listed:
        raise InputError("There are no concepts to look for: give at least one.")
    return listed


def check_batch_size(value: object) -> int:
    """A number of images at a time.

    Raises:
        InputError: it is no whole number, or less than one.
    """
    try:
        size = 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        size = 0
    if size < 1:
        raise InputError(f"batch_size must be at least 1, got {value!r}: how many images are worked on at a time.")
    return size


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one perhaps shorter; what came before the items failed is given before that."""
    pending = iter(items)
    failure: Exception | None = None
    while failure is None:
        chunk: list[T] = []
        try:
            while len(chunk) < size:
                chunk.append(next(pending))
        except StopIteration:
            if chunk:
                yield chunk
            return
        except Exception as error:  # of the caller's making: it is raised, but costs nobody what was given before
            failure = error
        if chunk:
            yield chunk
    raise failure


class InTurn(Generic[T]):
    """An iterator that several threads may draw from: each item goes to one of them."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.RLock()

    def __iter__(self) -> InTurn[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def close(self) -> None:
        """End it before its end; what it holds is let go."""
        with self._lock:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
