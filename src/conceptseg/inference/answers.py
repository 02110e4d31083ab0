"""From what SAM 3 drew to a result: the mask at the picture's size, what speaks for it, and what should be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from conceptseg.geometry import BoxXYXY, box_area, box_from_mask, box_iou, clip_box, scale_box
from conceptseg.inference.inputs import Query, Request
from conceptseg.inference.instances import FoundObjects
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice, Router, count_words, route_threshold, takes_shortcut
from conceptseg.models.calibrated_router import RouterSigns
from conceptseg.models.calibration import Signals
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import Instances, SegmentationLogits, upsample_logits
from conceptseg.protocol import Mosaic, Response

__all__ = ["UNTOLD", "Answers", "Drawn", "Screening", "drawn_one_by_one", "merit_of", "sound", "visible_part"]

UNTOLD = "The references played no part: SAM 3 alone answered, which goes by words (--route reason has them looked at)."
NO_OBJECT = "No single object reaches the score threshold: the mask is empty, though the semantic head draws something."
NOT_FOUND = "Not found: the concept's presence in the picture is below what was asked for; "


@dataclass(frozen=True, eq=False)
class Drawn:
    """What SAM 3 drew of one picture."""

    semantic: Float[Tensor, "height width"]
    """Logits at the mask decoder's resolution."""
    presence: float
    """That the concept is there at all, under the same prompt, 0…1."""
    objects: FoundObjects


@dataclass(frozen=True)
class Screening:
    """What SAM 3 alone says of the images it was asked about, by their place in the batch."""

    presence: dict[int, float]
    """The router's s."""
    drawn: dict[int, Drawn]
    alone: dict[int, Drawn] = field(default_factory=dict)
    """What it drew before it was told of references, where it was."""

    def signs(self, index: int, concept: str) -> RouterSigns:
        """What a calibrated router goes by."""
        drawn, alone = self.drawn[index], self.alone.get(index)
        return RouterSigns(
            words=count_words(concept),
            presence=self.presence[index],
            presence_beside=drawn.presence,
            sharpness=sharpness_of(drawn.semantic),
            agreement=None if alone is None else _overlap(alone.semantic, drawn.semantic),
        )

    def accepts(self, index: int, concept: str, choice: RouteChoice) -> bool:
        """Whether that is the answer (Eq. 9), or was to be, whatever it is."""
        if index not in self.presence:
            return False
        return choice is RouteChoice.DIRECT or takes_shortcut(self.presence[index], concept)


def drawn_one_by_one(drawn: tuple[SegmentationLogits, Instances]) -> list[Drawn]:
    """A batch's logits and objects, picture by picture."""
    logits, found = drawn
    presence = logits.presence.float().sigmoid().tolist()
    return [Drawn(logits.semantic[i], presence[i], FoundObjects.of(found, i)) for i in range(len(presence))]


class Answers:
    """Makes results of what was drawn.

    Args:
        model: that drew it.
        request: how it was asked for: whether masks of concepts that are not found are kept rather than emptied, which
            head draws the mask, and who chose the route.
    """

    def __init__(self, model: ConceptSegModel, request: Request) -> None:
        self._model = model
        self._always = request.always
        self._above = request.objects_above
        self._router = Router.of(request.route)

    def direct(self, query: Query, drawn: Drawn, presence: float) -> SegmentationResult:
        """SAM 3's own answer to the concept's words.

        Args:
            query: what was asked.
            drawn: the mask, told of references where there are any.
            presence: the router's, without references.
        """
        told = query.references is not None and query.references.seen is not None
        untold = () if told or query.references is None else (UNTOLD,)
        notes = (
            *(query.mosaic.notes if query.mosaic and told else untold),
            *self._notes_on_words(query.concept),
        )
        result = self._result(query, Route.DIRECT, drawn, notes)
        return self._judged(replace(result, presence=presence, answer=query.concept), query, drawn)

    def reasoned(self, query: Query, response: Response, answer: str, drawn: Drawn) -> SegmentationResult:
        """The answer of the whole way."""
        mosaic, size_hw = query.mosaic, (query.image.height, query.image.width)
        frame_hw = (self._model.config.protocol.frame_px,) * 2
        notes = (
            *(mosaic.notes if mosaic else ()),
            *self._notes_on_response(response),
            *self._notes_on_words(answer),
        )
        result = replace(
            self._result(query, Route.REASONED, drawn, notes),
            response=response,
            box=visible_part(response.box and scale_box(response.box, frame_hw, size_hw), size_hw),
            check_iou=_check_iou(response, mosaic),
            answer=answer,
        )
        return self._judged(result, query, drawn)

    def _result(self, query: Query, route: Route, drawn: Drawn, notes: Sequence[str]) -> SegmentationResult:
        return SegmentationResult(
            concept=query.concept,
            source=query.source,
            origin=query.origin,
            image=query.image,
            mask=_mask_of(drawn.semantic, (query.image.height, query.image.width)),
            route=route,
            threshold=route_threshold(query.concept),
            notes=(*(query.rule.notes if query.rule else ()), *query.notes, *notes),
            objects=drawn.objects,
            router=self._router,
        )

    def _judged(self, result: SegmentationResult, query: Query, drawn: Drawn) -> SegmentationResult:
        """The result with what to expect of it; its mask is emptied where the concept is known not to be there."""
        signals = Signals(
            presence=drawn.presence,
            sharpness=sharpness_of(drawn.semantic),
            agreement=_agreement(result.mask, result.box),
            check=result.check_iou,
        )
        calibration, rule = self._model.calibration, query.rule
        confidence = calibration.confidence(signals) if calibration else signals.plain()
        if rule is not None:
            confidence = min(1.0, max(0.0, confidence + rule.confidence_shift))
        result = replace(
            result,
            signals=signals,
            confidence=confidence,
            calibrated=calibration is not None,
            expected_iou=rule.expected_iou if rule else None,
        )
        asked = calibration.presence_threshold if calibration else None
        if rule is not None and rule.presence_threshold is not None:
            asked = rule.presence_threshold
        return self._found(self._from_objects(sound(result)), asked)

    def _from_objects(self, result: SegmentationResult) -> SegmentationResult:
        """The result with the union of its objects for its mask, where that was asked for."""
        if self._above is None or result.mask is None or result.objects is None:
            return result
        mask = result.objects.union(self._above, result.mask.shape)
        notes = result.notes if mask.any() or not result.mask.any() else (*result.notes, NO_OBJECT)
        return replace(result, mask=mask, objects_above=self._above, notes=notes)

    def _found(self, result: SegmentationResult, asked: float | None) -> SegmentationResult:
        if result.mask is None or result.signals is None:
            return result
        presence = result.signals.presence
        if asked is None or presence >= asked:
            return replace(result, found=bool(result.mask.any()))
        kept = "the mask is kept, as was asked for." if self._always else "the mask is empty."
        result = replace(result, found=False, notes=(*result.notes, NOT_FOUND + kept))
        return result if self._always else replace(result, mask=np.zeros_like(result.mask), objects=None)

    def _notes_on_words(self, words: str) -> tuple[str, ...]:
        segmenter = self._model.segmenter
        if not segmenter.cuts(words):
            return ()
        return (f"SAM 3 read only the beginning of its words: it takes {segmenter.max_text_tokens} tokens.",)

    def _notes_on_response(self, response: Response) -> tuple[str, ...]:
        notes = [] if response.words else ["The response named no answer; SAM 3 was given the concept's own words."]
        if self._model.translation is None:
            given = "the box" if response.box else "words alone, for the response had no box"
            notes.append(f"No concept translation: SAM 3 was prompted with {given}.")
        return (*notes, *self._model.reasoner.processor.notes, *self._model.segmenter.notes)


