"""What the page offers to programs, where that is asked for: tools of the Model Context Protocol, and its API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Query
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.bodies import raw_references
from conceptseg.interfaces.server.pictures import decode_base64, load_references
from conceptseg.interfaces.server.schemas import SegmentRequest
from conceptseg.validation import explain_mistakes
from conceptseg.words import check_words

__all__ = ["Tools"]


@dataclass(frozen=True)
class Tools:
    """The tools over one segmenter.

    Pictures travel in base64, as with `conceptseg serve`; addresses and file names are refused, nothing is fetched.
    """

    segmenter: ConceptSegmenter
    uploads: Uploads

    def all(self) -> Sequence[Callable[..., dict[str, Any]]]:
        """The tools as plain functions; their docstrings are what programs read."""

        def segment(image: str, concept: str, references: list[dict[str, Any]], route: str = "auto") -> dict[str, Any]:
            """Mark a concept in a picture, and say why.

            Args:
                image: The picture's file in base64, or as a data: URI.
                concept: What to mark, in words.
                references: Pictures that show it, each {"image": base64, "mask": base64} or {"image": base64, "box":
                    [x1, y1, x2, y2]} in its own pixels; may be empty.
                route: "auto", "direct" (SAM 3 alone) or "reason".

            Returns:
                The route, the rule, the check, the confidence, and the mask as COCO run lengths.
            """
            return self.segment(image, concept, references, route)

        return (segment,)

    def segment(self, image: Any, concept: Any, references: Any, route: Any = "auto") -> dict[str, Any]:
        """Answer a program, whatever it sent; see `segment` in `all`.

        Raises:
            InputError: an argument cannot be used.
            Refusal: there are too many pixels.
        """
        asked = _request(image=image, concept=concept, references=references, route=route)
        words, budget, most = check_words(asked.concept), self.uploads.budget(), self.uploads.options.max_references
        if len(asked.references) > most:
            raise InputError(f"{len(asked.references)} references are more than the {most} that a question may have.")
        read = budget.read(decode_base64(asked.image, "image"), "image")
        prepared = self.segmenter.prepare(load_references(raw_references(asked.references), budget))
        query = Query(read.image, words, prepared, source="image", notes=read.notes)
        result = self.segmenter.segment_batch([query], route=asked.route)[0]
        return {**result.to_dict(), "mask": result.to_coco_rle(compressed=True)}


def _request(**told: Any) -> SegmentRequest:
    try:
        return SegmentRequest.model_validate(told)
    except ValidationError as error:
        raise InputError("; ".join(explain_mistakes(error, SegmentRequest)[:10]) + ".") from error
