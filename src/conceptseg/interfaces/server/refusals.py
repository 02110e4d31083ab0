"""Every way in which a request fails, as a status and `{"error": {"type", "message"}}`: one table, one shape."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException

from conceptseg.errors import ConceptSegError, ImageError, InputError, ResourceError

__all__ = ["PREDICT_PATH", "Refusal", "body_of", "encode", "refusal_for", "refuse"]

PREDICT_PATH = "/v1/predict"
"""X-AnyLabeling's path: its client clears a person's shapes on any error, so that it never sees one."""

_STATUS = MappingProxyType(
    {
        "malformed": 400,
        "unauthorized": 401,
        "forbidden": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "conflict": 409,
        "too_large": 413,
        "unsupported_media_type": 415,
        "invalid": 422,
        "invalid_image": 422,
        "busy": 429,
        "internal": 500,
        "resources": 503,
        "stopping": 503,
        "time_limit": 504,
    }
)
"""The type in the answer → its HTTP status."""

_TYPE_OF = MappingProxyType({400: "malformed", 404: "not_found", 405: "method_not_allowed", 413: "too_large"})
"""Statuses that the framework refuses with by itself."""


class Refusal(HTTPException):
    """A refusal on its way to the answer; raise `refuse(…)` rather than this."""

    def __init__(self, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(_STATUS[kind], message, dict(headers or {}))
        self.kind = kind


def refuse(kind: str, message: str, *, retry_after_s: float | None = None) -> Refusal:
    """A refusal to raise.

    Args:
        kind: a type of the table above.
        message: what was expected, what came, what to do.
        retry_after_s: when it is worth another try.
    """
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    if kind == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return Refusal(kind, message, headers)


def refusal_for(error: Exception) -> Refusal:
    """What an error of ours or of the framework's is told as; anything else is a bug, of which nothing leaks."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException) or hasattr(error, "status_code"):
        status, told = int(getattr(error, "status_code", 400)), str(getattr(error, "detail", error))
        return Refusal(_TYPE_OF.get(status, "malformed"), f"{told}. See /openapi.json.".replace("..", "."))
    if isinstance(error, TimeoutError):
        return refuse("time_limit", "The request took longer than the server's time limit. Send less, or try later.")
    if isinstance(error, ImageError):
        return refuse("invalid_image", str(error))
    if isinstance(error, InputError):
        return refuse("invalid", str(error))
    if isinstance(error, ResourceError):
        return refuse("resources", str(error), retry_after_s=5)
    if isinstance(error, ConceptSegError):
        return refuse("internal", str(error))
    return refuse("internal", "A bug of the server, please report it; its log says where.")


def body_of(refusal: Refusal, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a refusal on a path; to X-AnyLabeling it is an answer without shapes that replaces nothing."""
    message = " ".join(str(refusal.detail).split())
    if path == PREDICT_PATH:
        told = {"shapes": [], "description": f"{refusal.kind}: {message}", "replace": False}
        return 200, {"success": True, "data": told}
    return refusal.status_code, {"error": {"type": refusal.kind, "message": message}}


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON that any client can read, whatever text it quotes."""
    return json.dumps(body, ensure_ascii=True, allow_nan=False).encode("ascii")
