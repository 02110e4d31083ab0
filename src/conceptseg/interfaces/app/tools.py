"""What the page offers to programs, where that is asked for: tools of the Model Context Protocol, and its API."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Query, SegmentationResult
from conceptseg.interfaces.app.rules import apply_rule, load_rule
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.bodies import raw_references
from conceptseg.interfaces.server.pictures import PixelBudget, decode_base64, load_references
from conceptseg.interfaces.server.schemas import LearnRequest, ReferenceInput, RuleSegmentRequest, SegmentRequest
from conceptseg.validation import explain_mistakes
from conceptseg.words import check_words

__all__ = ["Tools"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Tools:
    """The tools over one segmenter.

    Pictures travel in base64, as with `conceptseg serve`; addresses and file names are refused, nothing is fetched.
    """

    segmenter: ConceptSegmenter
    uploads: Uploads

    def all(self) -> Sequence[Callable[..., str]]:
        """The tools as plain functions that answer in JSON; their docstrings are what programs read."""

        def segment(image: str, concept: str, references: list[dict[str, Any]], route: str = "auto") -> str:
            """Mark a concept in a picture, and say why.

            Args:
                image: The picture's file in base64, or as a data: URI.
                concept: What to mark, in words.
                references: Pictures of it, each {"image", "mask"} in base64, or {"image", "box": [x1, y1, x2, y2]}.
                route: "auto", "direct" (SAM 3 alone) or "reason".

            Returns:
                JSON: the route, the rule, the check, the confidence, and the mask as COCO run lengths.
            """
            return json.dumps(self.segment(image, concept, references, route))

        def learn_rule(concept: str, references: list[dict[str, Any]]) -> str:
            """Learn a rule from pictures of a concept, verified on those it was not shown, to be applied to others.

            Args:
                concept: What it is about, in words.
                references: Two or more marked pictures of it, as for segment.

            Returns:
                JSON: the rule in words, what it is worth, and its file in base64.
            """
            return json.dumps(self.learn(concept, references))

        def apply_rule(image: str, rule: str) -> str:
            """Mark what a learned rule is about in a picture.

            Args:
                image: The picture's file in base64, or as a data: URI.
                rule: The rule's file in base64, as learn_rule gives it.

            Returns:
                JSON as of segment.
            """
            return json.dumps(self.apply(image, rule))

        return segment, learn_rule, apply_rule

    def segment(self, image: Any, concept: Any, references: Any, route: Any = "auto") -> dict[str, Any]:
        """Answer a program, whatever it sent; see `all`.

        Raises:
            InputError: an argument cannot be used.
            Refusal: there are too many pixels.
        """
        asked = _checked(SegmentRequest, image=image, concept=concept, references=references, route=route)
        words, budget = check_words(asked.concept), self.uploads.budget()
        read = budget.read(decode_base64(asked.image, "image"), "image")
        given = self._references(asked.references, self.uploads.options.max_references, budget)
        query = Query(read.image, words, self.segmenter.prepare(given), source="image", notes=read.notes)
        return _told(self.segmenter.segment_batch([query], route=asked.route)[0])

    def learn(self, concept: Any, references: Any) -> dict[str, Any]:
        """Learn a rule for a program; see `all`. Errors as of `segment`."""
        asked = _checked(LearnRequest, id="rule", concept=concept, references=references)
        most = self.uploads.options.max_learned_references
        rule = self.segmenter.learn(asked.concept, self._references(asked.references, most, self.uploads.budget()))
        with TemporaryDirectory() as folder:
            content = rule.save(Path(folder) / "learned.rule").read_bytes()
        told = {"concept": rule.concept, "text": rule.text, "description": rule.describe(), "notes": list(rule.notes)}
        return {**told, "rule": base64.b64encode(content).decode("ascii")}

    def apply(self, image: Any, rule: Any) -> dict[str, Any]:
        """Apply a rule for a program; see `all`. Errors as of `segment`."""
        if not isinstance(rule, str):
            raise InputError("rule must be the file of a rule in base64, as learn_rule gives it.")
        asked = _checked(RuleSegmentRequest, image=image)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "given.rule"
            file.write_bytes(decode_base64(rule, "rule"))
            uploads = Uploads([Path(folder)], self.uploads.options)
            picture = Path(folder) / "image"
            picture.write_bytes(decode_base64(asked.image, "image"))
            steps = list(apply_rule(self.segmenter, uploads, load_rule(uploads, str(file)), [str(picture)]))
        return _told(steps[-1].results[0])

    @staticmethod
    def _references(given: Sequence[ReferenceInput], most: int, budget: PixelBudget) -> list[Reference]:
        if len(given) > most:
            raise InputError(f"{len(given)} references are more than the {most} that can be used.")
        return load_references(raw_references(list(given)), budget)


def _told(result: SegmentationResult) -> dict[str, Any]:
    if result.mask is None:
        raise InputError(result.error or "Nothing was computed.")
    return {**result.to_dict(), "mask": result.to_coco_rle(compressed=True)}


def _checked(model: type[M], **told: Any) -> M:
    """What a program sent, as the server's own model of it."""
    try:
        return model.model_validate(told)
    except ValidationError as error:
        raise InputError("; ".join(explain_mistakes(error, model)[:10]) + ".") from error
