"""`ConceptSegmenter`: the way of Figure 3 from an image, a concept and references to a mask with its reasons."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from conceptseg.data.loading import LoadedReference, load_reference
from conceptseg.data.samples import ImageSource, Reference
from conceptseg.errors import ImageError, InputError
from conceptseg.geometry import BoxXYXY, box_area, box_iou, clip_box, scale_box
from conceptseg.images import describe_source, load_image
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice, may_take_shortcut, route_threshold, takes_shortcut
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.memory import explain_out_of_memory
from conceptseg.models.reasoner import Generation
from conceptseg.models.segmenter import ImageFeatures, SegmentationLogits, upsample_logits
from conceptseg.protocol import Mosaic, Response, build_mosaic, parse_response

__all__ = ["ConceptSegmenter", "Query"]

_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Query:
    """One image with its question, ready for a batch; queries of a batch may differ in everything."""

    image: Image.Image
    concept: str
    mosaic: Mosaic | None = None
    source: str = ""


@dataclass
class _Clock:
    """Seconds by stage, each shared evenly among the images that took part; a GPU is waited for at each stage's end."""

    device: torch.device
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str, indices: Sequence[int]) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        for index in indices:
            self.seconds.setdefault(index, {})[stage] = (now - self._since) / len(indices)
        self._since = now


