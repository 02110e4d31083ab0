"""CVAT's auto-annotation: a rule, or a concept in words, as a detection function.

    cvat-cli task auto-annotate 7 --function-module conceptseg.interfaces.cvat -p rule=str:defect.rule

It runs where `cvat-cli` runs; CVAT's server gets masks, or polygons where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.errors import ConceptSegError, InputError, MissingExtraError
from conceptseg.geometry import box_from_mask, round_box
from conceptseg.shapes import trace_parts
from conceptseg.words import check_words

__all__ = ["Detector", "create"]

_LABEL_ID = 0


@dataclass(frozen=True)
class Detector:
    """What CVAT asks: which labels there are, and what is in a picture."""

    spec: Any
    """`DetectionFunctionSpec` with one label."""
    answer: Callable[[Image.Image], Any]
    """From a picture to a `SegmentationResult`."""

    def detect(self, context: Any, image: Image.Image) -> Sequence[Any]:
        """The concept in a picture: one mask, or its parts as polygons; nothing where it is not, or is too unsure.

        Args:
            context: `conf_threshold` is held against the result's confidence, where it has one; `conv_mask_to_poly`
                asks for polygons.
            image: from CVAT.

        Raises:
            ConceptSegError: the picture could not be segmented.
        """
        import cvat_sdk.auto_annotation as annotation
        from cvat_sdk.masks import encode_mask

        result = self.answer(image)
        if result.mask is None:
            raise ConceptSegError(result.error or "Nothing was computed.")
        if _is_left_out(result, getattr(context, "conf_threshold", None)):
            return []
        if getattr(context, "conv_mask_to_poly", False):
            parts = trace_parts(result.mask)
            return [annotation.polygon(_LABEL_ID, part.bridged.ravel().tolist()) for part in parts]
        return [annotation.mask(_LABEL_ID, encode_mask(result.mask, _whole_pixels(result.mask)))]


def create(
    rule: str | None = None,
    concept: str | None = None,
    label: str | None = None,
    checkpoint: str = "nano",
    device: str = "auto",
) -> Detector:
    """The function that CVAT calls with the parameters of `-p`.

    Args:
        rule: a rule's file.
        concept: words instead of a rule.
        label: the label in CVAT; None for the rule's concept, or the words.
        checkpoint: the model: nano, a folder, or a hub id.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: not one of `rule` and `concept` was given, or it is none.
        MissingExtraError: cvat-sdk is not installed.
    """
    if (rule is None) == (concept is None):
        raise InputError(
            "Give either a rule or a concept: -p rule=str:defect.rule, or -p concept=str:'surface defect'."
        )
    from conceptseg.inference import ConceptSegmenter

    segmenter = ConceptSegmenter.from_pretrained(checkpoint, device=device)
    words, answer = _by_rule(segmenter, Path(rule)) if rule is not None else _by_words(segmenter, str(concept))
    return Detector(_spec(label or words), answer)


def _by_words(segmenter: Any, concept: str) -> tuple[str, Callable[[Image.Image], Any]]:
    words = check_words(concept)
    return words, lambda image: segmenter(image, words)


def _by_rule(segmenter: Any, path: Path) -> tuple[str, Callable[[Image.Image], Any]]:
    from conceptseg.inference.rules import Rule

    rule = Rule.load(path)
    return rule.concept, lambda image: next(iter(segmenter.apply(rule, [image])))


def _spec(label: str) -> Any:
    try:
        import cvat_sdk.auto_annotation as annotation
    except ImportError:
        raise MissingExtraError("The CVAT function needs the package cvat-sdk: pip install cvat-sdk") from None
    return annotation.DetectionFunctionSpec(labels=[annotation.label_spec(label, _LABEL_ID)])


def _is_left_out(result: Any, conf_threshold: float | None) -> bool:
    confidence: float | None = getattr(result, "confidence", None)
    is_unsure = confidence is not None and conf_threshold is not None and confidence < conf_threshold
    return not result.mask.any() or getattr(result, "found", None) is False or is_unsure


def _whole_pixels(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The box of a mask that is not empty, as CVAT encodes it: x1, y1, x2, y2 with the last two outside."""
    box = box_from_mask(mask)
    return [] if box is None else list(round_box(box))
