"""X-AnyLabeling's remote protocol: `/v1/models` and `/v1/predict`; every rule is a model, and so is any concept.

Its client clears a person's shapes when it gets an error. So whatever fails is answered 200, without shapes, with
`replace: false` and the reason in `description` (`refusals.body_of`); and `replace` is never true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.images import ReadImage
from conceptseg.inference import SegmentationResult
from conceptseg.interfaces.server.answers import confidence_of, is_absent, json_response
from conceptseg.interfaces.server.bodies import read_json
from conceptseg.interfaces.server.pictures import PixelBudget, decode_base64
from conceptseg.interfaces.server.refusals import PREDICT_PATH
from conceptseg.interfaces.server.service import Service
from conceptseg.interfaces.server.simplify import perimeter, simplify_polygon
from conceptseg.shapes import Part, trace_parts

__all__ = ["ANY_CONCEPT", "PredictRequest", "build_x_anylabeling_router", "shapes_of"]

ANY_CONCEPT = "concept:any"
"""The model that is asked in words; no rule can have this id."""
_MARKED = "marked object"
"""What is asked for where something is marked and nothing said."""
_MOST_SHAPES = 200


class Mark(BaseModel):
    """Something that a person drew as a prompt; pixels."""

    type: str
    data: list[float] = Field(max_length=64)
    label: int = 1


class PredictParams(BaseModel):
    """Settings of the client's panel; further ones are of other models and mean nothing here."""

    conf_threshold: float | None = Field(default=None, ge=0, le=1)
    epsilon_factor: float | None = Field(default=None, ge=0, le=1)
    text_prompt: str | None = Field(default=None, max_length=1000)
    marks: list[Mark] = Field(default=[], max_length=1000)
    filter_classes: list[str] | None = None


class PredictRequest(BaseModel):
    """A picture for a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": ANY_CONCEPT, "image": "iVBORw0KGgo…", "params": {"text_prompt": "surface defect"}}]
        }
    )

    model: Annotated[str, Field(max_length=200)]
    image: str
    params: PredictParams = PredictParams()


class Shape(BaseModel):
    """A polygon in the picture's pixels."""

    label: str
    shape_type: Literal["polygon"]
    points: list[tuple[float, float]]
    score: float | None
    description: str
    attributes: dict[str, Any]
    group_id: int | None


class Prediction(BaseModel):
    """What the client adds to the picture; a person's shapes stay."""

    shapes: list[Shape]
    description: str
    replace: Literal[False]


class PredictAnswer(BaseModel):
    """Success, whatever happened: see the module."""

    success: Literal[True]
    data: Prediction


class ModelList(BaseModel):
    """The models by id."""

    success: Literal[True]
    data: dict[str, Any]


