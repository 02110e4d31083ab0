"""`ConceptSegmenter`: the way of Figure 3 from an image, a concept and references to a mask with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from conceptseg.data.fingerprints import fingerprint_picture
from conceptseg.data.samples import ImageSource
from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, box_area, box_iou, clip_box, scale_box
from conceptseg.inference.inputs import (
    InTurn,
    PreparedReferences,
    Query,
    as_images,
    check_batch_size,
    chunks,
    load_query,
    try_query,
)
from conceptseg.inference.looking import Look, Looks
from conceptseg.inference.references import ReferencePreparer, References, as_references
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice, may_take_shortcut, route_threshold, takes_shortcut
from conceptseg.inference.timing import Clock
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.memory import explain_out_of_memory
from conceptseg.models.reasoner import Generation
from conceptseg.models.segmenter import ImageFeatures, SegmentationLogits, upsample_logits
from conceptseg.protocol import Mosaic, Response, parse_response
from conceptseg.words import check_words

__all__ = ["ConceptSegmenter", "Query"]


class ConceptSegmenter:
    """Segment a concept in images, given its name and, if wanted, reference images.

    `segmenter.model.reasoner`, `.translation` and `.segmenter` are the three parts.

    One segmenter, and each part of it, may be used from any number of threads: SAM 3 and the MLLM take one caller at a
    time, so every answer is what it would be alone; a lazily read MLLM is read once. Threads may also draw from one
    `stream`: each result goes to one of them. For more throughput give a larger `batch_size` rather than more threads.

    Of a concept neither blanks nor invisible signs count, and capitals only where the checkpoint was trained on them;
    whatever it spells, a chat's control tokens included, the models read as text. References are an iterable of
    `Reference`s, pictures (unmarked), or pairs of a picture with its mask or box; one alone will do. What is remembered
    between calls (the last mosaic, the last picture's features) is looked up by content: corrected files and edited
    arrays are read again.
    """

    def __init__(self, model: ConceptSegModel) -> None:
        self.model = model.eval()
        self._prepare = ReferencePreparer(model)
        self._last_picture: tuple[Image.Image, str, Look] | None = None

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
        references: References = (),
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
            InputError: the concept says nothing or cannot be read, the references are none, a box lies outside its
                image or is in fractions of it, or the route is unknown.
        """
        choice, words = RouteChoice.of(route), check_words(concept)
        prepared = self.prepare(references)
        return self.segment_batch([load_query(image, words, prepared)], route=choice)[0]

    def stream(
        self,
        images: Iterable[ImageSource],
        concept: str,
        references: References = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
    ) -> Iterator[SegmentationResult]:
        """Results of many images, in their order; an image that cannot be read becomes a result with `.error`.

        The references are laid out once. An image is read when it is drawn from `images`, `batch_size` of them ahead;
        should drawing fail, the results of what was drawn are given before the error is raised. Several threads may
        draw from the stream. Arguments and errors as for a single image, otherwise; all are looked at at once.

        Raises:
            InputError: also where `images` is one image or a folder, or `batch_size` is no number of images.
        """
        choice, words, size = RouteChoice.of(route), check_words(concept), check_batch_size(batch_size)
        sources = as_images(images)
        prepared = self.prepare(references)
        loaded = chunks((try_query(image, words, prepared) for image in sources), size)
        return InTurn(result for chunk in loaded for result in self._segment_loaded(chunk, choice))

    def stream_in_two_passes(
        self,
        images: Sequence[ImageSource],
        concept: str,
        references: References = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
    ) -> Iterator[tuple[int, SegmentationResult]]:
        """SAM 3 over all images, then the MLLM over those it was not sure of, as (index in `images`, result).

        For a model that was loaded lazily on a small machine: the MLLM comes into memory only if something is left for
        it, and goes when that is done or fails. What is left is read and encoded twice, so the images must be a
        sequence; where the route is known beforehand there is one pass. Arguments and errors as for `stream`.
        """
        choice, words, size = RouteChoice.of(route), check_words(concept), check_batch_size(batch_size)
        if not isinstance(as_images(images), Sequence):
            raise InputError(f"Two passes read their images twice: give a list, not a {type(images).__name__}.")
        return InTurn(self._in_two_passes(images, words, self.prepare(references), size, choice))

    def _in_two_passes(
        self,
        images: Sequence[ImageSource],
        concept: str,
        references: PreparedReferences | None,
        size: int,
        choice: RouteChoice,
    ) -> Iterator[tuple[int, SegmentationResult]]:
        presence: dict[int, float | None] = {}
        if not may_take_shortcut(concept, choice):
            presence = dict.fromkeys(range(len(images)))
        try:
            for chunk in chunks([i for i in range(len(images)) if i not in presence], size):
                screened = self._screen_images([try_query(images[i], concept, references) for i in chunk], choice)
                for index, result in zip(chunk, screened, strict=True):
                    if result.route or result.error:
                        yield index, result
                    else:
                        presence[index] = result.presence
            for chunk in chunks(list(presence), size):
                loaded = [try_query(images[i], concept, references) for i in chunk]
                for index, result in zip(chunk, self._segment_loaded(loaded, RouteChoice.REASON), strict=True):
                    yield index, replace(result, presence=presence[index])
        finally:
            self.model.reasoner.release()

    def build_mosaic(self, references: References) -> Mosaic | None:
        """References as the MLLM will see them, or None without any; errors as for `prepare`."""
        prepared = self.prepare(references)
        return None if prepared is None else prepared.mosaic

    def prepare(self, references: References) -> PreparedReferences | None:
        """References ready for any number of images, or None without any; the last set is remembered while it stays.

        Raises:
            InputError: they are no references.
            ImageError: a picture or mask cannot be read.
            SampleError: a box lies outside its picture, or is in fractions of it.
        """
        return self._prepare(as_references(references))

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image]) -> ImageFeatures:
        """SAM 3's features of pictures, in their order; a picture given several times is encoded once.

        Pictures are told apart as objects. When all are one picture, its features are kept until another is encoded:
        further questions about it do not encode it again, unless it was drawn upon meanwhile.

        Args:
            images: at least one, of any sizes.

        Raises:
            InputError: there is none.
        """
        look, places = self._look_at(images)
        return look.features if len(places) == len(look.glance) else look.features.select(places)

    def _look_at(self, images: Sequence[Image.Image]) -> tuple[Look, list[int]]:
        """The distinct pictures, and for each picture which of them it is."""
        distinct = list({id(image): image for image in images}.values())
        if not distinct:
            raise InputError("Expected at least one image to encode, got none.")
        places = {id(image): place for place, image in enumerate(distinct)}
        look = self._look_at_one(distinct[0]) if len(distinct) == 1 else self._look_at_several(distinct)
        return look, [places[id(image)] for image in images]

    def _look_at_one(self, image: Image.Image) -> Look:
        last, content = self._last_picture, fingerprint_picture(image)  # read once: another thread may replace it
        if last is not None and last[0] is image and last[1] == content:
            return last[2]
        look = self._look_at_several([image])
        self._last_picture = (image, content, look)
        return look

    def _look_at_several(self, images: Sequence[Image.Image]) -> Look:
        self._last_picture = None  # its memory may be needed
        segmenter = self.model.segmenter
        return Look(segmenter, segmenter.glance(segmenter.preprocess(images)))

    @torch.no_grad()
    def segment_batch(
        self, queries: Sequence[Query], *, route: str | RouteChoice = RouteChoice.AUTO
    ) -> list[SegmentationResult]:
        """Answer a batch of queries: the paper's Figure 3, line by line."""
        choice = RouteChoice.of(route)
        everyone = list(range(len(queries)))
        clock = Clock(self.model.device)
        with explain_out_of_memory(f"segmenting {len(queries)} images at a time"):
            looks = self._encode(queries, clock)
            screening = self._screen(queries, looks, choice, clock)
            direct = [i for i in everyone if screening.accepts(i, queries[i].concept, choice)]
            reasoned = [i for i in everyone if i not in direct]
            screening = self._redraw_beside_references(queries, looks, direct, screening, clock)
            results = {i: self._direct_result(queries[i], screening, i) for i in direct}
            for index, answered in zip(reasoned, self._reason(queries, looks, reasoned, clock), strict=True):
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
        self, loaded: Sequence[Query | SegmentationResult], choice: RouteChoice
    ) -> list[SegmentationResult]:
        """What SAM 3 alone can answer; a result without route and error waits for the MLLM."""
        queries = [entry for entry in loaded if isinstance(entry, Query)]
        clock = Clock(self.model.device)
        looks = self._encode(queries, clock)
        screening = self._screen(queries, looks, choice, clock)
        direct = [i for i, query in enumerate(queries) if screening.accepts(i, query.concept, choice)]
        screening = self._redraw_beside_references(queries, looks, direct, screening, clock)
        results = iter(
            replace(self._direct_result(query, screening, i), timings=clock.seconds[i])
            if i in direct
            else SegmentationResult(
                query.concept, query.source, presence=screening.presence.get(i), origin=query.origin
            )
            for i, query in enumerate(queries)
        )
        return [next(results) if isinstance(entry, Query) else entry for entry in loaded]

    def _encode(self, queries: Sequence[Query], clock: Clock) -> Looks | None:
        if not queries:
            return None
        look, places = self._look_at([query.image for query in queries])
        clock.lap("encode", range(len(queries)))
        return Looks(look, places, [None if query.references is None else query.references.seen for query in queries])

    def _screen(self, queries: Sequence[Query], looks: Looks | None, choice: RouteChoice, clock: Clock) -> _Screening:
        """Ask SAM 3 alone, where its answer could be taken: presence score s and mask logits."""
        asked = [i for i, query in enumerate(queries) if may_take_shortcut(query.concept, choice)]
        if not asked or looks is None:
            return _Screening({}, {})
        segmenter = self.model.segmenter
        logits = segmenter.decode(looks.alone(asked), segmenter.embed_text([queries[i].concept for i in asked]))
        presence = logits.presence.float().sigmoid().tolist()
        clock.lap("screen", asked)
        return _Screening(dict(zip(asked, presence, strict=True)), dict(zip(asked, logits.semantic, strict=True)))

    def _redraw_beside_references(
        self,
        queries: Sequence[Query],
        looks: Looks | None,
        direct: Sequence[int],
        screening: _Screening,
        clock: Clock,
    ) -> _Screening:
        """The masks of the direct route drawn anew where references say something: whether SAM 3 alone may answer is
        its own affair, what the prior adds to its answer is not lost."""
        told = looks.told(direct) if looks is not None else []
        if not told or looks is None:
            return screening
        segmenter = self.model.segmenter
        words = segmenter.embed_text([queries[i].concept for i in told])
        logits = segmenter.decode(looks.beside_references(told), words)
        clock.lap("decode", told)
        return replace(screening, semantic=screening.semantic | dict(zip(told, logits.semantic, strict=True)))

    def _reason(
        self, queries: Sequence[Query], looks: Looks | None, indices: Sequence[int], clock: Clock
    ) -> list[SegmentationResult]:
        """Induce the rule, verify it, apply it, translate it, and draw the mask."""
        if not indices or looks is None:
            return []
        model = self.model
        asked = [queries[i] for i in indices]
        generation = model.reason([model.build_prompt(q.concept, q.image, q.mosaic) for q in asked])
        responses = [self._read(text, query) for text, query in zip(generation.texts, asked, strict=True)]
        answers = [response.words or query.concept for response, query in zip(responses, asked, strict=True)]
        clock.lap("reason", indices)
        logits = self._draw(looks.beside_references(indices), generation, responses, answers)
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
            origin=query.origin,
            image=image,
            mask=_mask_of(semantic, size_hw),
            route=Route.REASONED,
            threshold=route_threshold(query.concept),
            response=response,
            box=_visible(response.box and scale_box(response.box, frame_hw, size_hw), size_hw),
            check_iou=_check_iou(response, mosaic),
            answer=answer,
            notes=(
                *query.notes,
                *(mosaic.notes if mosaic else ()),
                *self._notes_on_response(response),
                *self._notes_on_words(answer),
            ),
        )

    def _direct_result(self, query: Query, screening: _Screening, index: int) -> SegmentationResult:
        return SegmentationResult(
            concept=query.concept,
            source=query.source,
            origin=query.origin,
            image=query.image,
            mask=_mask_of(screening.semantic[index], (query.image.height, query.image.width)),
            route=Route.DIRECT,
            presence=screening.presence[index],
            threshold=route_threshold(query.concept),
            answer=query.concept,
            notes=(
                *query.notes,
                *(query.mosaic.notes if query.mosaic and query.references and query.references.seen else ()),
                *self._notes_on_words(query.concept),
            ),
        )

    def _notes_on_words(self, words: str) -> tuple[str, ...]:
        segmenter = self.model.segmenter
        if not segmenter.cuts(words):
            return ()
        return (f"SAM 3 read only the beginning of its words: it takes {segmenter.max_text_tokens} tokens.",)

    def _notes_on_response(self, response: Response) -> tuple[str, ...]:
        notes = [] if response.words else ["The response named no answer; SAM 3 was given the concept's own words."]
        if self.model.translation is None:
            given = "the box" if response.box else "words alone, for the response had no box"
            notes.append(f"No concept translation: SAM 3 was prompted with {given}.")
        return (*notes, *self.model.reasoner.processor.notes)


@dataclass(frozen=True)
class _Screening:
    """What SAM 3 alone says of the images it was asked about."""

    presence: dict[int, float]
    semantic: dict[int, torch.Tensor]

    def accepts(self, index: int, concept: str, choice: RouteChoice) -> bool:
        if index not in self.presence:
            return False
        return choice is RouteChoice.DIRECT or takes_shortcut(self.presence[index], concept)


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