class ConceptSegmenter:
    """Segment a concept in images, given its name and, if wanted, reference images.

    `segmenter.model.reasoner`, `.translation` and `.segmenter` are the three parts.
    """

    def __init__(self, model: ConceptSegModel) -> None:
        self.model = model.eval()
        self._last_references: tuple[tuple[Reference, ...], Mosaic | None] = ((), None)
        self._last_picture: tuple[Image.Image, ImageFeatures] | None = None

    @classmethod
    def from_pretrained(cls, source: str | Path = "nano", *, device: str = "auto", **options: Any) -> ConceptSegmenter:
        """A segmenter from a checkpoint: the bundled `nano`, a folder, or a hub id.

        The MLLM is read when the first image needs it (`lazy=False` reads it now).

        Args:
            source: see `conceptseg.models.checkpoints` for what it may be; `owner/name@v1` names a hub id's revision.
            device: "auto" (CUDA, else Apple's MPS, else CPU), or a torch device.
            options: more of `conceptseg.models.loading.LoadOptions`, e.g. `sam`, `dtype`, `bits`, `device_map`.
        """
        return cls(ConceptSegModel.from_pretrained(source, device=device, **({"lazy": True} | options)))

    def __call__(
        self,
        image: ImageSource,
        concept: str,
        references: Sequence[Reference] = (),
        *,
        route: str | RouteChoice = RouteChoice.AUTO,
    ) -> SegmentationResult:
        """Segment `concept` in one image.

        Args:
            image: a path, bytes, PIL image or array.
            concept: what to look for, in words.
            references: pictures of the concept, marked by mask or box (or not at all); the first one's mark is
                withheld and used to verify the rule.
            route: "auto" (Eq. 9), "direct" (SAM 3 alone) or "reason" (always the MLLM).

        Raises:
            ImageError: the image or a reference cannot be read.
            InputError: the concept is blank, a box lies outside its image, or the route is unknown.
        """
        mosaic = self.build_mosaic(references)
        query = Query(load_image(image), concept, mosaic, _source_of(image))
        return self.segment_batch([query], route=route)[0]

    def stream(
        self,
        images: Iterable[ImageSource],
        concept: str,
        references: Sequence[Reference] = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
    ) -> Iterator[SegmentationResult]:
        """Results of many images, in their order; an image that cannot be read becomes a result with `.error`.

        The references are laid out once. Arguments and errors as for a single image, otherwise.
        """
        mosaic = self.build_mosaic(references)
        for chunk in _chunks(images, batch_size):
            yield from self._segment_loaded([self._load(image, concept, mosaic) for image in chunk], route)

    def stream_in_two_passes(
        self,
        images: Sequence[ImageSource],
        concept: str,
        references: Sequence[Reference] = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
    ) -> Iterator[tuple[int, SegmentationResult]]:
        """SAM 3 over all images, then the MLLM over those it was not sure of, as (index in `images`, result).

        For a model that was loaded lazily on a small machine: the MLLM comes into memory only if something is left for
        it, and goes when that is done or fails. What is left is read and encoded twice; where the route is known
        beforehand there is one pass. Arguments and errors as for `stream`.
        """
        choice = RouteChoice.of(route)
        mosaic = self.build_mosaic(references)
        presence: dict[int, float | None] = {}
        if not may_take_shortcut(concept, choice):
            presence = dict.fromkeys(range(len(images)))
        try:
            for chunk in _chunks([i for i in range(len(images)) if i not in presence], batch_size):
                screened = self._screen_images([images[i] for i in chunk], concept, choice)
                for index, result in zip(chunk, screened, strict=True):
                    if result.route or result.error:
                        yield index, result
                    else:
                        presence[index] = result.presence
            for chunk in _chunks(list(presence), batch_size):
                loaded = [self._load(images[i], concept, mosaic) for i in chunk]
                for index, result in zip(chunk, self._segment_loaded(loaded, RouteChoice.REASON), strict=True):
                    yield index, replace(result, presence=presence[index])
        finally:
            self.model.reasoner.release()

    def build_mosaic(self, references: Sequence[Reference]) -> Mosaic | None:
        """References as the model will see them, or None without any; the last set is remembered."""
        if not references:
            return None
        if self._last_references[0] != tuple(references):
            loaded = [load_reference(reference) for reference in references]
            frame_px = self.model.config.protocol.frame_px
            mosaic = build_mosaic([r.image for r in loaded], [r.box for r in loaded], canvas_px=frame_px)
            mosaic = replace(mosaic, notes=_notes_on_references(loaded))
            self._last_references = (tuple(references), mosaic)
        return self._last_references[1]

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image]) -> ImageFeatures:
        """SAM 3's features of pictures, in their order; a picture given several times is encoded once.

        Pictures are told apart as objects, not by content. When all are one picture, its features are kept until
        another is encoded: further questions about it do not encode it again.

        Args:
            images: at least one, of any sizes.
        """
        distinct = list({id(image): image for image in images}.values())
        if not (len(distinct) == 1 and self._last_picture and self._last_picture[0] is distinct[0]):
            self._last_picture = None
            segmenter = self.model.segmenter
            features = segmenter.encode(segmenter.preprocess(distinct))
            self._last_picture = (distinct[0], features) if len(distinct) == 1 else None
        else:
            features = self._last_picture[1]
        if len(distinct) == len(images):
            return features
        places = {id(image): place for place, image in enumerate(distinct)}
        return features.select([places[id(image)] for image in images])

    @torch.no_grad()
    def segment_batch(
        self, queries: Sequence[Query], *, route: str | RouteChoice = RouteChoice.AUTO
    ) -> list[SegmentationResult]:
        """Answer a batch of queries: the paper's Figure 3, line by line."""
        choice = RouteChoice.of(route)
        everyone = list(range(len(queries)))
        clock = _Clock(self.model.device)
        with explain_out_of_memory(f"segmenting {len(queries)} images at a time"):
            features = self._encode(queries, clock)
            screening = self._screen(queries, features, choice, clock)
            direct = [i for i in everyone if screening.accepts(i, queries[i].concept, choice)]
            reasoned = [i for i in everyone if i not in direct]
            results = {i: self._direct_result(queries[i], screening, i) for i in direct}
            for index, answered in zip(reasoned, self._reason(queries, features, reasoned, clock), strict=True):
                results[index] = replace(answered, presence=screening.presence.get(index))
        return [replace(results[i], timings=clock.seconds[i]) for i in everyone]

    def _segment_loaded(
        self, loaded: Sequence[Query | SegmentationResult], route: str | RouteChoice
    ) -> list[SegmentationResult]:
        """Results of a chunk in which some images could not be read."""
        done = iter(self.segment_batch([entry for entry in loaded if isinstance(entry, Query)], route=route))
        return [next(done) if isinstance(entry, Query) else entry for entry in loaded]

    @torch.no_grad()
    def _screen_images(
        self, images: Sequence[ImageSource], concept: str, choice: RouteChoice
    ) -> list[SegmentationResult]:
        """What SAM 3 alone can answer; a result without route and error waits for the MLLM."""
        loaded = [self._load(image, concept, None) for image in images]
        queries = [entry for entry in loaded if isinstance(entry, Query)]
        clock = _Clock(self.model.device)
        screening = self._screen(queries, self._encode(queries, clock), choice, clock)
        results = iter(
            replace(self._direct_result(query, screening, i), timings=clock.seconds[i])
            if screening.accepts(i, concept, choice)
            else SegmentationResult(concept, query.source, presence=screening.presence.get(i))
            for i, query in enumerate(queries)
        )
        return [next(results) if isinstance(entry, Query) else entry for entry in loaded]

    def _encode(self, queries: Sequence[Query], clock: _Clock) -> ImageFeatures | None:
        if not queries:
            return None
        features = self.encode([query.image for query in queries])
        clock.lap("encode", range(len(queries)))
        return features

    def _screen(
        self, queries: Sequence[Query], features: ImageFeatures | None, choice: RouteChoice, clock: _Clock
    ) -> _Screening:
        """Ask SAM 3 alone, where its answer could be taken: presence score s and mask logits."""
        asked = [i for i, query in enumerate(queries) if may_take_shortcut(query.concept, choice)]
        if not asked or features is None:
            return _Screening({}, {})
        segmenter = self.model.segmenter
        logits = segmenter.decode(features.select(asked), segmenter.embed_text([queries[i].concept for i in asked]))
        presence = logits.presence.float().sigmoid().tolist()
        clock.lap("screen", asked)
        return _Screening(dict(zip(asked, presence, strict=True)), dict(zip(asked, logits.semantic, strict=True)))

    def _reason(
        self, queries: Sequence[Query], features: ImageFeatures | None, indices: Sequence[int], clock: _Clock
    ) -> list[SegmentationResult]:
        """Induce the rule, verify it, apply it, translate it, and draw the mask."""
        if not indices or features is None:
            return []
        model = self.model
        asked = [queries[i] for i in indices]
        generation = model.reason([model.build_prompt(q.concept, q.image, q.mosaic) for q in asked])
        responses = [self._read(text, query) for text, query in zip(generation.texts, asked, strict=True)]
        answers = [response.answer or query.concept for response, query in zip(responses, asked, strict=True)]
        clock.lap("reason", indices)
        logits = self._draw(features.select(indices), generation, responses, answers)
        clock.lap("decode", indices)
        return [
            self._reasoned_result(query, response, answer, semantic)
            for query, response, answer, semantic in zip(asked, responses, answers, logits.semantic, strict=True)
        ]

    def _draw(
        self,
        features: ImageFeatures,
        generation: Generation,
        responses: Sequence[Response],
        answers: Sequence[str],
    ) -> SegmentationLogits:
        """Masks from the responses' hidden states (Eq. 4), or from their boxes where nothing translates those."""
        model = self.model
        if model.translation is not None:
            prompt = model.translate(generation.hidden_states, generation.mask, answers)
            return model.segmenter.decode(features, prompt)
        frame_hw = (model.config.protocol.frame_px,) * 2
        boxes = [_visible(r.box and scale_box(r.box, frame_hw, (1, 1)), (1, 1)) for r in responses]
        return model.segmenter.decode_box(features, boxes, answers)

    def _read(self, text: str, query: Query) -> Response:
        has_proxy = query.mosaic is not None and query.mosaic.proxy_index is not None
        return parse_response(text, expect_check=has_proxy, expect_rule=self.model.config.protocol.expects_rule)

    def _reasoned_result(
        self, query: Query, response: Response, answer: str, semantic: torch.Tensor
    ) -> SegmentationResult:
        image, mosaic = query.image, query.mosaic
        size_hw = (image.height, image.width)
        frame_hw = (self.model.config.protocol.frame_px,) * 2
        return SegmentationResult(
            concept=query.concept,
            source=query.source,
            image=image,
            mask=_mask_of(semantic, size_hw),
            route=Route.REASONED,
            threshold=route_threshold(query.concept),
            response=response,
            box=_visible(response.box and scale_box(response.box, frame_hw, size_hw), size_hw),
            check_iou=_check_iou(response, mosaic),
            answer=answer,
            notes=(
                *(mosaic.notes if mosaic else ()),
                *self._notes_on_response(response),
                *self._notes_on_words(answer),
            ),
        )

    def _direct_result(self, query: Query, screening: _Screening, index: int) -> SegmentationResult:
        return SegmentationResult(
            concept=query.concept,
            source=query.source,
            image=query.image,
            mask=_mask_of(screening.semantic[index], (query.image.height, query.image.width)),
            route=Route.DIRECT,
            presence=screening.presence[index],
            threshold=route_threshold(query.concept),
            answer=query.concept,
            notes=self._notes_on_words(query.concept),
        )

    def _notes_on_words(self, words: str) -> tuple[str, ...]:
        segmenter = self.model.segmenter
        if not segmenter.cuts(words):
            return ()
        return (f"SAM 3 read only the beginning of its words: it takes {segmenter.max_text_tokens} tokens.",)

    def _notes_on_response(self, response: Response) -> tuple[str, ...]:
        notes = [] if response.answer else ["The response named no answer; SAM 3 was given the concept's own words."]
        if self.model.translation is None:
            given = "the box" if response.box else "words alone, for the response had no box"
            notes.append(f"No concept translation: SAM 3 was prompted with {given}.")
        return (*notes, *self.model.reasoner.processor.notes)

    def _load(self, image: ImageSource, concept: str, mosaic: Mosaic | None) -> Query | SegmentationResult:
        source = _source_of(image)
        try:
            return Query(load_image(image), concept, mosaic, source)
        except ImageError as error:
            return SegmentationResult(concept, source, error=str(error), threshold=route_threshold(concept))


