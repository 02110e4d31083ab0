"""`ConceptSegmenter`: the way of Figure 3 from an image, a concept and references to a mask with its reasons."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from conceptseg.data.loading import load_reference
from conceptseg.data.samples import ImageSource
from conceptseg.errors import InputError
from conceptseg.geometry import scale_box
from conceptseg.inference.answers import Answers, Screening, drawn_one_by_one, merit_of, sound, visible_part
from conceptseg.inference.inputs import (
    InTurn,
    PreparedReferences,
    Query,
    Question,
    Request,
    as_concepts,
    as_images,
    check_batch_size,
    chunks,
)
from conceptseg.inference.instances import DEFAULT_SCORE
from conceptseg.inference.learning import Learner
from conceptseg.inference.looking import Looker, Looks
from conceptseg.inference.references import ReferencePreparer, References, as_references, turned_query
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import RouteChoice, Router, may_take_shortcut
from conceptseg.inference.rules import Rule
from conceptseg.inference.timing import Clock
from conceptseg.models.calibrated_router import CalibratedRouter, RouterSigns
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.matching import cross_match
from conceptseg.models.memory import explain_out_of_memory
from conceptseg.models.reasoner import Generation
from conceptseg.models.segmenter import ImageFeatures, Instances, SegmentationLogits
from conceptseg.protocol import Mosaic, Response, parse_response
from conceptseg.words import check_words

__all__ = ["ConceptSegmenter", "Query"]

_Loaded = Sequence[Query | SegmentationResult]

_TEMPERATURE = 0.7
"""Of all responses but the first, where several are drawn."""


class ConceptSegmenter:
    """Segment a concept in images, given its name and, if wanted, reference images; or a rule that was learned of it.

    `segmenter.model.reasoner`, `.translation` and `.segmenter` are the three parts.

    One segmenter, and each part of it, may be used from any number of threads: SAM 3 and the MLLM take one caller at a
    time, so every answer is what it would be alone; a lazily read MLLM is read once. Threads may also draw from one
    `stream`: each result goes to one of them. For more throughput give a larger `batch_size` rather than more threads.

    Of a concept neither blanks nor invisible signs count, and capitals only where the checkpoint was trained on them;
    whatever it spells, a chat's control tokens included, the models read as text. References are an iterable of
    `Reference`s, pictures (unmarked), or pairs of a picture with its mask or box; one alone will do. What is remembered
    between calls is looked up by content: corrected files and edited arrays are read again. It is the last mosaic, the
    last picture's features, and of the last four ways in which prompts began what the MLLM read and said: what was said
    before is drafted and confirmed, which leaves texts as they are, and masks as they are but for rounding.
    """

    def __init__(self, model: ConceptSegModel) -> None:
        self.model = model.eval()
        self._prepare = ReferencePreparer(model)
        self._look = Looker(model)

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
        concept: str | Rule,
        references: References = (),
        *,
        route: str | RouteChoice = RouteChoice.AUTO,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
        mask_from: str = "semantic",
        score_threshold: float = DEFAULT_SCORE,
    ) -> SegmentationResult:
        """Segment `concept` in one image.

        Args:
            image: a path, bytes, PIL image or array.
            concept: what to look for, in words, or a rule, which brings its references and its route.
            references: pictures of the concept, marked by mask or box (or not at all); the first one's mark is
                withheld and used to verify the rule.
            route: "auto" (Eq. 9), "calibrated" (the checkpoint's own router), "direct" (SAM 3 alone) or "reason"
                (always the MLLM).
            always: whether the mask is kept where the concept is known not to be there.
            samples: responses of the MLLM to draw; the one whose check is best is kept, then the one whose mask and
                box agree best. Each withholds another reference.
            seed: of all but the first, which is the likeliest; it also depends on what is in one batch.
            mask_from: "semantic" (the paper's), or "instances" for the union of SAM 3's single objects.
            score_threshold: from which score on an object counts there.

        Raises:
            ImageError: the image or a reference cannot be read.
            InputError: the concept says nothing or cannot be read, the references are none, a box lies outside its
                image or is in fractions of it, or the route is unknown, or calibrated where nothing was.
        """
        request = self._request(
            route,
            concept,
            always=always,
            samples=samples,
            seed=seed,
            mask_from=mask_from,
            score_threshold=score_threshold,
        )
        question = self.put(concept, references)
        return self._answer([question.about(image)], request)[0]

    def concepts(
        self,
        image: ImageSource,
        concepts: Iterable[str | Rule],
        references: References = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
    ) -> list[SegmentationResult]:
        """Many concepts in one image, in their order: the image is read once, encoded once, and shown once.

        Args:
            image: as for a single concept.
            concepts: what to look for, in words, or rules; each rule brings its references, and, where `route` is
                "auto", its route.
            references: of all concepts that are words.
            batch_size: concepts at a time.
            route: as for a single concept.
            always: as for a single concept.
            samples: as for a single concept.
            seed: as for a single concept.

        Raises:
            ImageError: the image or a reference cannot be read.
            InputError: `concepts` is one concept or none, or as for a single one.
        """
        size, asked = check_batch_size(batch_size), as_concepts(concepts)
        questions = [self.put(one, () if isinstance(one, Rule) else references) for one in asked]
        first = questions[0].about(image)
        queries = [replace(first, concept=q.concept, references=q.references, rule=q.rule) for q in questions]
        results: dict[int, SegmentationResult] = {}
        requests = [self._request(route, one, always=always, samples=samples, seed=seed) for one in asked]
        for request in dict.fromkeys(requests):
            for places in chunks([place for place, own in enumerate(requests) if own == request], size):
                answers = self._answer([queries[place] for place in places], request)
                results |= dict(zip(places, answers, strict=True))
        return [results[place] for place in range(len(asked))]

    def stream(
        self,
        images: Iterable[ImageSource],
        concept: str | Rule,
        references: References = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
        mask_from: str = "semantic",
        score_threshold: float = DEFAULT_SCORE,
    ) -> Iterator[SegmentationResult]:
        """Results of many images, in their order; an image that cannot be read becomes a result with `.error`.

        The references are laid out once. An image is read when it is drawn from `images`, `batch_size` of them ahead;
        should drawing fail, the results of what was drawn are given before the error is raised. Several threads may
        draw from the stream. Arguments and errors as for a single image, otherwise; all are looked at at once.

        Raises:
            InputError: also where `images` is one image or a folder, or `batch_size` is no number of images.
        """
        request = self._request(
            route,
            concept,
            always=always,
            samples=samples,
            seed=seed,
            mask_from=mask_from,
            score_threshold=score_threshold,
        )
        size, sources = check_batch_size(batch_size), as_images(images)
        question = self.put(concept, references)
        loaded = chunks((question.try_about(image) for image in sources), size)
        return InTurn(result for chunk in loaded for result in self._segment_loaded(chunk, request))

    def stream_in_two_passes(
        self,
        images: Sequence[ImageSource],
        concept: str | Rule,
        references: References = (),
        *,
        batch_size: int = 8,
        route: str | RouteChoice = RouteChoice.AUTO,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
        mask_from: str = "semantic",
        score_threshold: float = DEFAULT_SCORE,
    ) -> Iterator[tuple[int, SegmentationResult]]:
        """SAM 3 over all images, then the MLLM over those it was not sure of, as (index in `images`, result).

        For a model that was loaded lazily on a small machine: the MLLM comes into memory only if something is left for
        it, and goes when that is done or fails. What is left is read and encoded twice, so the images must be a
        sequence; where the route is known beforehand there is one pass. Otherwise as `stream`.
        """
        request = self._request(
            route,
            concept,
            always=always,
            samples=samples,
            seed=seed,
            mask_from=mask_from,
            score_threshold=score_threshold,
        )
        size = check_batch_size(batch_size)
        if not isinstance(as_images(images), Sequence):
            raise InputError(f"Two passes read their images twice: give a list, not a {type(images).__name__}.")
        return InTurn(self._in_two_passes(images, self.put(concept, references), size, request))

    def learn(
        self,
        concept: str,
        references: References,
        *,
        absent: Iterable[ImageSource] = (),
        samples: int = 4,
        budget: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rule:
        """A rule from references, chosen because it verifies on those that it was not shown, and measured on them.

        See `conceptseg.inference.learning` for how. All references are at once reduced to what the model sees of them,
        and applied in that form, so that a saved rule gives the masks that an unsaved one gives.

        Args:
            concept: what it is about, in words.
            references: any number; two marked ones at least, to verify anything. More than a mosaic holds are welcome.
            absent: pictures in which the concept is not; they teach when to draw nothing.
            samples: responses that compete for the best supports.
            budget: pictures that the model may answer, at most; None for as many as the way takes.
            seed: of everything that is drawn by chance.
            progress: told (pictures answered, pictures planned) now and then.

        Raises:
            ImageError: a reference or an absent picture cannot be read.
            InputError: the concept says nothing, no reference is marked, or a number is none.
        """
        learner = Learner(self, check_words(concept), samples=samples, budget=budget, seed=seed, progress=progress)
        return learner.learn(as_references(references), list(as_images(absent)))

    def apply(
        self, rule: Rule, images: Iterable[ImageSource], *, batch_size: int = 8, always: bool = False
    ) -> Iterator[SegmentationResult]:
        """The same as `stream(images, rule)`: what was verified is read by the MLLM, box and answer are written."""
        return self.stream(images, rule, batch_size=batch_size, always=always)

    def put(self, concept: str | Rule, references: References = ()) -> Question:
        """A concept with its references, or what a rule says of it, ready to be asked of any image.

        Raises:
            InputError: a rule is given references besides its own; otherwise as for a single image.
        """
        if not isinstance(concept, Rule):
            return Question(check_words(concept), self.prepare(references))
        if as_references(references):
            raise InputError("A rule brings its own references: give a rule, or a concept with references.")
        applied = concept.applied(self.model.digest())
        for note in applied.notes:
            warnings.warn(note, stacklevel=3)
        return Question(concept.concept, self.prepare(concept.references()), applied)

    def _in_two_passes(
        self, images: Sequence[ImageSource], question: Question, size: int, request: Request
    ) -> Iterator[tuple[int, SegmentationResult]]:
        presence: dict[int, float | None] = {}
        if not may_take_shortcut(question.concept, request.route):
            presence = dict.fromkeys(range(len(images)))
        try:
            for chunk in chunks([i for i in range(len(images)) if i not in presence], size):
                screened = self._screen_images([question.try_about(images[i]) for i in chunk], request)
                for index, result in zip(chunk, screened, strict=True):
                    if result.route or result.error:
                        yield index, result
                    else:
                        presence[index] = result.presence
            for chunk in chunks(list(presence), size):
                loaded = [question.try_about(images[i]) for i in chunk]
                reasoned = self._segment_loaded(loaded, replace(request, route=RouteChoice.REASON))
                for index, result in zip(chunk, reasoned, strict=True):
                    yield index, replace(result, presence=presence[index], router=Router.of(request.route))
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
            ResourceError: memory ran out.
        """
        given = as_references(references)
        with explain_out_of_memory(f"looking at {len(given)} references"):
            return self._prepare(given)

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
        look, places = self._look(images)
        return look.features if len(places) == len(look.glance) else look.features.select(places)

    def segment_batch(
        self,
        queries: Sequence[Query],
        *,
        route: str | RouteChoice = RouteChoice.AUTO,
        always: bool = False,
        samples: int = 1,
        seed: int = 0,
        mask_from: str = "semantic",
        score_threshold: float = DEFAULT_SCORE,
    ) -> list[SegmentationResult]:
        """Answer a batch of queries, which may differ in everything; arguments as for a single image."""
        request = self._request(
            route,
            always=always,
            samples=samples,
            seed=seed,
            mask_from=mask_from,
            score_threshold=score_threshold,
        )
        return self._answer(queries, request)

    def compare(self, references: References) -> Float[np.ndarray, "references others"]:
        """How well each marked reference's mark is found by each other one alone, by sight (an IoU, 0…1).

        Raises:
            InputError: none is marked.
            ImageError: a picture or mask cannot be read.
        """
        loaded = [load_reference(one) for one in as_references(references)]
        with explain_out_of_memory(f"comparing {len(loaded)} references"):
            seen = self.model.see_marks(loaded)
            if seen is None:
                raise InputError("References are compared by their marks: give each a mask or a box.")
            return cross_match(seen).cpu().numpy()

    @torch.no_grad()
    def respond(
        self, queries: Sequence[Query], *, temperature: float = 0.0, seed: int | None = None
    ) -> tuple[Generation, list[Response]]:
        """What the MLLM says to queries, with the states behind it; nothing is drawn."""
        model = self.model
        prompts = [model.build_prompt(q.concept, q.image, q.mosaic) for q in queries]
        begun = [query.rule.begun if query.rule else "" for query in queries]
        how: dict[str, Any] = {"temperature": temperature, "seed": seed, "begun": begun if any(begun) else ()}
        with explain_out_of_memory(f"asking the MLLM about {len(queries)} images at a time"):
            generation = model.reason(prompts, remember=True, **how)
        return generation, [self._read(text, query) for text, query in zip(generation.texts, queries, strict=True)]

    @torch.no_grad()
    def answer_both_ways(
        self, queries: Sequence[Query]
    ) -> list[tuple[RouterSigns, SegmentationResult, SegmentationResult]]:
        """Queries answered by SAM 3 alone and by the reasoning, with the signs that a calibrated router goes by."""
        everyone, clock = list(range(len(queries))), Clock(self.model.device)
        request = Request(always=True)
        answers = Answers(self.model, request)
        with explain_out_of_memory(f"answering {len(queries)} questions both ways"):
            looks, screening, _ = self._take_shortcuts(queries, RouteChoice.DIRECT, clock)
            reasoned = self._reason(queries, looks, everyone, request, answers, clock)
        direct = [answers.direct(queries[i], screening.drawn[i], screening.presence[i]) for i in everyone]
        signs = [screening.signs(i, queries[i].concept) for i in everyone]
        return list(zip(signs, direct, reasoned, strict=True))

    @torch.no_grad()
    def _answer(self, queries: Sequence[Query], request: Request) -> list[SegmentationResult]:
        """The paper's Figure 3, line by line."""
        everyone = list(range(len(queries)))
        answers, clock = Answers(self.model, request), Clock(self.model.device)
        with explain_out_of_memory(f"segmenting {len(queries)} images at a time"):
            looks, screening, direct = self._take_shortcuts(queries, request.route, clock)
            reasoned = [i for i in everyone if i not in direct]
            results = {i: answers.direct(queries[i], screening.drawn[i], screening.presence[i]) for i in direct}
            answered = self._reason(queries, looks, reasoned, request, answers, clock)
            results |= {
                i: replace(one, presence=screening.presence.get(i)) for i, one in zip(reasoned, answered, strict=True)
            }
        return [replace(sound(results[i]), timings=clock.seconds[i]) for i in everyone]

    def _segment_loaded(self, loaded: _Loaded, request: Request) -> list[SegmentationResult]:
        """Results of a chunk in which some images could not be read."""
        done = iter(self._answer([entry for entry in loaded if isinstance(entry, Query)], request))
        return [next(done) if isinstance(entry, Query) else entry for entry in loaded]

    @torch.no_grad()
    def _screen_images(self, loaded: _Loaded, request: Request) -> list[SegmentationResult]:
        """What SAM 3 alone can answer; a result without route and error waits for the MLLM."""
        queries = [entry for entry in loaded if isinstance(entry, Query)]
        answers, clock = Answers(self.model, request), Clock(self.model.device)
        with explain_out_of_memory(f"screening {len(queries)} images at a time"):
            _, screening, direct = self._take_shortcuts(queries, request.route, clock)
        results = iter(
            replace(answers.direct(query, screening.drawn[i], screening.presence[i]), timings=clock.seconds[i])
            if i in direct
            else sound(
                SegmentationResult(query.concept, query.source, presence=screening.presence.get(i), origin=query.origin)
            )
            for i, query in enumerate(queries)
        )
        return [next(results) if isinstance(entry, Query) else entry for entry in loaded]

    def _take_shortcuts(
        self, queries: Sequence[Query], choice: RouteChoice, clock: Clock
    ) -> tuple[Looks | None, Screening, list[int]]:
        """Look at the pictures, and let SAM 3 draw those that it may answer alone."""
        if not queries:
            return None, Screening({}, {}), []
        look, places = self._look([query.image for query in queries])
        clock.lap("encode", range(len(queries)))
        looks = Looks(look, places, [query.references.seen if query.references else None for query in queries])
        screening = self._screen(queries, looks, choice, clock)
        if choice is RouteChoice.CALIBRATED:
            screening = self._redraw_beside_references(queries, looks, range(len(queries)), screening, clock)
            router = self._router()
            accepted = [router.accepts(screening.signs(i, query.concept)) for i, query in enumerate(queries)]
            return looks, screening, [i for i, shortcut in enumerate(accepted) if shortcut]
        direct = [i for i, query in enumerate(queries) if screening.accepts(i, query.concept, choice)]
        return looks, self._redraw_beside_references(queries, looks, direct, screening, clock), direct

    def _router(self) -> CalibratedRouter:
        if self.model.router is None:
            raise InputError(
                f"Checkpoint {self.model.config.name!r} has no calibrated router: make one (conceptseg calibrate), or "
                "leave the route to Eq. 9 (auto)."
            )
        return self.model.router

    def _request(self, route: str | RouteChoice, concept: str | Rule = "", **how: Any) -> Request:
        """A request that this checkpoint can meet; for `how` see `Request.of`.

        Raises:
            InputError: as there, or there is no calibrated router to ask.
        """
        request = Request.of(route, concept.route if isinstance(concept, Rule) else None, **how)
        if request.route is RouteChoice.CALIBRATED:
            self._router()
        return request

    def _screen(self, queries: Sequence[Query], looks: Looks, choice: RouteChoice, clock: Clock) -> Screening:
        """Ask SAM 3 alone, where its answer could be taken: presence score s and what it draws."""
        asked = [i for i, query in enumerate(queries) if may_take_shortcut(query.concept, choice)]
        if not asked:
            return Screening({}, {})
        segmenter = self.model.segmenter
        words = segmenter.embed_text([queries[i].concept for i in asked])
        drawn = drawn_one_by_one(segmenter.decode_with_instances(looks.alone(asked), words))
        clock.lap("screen", asked)
        presence = {i: one.presence for i, one in zip(asked, drawn, strict=True)}
        return Screening(presence, dict(zip(asked, drawn, strict=True)))

    def _redraw_beside_references(
        self, queries: Sequence[Query], looks: Looks, direct: Sequence[int], screening: Screening, clock: Clock
    ) -> Screening:
        """The masks of the direct route drawn anew where references say something: whether SAM 3 alone may answer is
        its own affair, what the prior adds to its answer is not lost."""
        told = looks.told(direct)
        if not told:
            return screening
        segmenter = self.model.segmenter
        words = segmenter.embed_text([queries[i].concept for i in told])
        drawn = drawn_one_by_one(segmenter.decode_with_instances(looks.beside_references(told), words))
        clock.lap("decode", told)
        alone = {i: screening.drawn[i] for i in told}
        return replace(screening, drawn=screening.drawn | dict(zip(told, drawn, strict=True)), alone=alone)

    def _reason(
        self,
        queries: Sequence[Query],
        looks: Looks | None,
        indices: Sequence[int],
        request: Request,
        answers: Answers,
        clock: Clock,
    ) -> list[SegmentationResult]:
        """Induce the rule, verify it, apply it, translate it, and draw the mask; of several times the best."""
        if not indices or looks is None:
            return []
        features: ImageFeatures | None = None
        drawn = []
        for number in range(request.samples):
            asked = [turned_query(queries[i], number, self.model) for i in indices]
            chance: dict[str, Any] = {"temperature": _TEMPERATURE, "seed": request.seed + number} if number else {}
            generation, responses = self.respond(asked, **chance)
            clock.lap("reason", indices)
            words = [response.words or query.concept for response, query in zip(responses, asked, strict=True)]
            features = looks.beside_references(indices) if features is None else features
            pictures = drawn_one_by_one(self._draw(features, generation, responses, words))
            clock.lap("decode", indices)
            drawn.append([answers.reasoned(*one) for one in zip(asked, responses, words, pictures, strict=True)])
        return [max(of_one, key=merit_of) for of_one in zip(*drawn, strict=True)]

    def _draw(
        self,
        features: ImageFeatures,
        generation: Generation,
        responses: Sequence[Response],
        answers: Sequence[str],
    ) -> tuple[SegmentationLogits, Instances]:
        """Masks from the responses' hidden states (Eq. 4), or from their boxes where nothing translates those."""
        model, segmenter = self.model, self.model.segmenter
        if model.translation is not None:
            prompt = model.translate(generation.hidden_states, generation.mask, answers)
            return segmenter.decode_with_instances(features, prompt)
        frame_hw = (model.config.protocol.frame_px,) * 2
        boxes = [visible_part(r.box and scale_box(r.box, frame_hw, (1, 1)), (1, 1)) for r in responses]
        return segmenter.decode_with_instances(features, segmenter.embed_text_and_boxes(features, boxes, answers))

    def _read(self, text: str, query: Query) -> Response:
        has_proxy = query.mosaic is not None and query.mosaic.proxy_index is not None
        protocol = self.model.config.protocol
        return parse_response(text, expect_check=has_proxy, expect_rule=protocol.expects_rule, unit_px=protocol.unit_px)
