"""`/v1/segment`, `/v1/rules…`, `/health` and `/metrics`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from conceptseg import __version__
from conceptseg.interfaces.server.answers import answer_with, json_response
from conceptseg.interfaces.server.bodies import read_body
from conceptseg.interfaces.server.schemas import (
    RULE_ID,
    Health,
    LearnRequest,
    RuleAnswer,
    RuleList,
    RuleSegmentRequest,
    SegmentAnswer,
    SegmentRequest,
)
from conceptseg.interfaces.server.service import Service

__all__ = ["build_router"]

RuleId = Annotated[str, Path(description="A rule's id", json_schema_extra={"pattern": RULE_ID})]

_REFERENCES: dict[str, Any] = {
    "reference": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "reference_mask": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "reference_box": {
        "type": "array",
        "items": {"type": "string"},
        "description": "x1,y1,x2,y2 in pixels; as many as references, or none; an empty one for one without",
    },
    "reference_unlike": {
        "type": "array",
        "items": {"type": "string", "enum": ["", "false", "true"]},
        "description": "whether the mark is on what the concept is not; as many as references, or none",
    },
}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_MASK: dict[str, Any] = {"type": "string", "enum": ["rle", "png"], "default": "rle"}


def build_router(service: Service) -> APIRouter:
    """The routes of the server's own API."""
    router = APIRouter()
    _add_segment(router, service)
    _add_rules(router, service)
    _add_watching(router, service)
    return router


def _add_segment(router: APIRouter, service: Service) -> None:
    @router.post(
        "/v1/segment",
        response_model=SegmentAnswer,
        responses=_png_too(),
        openapi_extra=_body(
            SegmentRequest,
            {
                "image": _FILE,
                "concept": {"type": "string"},
                **_REFERENCES,
                "route": {"type": "string", "enum": ["auto", "direct", "reason"]},
                "mask": _MASK,
            },
            ["image", "concept"],
        ),
    )
    async def segment(request: Request) -> Response:
        """A concept in a picture, with references or without: a mask, and why.

        With `Accept: image/png` the mask alone comes back, the rest in the header X-Conceptseg-Result.
        """
        with service.in_time():
            upload = await read_body(request, SegmentRequest, service.options.max_references)
            words = upload.words
            result = await service.segment(upload.image(), words["concept"], upload.references, words["route"])
            return await service.decode(lambda: answer_with(result, words["mask"], request))

    @router.post(
        "/v1/rules/{rule_id}/segment",
        response_model=SegmentAnswer,
        responses=_png_too(),
        openapi_extra=_body(RuleSegmentRequest, {"image": _FILE, "mask": _MASK}, ["image"]),
    )
    async def segment_by_rule(rule_id: RuleId, request: Request) -> Response:
        """What a rule says of a picture; otherwise as /v1/segment."""
        with service.in_time():
            upload = await read_body(request, RuleSegmentRequest, 0)
            result = await service.apply(upload.image(), rule_id)
            return await service.decode(lambda: answer_with(result, upload.words["mask"], request))


def _add_rules(router: APIRouter, service: Service) -> None:
    @router.get("/v1/rules", response_model=RuleList)
    async def list_rules() -> Response:
        """All rules, with what they are worth; of damaged files why they are none."""
        told = await service.decode(lambda: [service.rules.describe(name) for name in service.rules.names()])
        return json_response({"rules": told})

    @router.post(
        "/v1/rules",
        status_code=201,
        response_model=RuleAnswer,
        openapi_extra=_body(
            LearnRequest,
            {
                "id": {"type": "string", "pattern": RULE_ID},
                "concept": {"type": "string"},
                **_REFERENCES,
                "absent": {"type": "array", "items": _FILE},
            },
            ["id", "concept", "reference"],
        ),
    )
    async def learn_rule(request: Request) -> Response:
        """Learn a rule from references and keep it under an id. Takes minutes, and one at a time."""
        with service.in_time(service.options.learning_limit_s):
            upload = await read_body(request, LearnRequest, service.options.max_learned_references)
            words, absent = upload.words, upload.files["absent"]
            told = await service.learn(words["id"], words["concept"], upload.references, absent)
            return json_response(told, 201)

    @router.get("/v1/rules/{rule_id}", response_model=RuleAnswer)
    async def show_rule(rule_id: RuleId) -> Response:
        """What is known of a rule."""
        return json_response(await service.decode(lambda: service.rules.describe(rule_id)))

    @router.delete("/v1/rules/{rule_id}", status_code=204, response_model=None)
    async def delete_rule(rule_id: RuleId) -> Response:
        """Remove a rule and its file."""
        await service.decode(lambda: service.rules.delete(rule_id))
        return Response(status_code=204)

    @router.get("/v1/rules/{rule_id}/file", response_class=Response, responses=_binary_answer())
    async def download_rule(rule_id: RuleId) -> Response:
        """The rule's file, for `conceptseg segment`, CVAT, or another server."""
        content = await service.decode(lambda: service.rules.content(rule_id))
        named = {"Content-Disposition": f'attachment; filename="{rule_id}.rule"'}
        return Response(content, media_type="application/octet-stream", headers=named)

    @router.put(
        "/v1/rules/{rule_id}/file",
        status_code=201,
        response_model=RuleAnswer,
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _FILE}}}},
    )
    async def upload_rule(rule_id: RuleId, request: Request) -> Response:
        """Keep a rule's file that was learned elsewhere, if it is one."""
        with service.in_time():
            content = await request.body()
            return json_response(await service.decode(lambda: service.rules.add(rule_id, content)), 201)


def _add_watching(router: APIRouter, service: Service) -> None:
    @router.get("/health", response_model=Health)
    async def health() -> Response:
        """Whether the server takes requests; needs no token."""
        queue = service.queue
        told = {
            "status": "STOPPING" if queue.is_closed else "UP",
            "model_class": service.model_name,
            "models_loaded": 1,
            "timestamp": time.time(),
            "version": __version__,
            "in_flight": queue.in_flight,
            "waiting": queue.waiting,
        }
        return json_response(told, 503 if queue.is_closed else 200)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4")


def _body(model: type, fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Both forms of a body, for OpenAPI."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")  # type: ignore[attr-defined]
    inner = schema.pop("$defs", {})
    json_schema = {"schema": _inline(schema, inner)}
    form = {"schema": {"type": "object", "properties": fields, "required": required}}
    content = {"application/json": json_schema, "multipart/form-data": form}
    return {"requestBody": {"required": True, "content": content}}


def _inline(schema: Any, inner: dict[str, Any]) -> Any:
    """A schema with what it refers to put in place."""
    if isinstance(schema, list):
        return [_inline(one, inner) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(inner[schema["$ref"].rpartition("/")[2]], inner)
    return {key: _inline(value, inner) for key, value in schema.items()}


def _png_too() -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"image/png": {"schema": _FILE}}}}


def _binary_answer() -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/octet-stream": {"schema": _FILE}}}}