def sound(result: SegmentationResult) -> SegmentationResult:
    """A result, or in its place one with `.error` where SAM 3's scores are no numbers: its mask would be none either.

    Half precision overflows so, and a training that has diverged.
    """
    signals = result.signals
    scores = {"presence": result.presence}
    scores |= {"presence under the prompt": signals.presence, "sharpness": signals.sharpness} if signals else {}
    wrong = [f"{name} {value}" for name, value in scores.items() if value is not None and not math.isfinite(value)]
    if not wrong:
        return result
    reason = (
        f"SAM 3's scores of this picture are no numbers ({', '.join(wrong)}): the weights or their precision do not "
        "hold. Try another --dtype, such as bfloat16 or float32."
    )
    return replace(
        result,
        error=reason,
        mask=None,
        objects=None,
        route=None,
        found=None,
        presence=None,
        confidence=None,
        signals=None,
    )


def merit_of(result: SegmentationResult) -> tuple[bool, float, float]:
    """By what one of several answers is chosen: there is one; its check, to a tenth; how well mask and box agree."""
    agreement = result.signals.agreement if result.signals else None
    return result.error is None, round(result.check_iou or 0.0, 1), agreement or 0.0


def visible_part(box: BoxXYXY | None, size_hw: tuple[int, int]) -> BoxXYXY | None:
    """The part of a box inside the image; None where nothing is left of it."""
    if box is None:
        return None
    clipped = clip_box(box, size_hw)
    return clipped if box_area(clipped) > 0 else None


def _mask_of(semantic: Tensor, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    return (upsample_logits(semantic, size_hw) > 0).cpu().numpy()


def _overlap(a: Float[Tensor, "height width"], b: Float[Tensor, "height width"]) -> float:
    """IoU of the masks of two sets of logits; of two empty ones 1."""
    union = ((a > 0) | (b > 0)).sum()
    return float(((a > 0) & (b > 0)).sum() / union) if union else 1.0


def sharpness_of(semantic: Float[Tensor, "height width"]) -> float:
    """The IoU to expect if every pixel is as likely as its logit says: sure pixels in the mask, none beside it."""
    likely, inside = semantic.float().sigmoid(), semantic > 0
    union = inside.sum() + likely[~inside].sum()
    return float(likely[inside].sum() / union) if inside.any() else 0.0


def _agreement(mask: Bool[np.ndarray, "h w"] | None, box: BoxXYXY | None) -> float | None:
    if box is None or mask is None:
        return None
    around = box_from_mask(mask)
    return box_iou(around, box) if around else 0.0


def _check_iou(response: Response, mosaic: Mosaic | None) -> float | None:
    if mosaic is None or mosaic.proxy_index is None:
        return None
    truth = mosaic.boxes_xyxy[mosaic.proxy_index]
    return box_iou(response.check, truth) if response.check and truth else 0.0