def build_x_anylabeling_router(service: Service) -> APIRouter:
    """The routes of X-AnyLabeling's client."""
    router = APIRouter()

    @router.get("/v1/models", response_model=ModelList)
    async def models() -> Response:
        """Every rule, and the model that takes a concept in words and boxes as prompts."""
        told = {name: _describe_rule(name) for name in await service.decode(service.rules.names)}
        return json_response({"success": True, "data": {ANY_CONCEPT: _describe_any(), **told}})

    schema = PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"]["params"] = {"type": "object"}
    content = {"application/json": {"schema": schema}}

    @router.post(
        PREDICT_PATH,
        response_model=PredictAnswer,
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def predict(request: Request) -> Response:
        """Polygons of a rule or a concept; errors come as an answer without shapes."""
        with service.in_time():
            asked = await read_json(request, PredictRequest)
            image = decode_base64(asked.image, "image")
            read = await service.decode(lambda: PixelBudget(service.options.max_pixels).read(image, "image"))
            result, notes = await _ask(service, asked, read)
            return await service.decode(lambda: _answer(asked, result, notes))

    return router


async def _ask(service: Service, asked: PredictRequest, read: ReadImage) -> tuple[SegmentationResult, list[str]]:
    words = (asked.params.text_prompt or "").strip()
    if asked.model != ANY_CONCEPT:
        rule = await service.decode(lambda: service.rules.model(asked.model))
        unused = [what for what, given in (("text", words), ("marks", asked.params.marks)) if given]
        notes = [f"The {' and '.join(unused)} were not used: a rule brings its own."] if unused else []
        return await service.apply_rule(read, rule), notes
    references, notes = _marked(asked.params.marks, read)
    service.check_count(len(references), service.options.max_references, "marks")
    if not words and not references:
        raise InputError("Type a concept, or draw a box around an example of it.")
    return await service.ask(lambda: service.query(read, words or _MARKED, references), "auto"), notes


def _marked(marks: Sequence[Mark], read: ReadImage) -> tuple[list[Reference], list[str]]:
    """Boxes that a person drew, as references in the picture itself, and what was not used."""
    boxes = [mark for mark in marks if mark.type == "rectangle" and mark.label == 1]
    notes = []
    if len(boxes) < len(marks):
        notes.append(f"{len(marks) - len(boxes)} marks were not used: only boxes around what is wanted are.")
    return [Reference(read.image, box=_corners(mark.data)) for mark in boxes], notes


def _corners(data: Sequence[float]) -> tuple[float, float, float, float]:
    if len(data) != 4:
        raise InputError(f"A rectangle must be x1, y1, x2, y2, got {len(data)} numbers.")
    x1, y1, x2, y2 = data
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _answer(asked: PredictRequest, result: SegmentationResult, notes: list[str]) -> Response:
    params = asked.params
    shapes, told = shapes_of(result, epsilon_factor=params.epsilon_factor or 0.0)
    confidence = confidence_of(result)
    if is_absent(result):
        shapes, notes = [], [*notes, "The concept is not in this picture."]
    elif confidence is not None and params.conf_threshold is not None and confidence < params.conf_threshold:
        shapes, notes = [], [*notes, f"Confidence {confidence:.2f} is below {params.conf_threshold:.2f}."]
    elif params.filter_classes and result.concept not in params.filter_classes:
        shapes, notes = [], [*notes, f"{result.concept!r} is none of the classes that were asked for."]
    elif not shapes:
        notes = [*notes, "Nothing was found."]
    description = " ".join([*_reasons(result), *notes, *told, *result.notes])
    return json_response({"success": True, "data": {"shapes": shapes, "description": description, "replace": False}})


def shapes_of(result: SegmentationResult, epsilon_factor: float = 0.0) -> tuple[list[dict[str, Any]], list[str]]:
    """The mask's parts as polygons, the largest first, and what was left out or simplified.

    Args:
        result: with a mask.
        epsilon_factor: how far an outline may be off, as a share of its length; half a pixel at least.
    """
    assert result.mask is not None  # the service lets nothing else through
    parts = sorted(trace_parts(result.mask), key=_size, reverse=True)
    told = ["Outlines are simplified by up to half a pixel, or as set."] if parts else []
    if len(parts) > _MOST_SHAPES:
        told.append(f"{len(parts) - _MOST_SHAPES} parts, the smallest of {len(parts)}, were left out.")
    shapes = []
    for part in parts[:_MOST_SHAPES]:
        tolerance = max(0.5, epsilon_factor * perimeter(part.outline))
        shapes.append(
            {
                "label": result.concept,
                "shape_type": "polygon",
                "points": simplify_polygon(part.bridged, tolerance).tolist(),
                "score": confidence_of(result),
                "description": "",
                "attributes": {},
                "group_id": None,
            }
        )
    return shapes, told


def _size(part: Part) -> float:
    x, y = part.outline.T
    return abs(float(x @ np.roll(y, -1) - np.roll(x, -1) @ y)) / 2


def _reasons(result: SegmentationResult) -> list[str]:
    told = [f"Rule: {result.rule}"] if result.rule else []
    if result.check_iou is not None:
        told.append(f"Check: IoU {result.check_iou:.2f} with the withheld reference.")
    return told


def _describe_rule(name: str) -> dict[str, Any]:
    return _describe(name, [{"name": "button_run", "value": None}], "default")


def _describe_any() -> dict[str, Any]:
    names = ("edit_text", "button_send", "button_add_rect", "button_clear")
    return _describe("Any concept", [{"name": name, "value": None} for name in names], "text_prompt")


def _describe(title: str, widgets: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    settings = [{"name": "edit_conf", "value": 0.0}, {"name": "toggle_preserve_existing_annotations", "value": True}]
    return {
        "display_name": f"conceptseg: {title}",
        "widgets": [*widgets, *settings],
        "params": {},
        "capabilities": {},
        "batch_processing_mode": mode,
    }
