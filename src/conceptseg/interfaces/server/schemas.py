"""What the server reads and answers, as OpenAPI knows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "RULE_ID",
    "BoxXYXY",
    "ErrorAnswer",
    "Health",
    "LearnRequest",
    "MaskAnswer",
    "ReferenceInput",
    "RuleAnswer",
    "RuleList",
    "RuleSegmentRequest",
    "SegmentAnswer",
    "SegmentRequest",
]

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQAAAADsdIMmAAAAEUlEQVR42mNgYKhhYoBBBgYABqwAh8jmHHwAAAAASUVORK5CYII="
"""Eight by eight pixels, for examples: a bright box, which is a mask as well."""

RULE_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""A rule's id is its file's stem: nothing that could lead elsewhere."""

Picture = Annotated[
    str, Field(min_length=1, description="The bytes of a picture's file as base64, or a data: URI. No addresses.")
]
BoxXYXY = Annotated[
    tuple[float, float, float, float], Field(description="x1, y1, x2, y2 in the picture's own pixels, x1 < x2, y1 < y2")
]
Concept = Annotated[str, Field(min_length=1, max_length=1000, description="What to look for, in words.")]
Route = Annotated[
    Literal["auto", "direct", "reason"],
    Field(description="auto (Eq. 9 of the paper), direct (SAM 3 alone), reason (always the MLLM)"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ReferenceInput(_Strict):
    """A picture of the concept, marked by a mask, a box, or not at all."""

    image: Picture
    mask: Picture | None = None
    box: BoxXYXY | None = None
    unlike: Annotated[bool, Field(description="Whether the mark is on what the concept is not.")] = False


class RuleSegmentRequest(_Strict):
    """A picture to be segmented by a rule."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": _PIXEL, "mask": "rle"}]})

    image: Picture
    mask: Annotated[Literal["rle", "png"], Field(description="COCO run lengths, or a PNG as base64")] = "rle"


class SegmentRequest(RuleSegmentRequest):
    """A picture, a concept and references."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"image": _PIXEL, "concept": "surface defect"},
                {
                    "image": _PIXEL,
                    "concept": "surface defect",
                    "references": [{"image": _PIXEL, "box": [1, 1, 6, 7]}, {"image": _PIXEL, "mask": _PIXEL}],
                    "mask": "png",
                },
            ]
        }
    )

    concept: Concept
    references: list[ReferenceInput] = Field(default=[])
    route: Route = "auto"


class LearnRequest(_Strict):
    """References to learn a rule from."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "defect",
                    "concept": "surface defect",
                    "references": [{"image": _PIXEL, "box": [1, 1, 6, 7]}, {"image": _PIXEL, "mask": _PIXEL}],
                }
            ]
        }
    )

    id: Annotated[str, Field(pattern=RULE_ID, description="The rule's name from now on.")]
    concept: Concept
    references: list[ReferenceInput] = Field(min_length=1)
    absent: list[Picture] = Field(default=[], description="Pictures in which the concept is not.")


class MaskAnswer(BaseModel):
    """A mask: true on the concept, at the picture's own size."""

    format: Literal["rle", "png"]
    size: tuple[int, int]
    """Height and width."""
    counts: str | None = None
    """COCO's compressed run lengths, for pycocotools as they are."""
    png: str | None = None
    """One channel, 0 or 255, base64."""


class SegmentAnswer(BaseModel):
    """The mask and why: what `conceptseg segment` writes into results.jsonl."""

    model_config = ConfigDict(extra="allow")

    concept: str
    mask: MaskAnswer
    route: str | None = None
    presence: float | None = None
    threshold: float | None = None
    rule: str | None = None
    check_iou: float | None = None
    box: tuple[float, float, float, float] | None = None
    answer: str | None = None
    confidence: float | None = None
    found: bool | None = None
    notes: list[str] = []
    timings: dict[str, float] = {}


class RuleAnswer(BaseModel):
    """What is known of a rule; of a file that is none, why."""

    model_config = ConfigDict(extra="allow")

    id: str
    error: str | None = None
    concept: str | None = None
    text: str | None = None
    expected_iou: float | None = None
    interval: tuple[float, float] | None = None
    judged: int | None = None
    suspects: list[int] = []
    references: int | None = None
    route: str | None = None
    model: str | None = None
    notes: list[str] = []


class RuleList(BaseModel):
    """All rules of the server's folder."""

    rules: list[RuleAnswer]


class Health(BaseModel):
    """What load balancers, X-AnyLabeling and Label Studio ask for."""

    status: Literal["UP", "STOPPING"]
    model_class: str
    models_loaded: int
    timestamp: float
    version: str
    in_flight: int
    waiting: int


class _Error(BaseModel):
    type: str
    message: str


class ErrorAnswer(BaseModel):
    """Whatever went wrong."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": {"type": "invalid", "message": "concept: missing."}}]}
    )

    error: _Error
