"""`sam3-agent`: the MLLM proposes a noun phrase, SAM 3 draws its objects, the MLLM looks at them and keeps or retries.

After the agent that SAM 3's authors describe. Relative to theirs, the tools are two tags instead of function calls, the
wording is ours, and a phrase is given up after one look.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw

from conceptseg.evaluation.baselines.base import Method
from conceptseg.evaluation.baselines.objects import DrawnObject, union_of
from conceptseg.geometry import box_from_mask
from conceptseg.images import resize_image
from conceptseg.inference import Query, Route, RouteChoice, SegmentationResult
from conceptseg.models.reasoner import Prompt
from conceptseg.models.segmenter import ImageFeatures, upsample_logits
from conceptseg.protocol import SYSTEM_PROMPT

__all__ = ["Sam3Agent", "draw_numbered", "read_choice", "read_phrase"]

_PHRASE = re.compile(r"<phrase>\s*([^<]{1,200}?)\s*(?:<|\Z)", re.IGNORECASE)
_KEEP = re.compile(r"<keep>([^<]{0,400})", re.IGNORECASE)
_AGAIN = re.compile(r"<again\s*/?>", re.IGNORECASE)
_COLOURS = ((230, 60, 60), (60, 160, 230), (70, 190, 90), (240, 170, 40), (170, 90, 220), (40, 200, 190))
_PROPOSE = (
    'Somebody wants to segment "{concept}" in the last image{context}. A tool draws all objects that a short noun '
    "phrase names. Which phrase should it be given?{tried} Answer <phrase>noun phrase</phrase>."
)
_LOOK = (
    'Somebody wants to segment "{concept}" in the first image. The second image shows what a tool drew for "{phrase}", '
    "numbered 1 to {count}. Answer <keep>numbers of the right ones, with commas</keep>, or <again/> if none is right."
)


@dataclass
class Sam3Agent(Method):
    """Rounds of proposing and looking; what cannot be read falls back to the concept's words, and to keeping all."""

    rounds: int = 3
    """Phrases that are tried at most."""
    score_from: float = 0.5
    """SAM 3's score from which an object is shown."""
    objects_at_most: int = 20
    max_new_tokens: int = 256

    name: ClassVar[str] = "sam3-agent"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; whatever the route, the MLLM is asked."""
        started = time.perf_counter()
        features = self.segmenter.encode([query.image for query in queries])
        cases = [_Case(query, features.select([number])) for number, query in enumerate(queries)]
        for _ in range(self.rounds):
            self._propose([case for case in cases if not case.settled])
            self._look([case for case in cases if not case.settled and case.shown])
        seconds = (time.perf_counter() - started) / len(queries)
        return [case.result(seconds) for case in cases]

    def _propose(self, cases: Sequence[_Case]) -> None:
        """Ask for a phrase a case, and draw what it names."""
        for case, text in zip(cases, self._generate([self._proposal(case) for case in cases]), strict=True):
            phrase = read_phrase(text) or case.query.concept
            case.tried.append(phrase)
            case.shown = self._objects(case, phrase)
            case.said.append(f"proposed {phrase!r}: {len(case.shown)} objects")

    def _look(self, cases: Sequence[_Case]) -> None:
        """Show what was drawn, and settle the cases in which something is kept."""
        for case, text in zip(cases, self._generate([self._inspection(case) for case in cases]), strict=True):
            keep = read_choice(text, len(case.shown))
            case.said.append(f"kept {', '.join(map(str, keep)) or 'nothing'}")
            case.kept = [case.shown[number - 1] for number in keep]
            case.settled = bool(keep)

    def _proposal(self, case: _Case) -> Prompt:
        mosaic = case.query.mosaic
        images = ([mosaic.image] if mosaic else []) + [self._framed(case.query.image)]
        context = ", as marked by red boxes in the first" if mosaic else ""
        tried = f" These were no use: {', '.join(case.tried)}." if case.tried else ""
        text = _PROPOSE.format(concept=case.query.concept, context=context, tried=tried)
        return Prompt(tuple(images), text, SYSTEM_PROMPT)

    def _inspection(self, case: _Case) -> Prompt:
        image = case.query.image
        drawn = draw_numbered(image, [one.mask for one in case.shown])
        text = _LOOK.format(concept=case.query.concept, phrase=case.tried[-1], count=len(case.shown))
        return Prompt((self._framed(image), self._framed(drawn)), text, SYSTEM_PROMPT)

    def _framed(self, image: Image.Image) -> Image.Image:
        side = self.segmenter.model.config.protocol.frame_px
        return resize_image(image, (side, side))

    def _generate(self, prompts: Sequence[Prompt]) -> list[str]:
        if not prompts:
            return []
        return self.segmenter.model.reasoner.generate(prompts, max_new_tokens=self.max_new_tokens).texts

    @torch.no_grad()
    def _objects(self, case: _Case, phrase: str) -> list[DrawnObject]:
        """The objects of a phrase that SAM 3 is sure enough of, surest first."""
        segmenter = self.segmenter.model.segmenter
        found = segmenter.find_instances(case.features, segmenter.embed_text([phrase]))
        scores = found.scores[0].tolist()
        order = sorted(range(len(scores)), key=lambda number: -scores[number])[: self.objects_at_most]
        size_hw = (case.query.image.height, case.query.image.width)
        masks = {i: (upsample_logits(found.masks[0, i], size_hw) > 0).cpu().numpy() for i in order}
        return [DrawnObject(masks[i], scores[i], 0.0) for i in order if scores[i] >= self.score_from and masks[i].any()]


@dataclass
class _Case:
    """One question on its way."""

    query: Query
    features: ImageFeatures
    tried: list[str] = field(default_factory=list)
    shown: list[DrawnObject] = field(default_factory=list)
    kept: list[DrawnObject] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    settled: bool = False

    def result(self, seconds: float) -> SegmentationResult:
        """What has come of it; when every round was in vain, an empty mask."""
        image = self.query.image
        mask = union_of([one.mask for one in self.kept], (image.height, image.width))
        return SegmentationResult(
            self.query.concept,
            self.query.source,
            image,
            mask,
            Route.REASONED,
            presence=max((one.confidence for one in self.kept), default=0.0),
            box=box_from_mask(mask),
            answer=self.tried[-1] if self.tried else None,
            notes=tuple(self.said),
            timings={"total": seconds},
        )


def read_phrase(text: str) -> str | None:
    """The noun phrase that a text proposes, if any."""
    found = _PHRASE.search(text)
    return found[1].strip() or None if found else None


def read_choice(text: str, count: int) -> list[int]:
    """Which of 1 … `count` a text keeps: none if it asks for another try, all if it cannot be read."""
    found = _KEEP.search(text)
    if found:
        return sorted({int(number) for number in re.findall(r"\d{1,4}", found[1])} & set(range(1, count + 1)))
    return [] if _AGAIN.search(text) else list(range(1, count + 1))


def draw_numbered(image: Image.Image, masks: Sequence[Bool[np.ndarray, "h w"]]) -> Image.Image:
    """The picture with every mask tinted in a colour of its own, and its number in the middle of it."""
    pixels = np.asarray(image, dtype=np.float32).copy()
    for number, mask in enumerate(masks):
        pixels[mask] = 0.5 * pixels[mask] + 0.5 * np.array(_COLOURS[number % len(_COLOURS)], dtype=np.float32)
    picture = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for number, mask in enumerate(masks, start=1):
        rows, columns = np.nonzero(mask)
        middle = (float(np.median(columns)), float(np.median(rows)))
        draw.text(middle, str(number), fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0), anchor="mm")
    return picture