@dataclass(frozen=True)
class _Screening:
    """What SAM 3 alone says of the images it was asked about."""

    presence: dict[int, float]
    semantic: dict[int, torch.Tensor]

    def accepts(self, index: int, concept: str, choice: RouteChoice) -> bool:
        if index not in self.presence:
            return False
        return choice is RouteChoice.DIRECT or takes_shortcut(self.presence[index], concept)


def _notes_on_references(references: Sequence[LoadedReference]) -> tuple[str, ...]:
    return tuple(
        f"Reference {number} counts as unmarked: its mask is empty."
        for number, reference in enumerate(references, start=1)
        if reference.mask is not None and reference.box is None
    )


def _source_of(image: ImageSource) -> str:
    """A result's `source`: the path as it is, or what messages call the picture, without their quotes."""
    return str(image) if isinstance(image, (str, Path)) else describe_source(image).strip("'\"")


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    if size < 1:
        raise InputError(f"batch_size must be at least 1, got {size}.")
    pending = iter(items)
    while chunk := list(islice(pending, size)):
        yield chunk


def _mask_of(semantic: torch.Tensor, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    return (upsample_logits(semantic, size_hw) > 0).cpu().numpy()


def _check_iou(response: Response, mosaic: Mosaic | None) -> float | None:
    if mosaic is None or mosaic.proxy_index is None:
        return None
    truth = mosaic.boxes_xyxy[mosaic.proxy_index]
    return box_iou(response.check, truth) if response.check and truth else 0.0


def _visible(box: BoxXYXY | None, size_hw: tuple[int, int]) -> BoxXYXY | None:
    """The part of a box inside the image; None where nothing is left of it."""
    if box is None:
        return None
    clipped = clip_box(box, size_hw)
    return clipped if box_area(clipped) > 0 else None
