"""Results as they travel: JSON with run lengths or a PNG in it, or the PNG alone."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from conceptseg.inference import SegmentationResult
from conceptseg.interfaces.server.refusals import encode
from conceptseg.shapes import to_coco_rle

__all__ = ["answer_with", "confidence_of", "is_absent", "json_response"]

_IN_HEADER = ("route", "presence", "threshold", "check_iou", "confidence", "found", "answer", "notes")


def answer_with(result: SegmentationResult, mask_format: str, request: Request) -> Response:
    """The response to a request for a mask: the PNG itself where the client accepts nothing else but `image/png`."""
    told = result.to_dict()
    if request.headers.get("accept", "").split(";")[0].strip() == "image/png":
        brief = encode({key: told.get(key) for key in _IN_HEADER}).decode("ascii")
        return Response(_png(result), media_type="image/png", headers={"X-Conceptseg-Result": brief})
    return json_response({**told, "mask": _mask(result, mask_format)})


def json_response(body: dict[str, Any], status: int = 200) -> Response:
    """JSON that any client can read."""
    return Response(encode(body), status, media_type="application/json")


def confidence_of(result: SegmentationResult) -> float | None:
    """The IoU to expect, where the engine says one."""
    value = getattr(result, "confidence", None)
    return None if value is None else float(value)


def is_absent(result: SegmentationResult) -> bool:
    """Whether the engine says that the concept is not in the picture."""
    return getattr(result, "found", None) is False


def _mask(result: SegmentationResult, mask_format: str) -> dict[str, Any]:
    assert result.mask is not None  # the service lets nothing else through
    if mask_format == "rle":
        return {"format": "rle", **to_coco_rle(result.mask)}
    png = base64.b64encode(_png(result)).decode("ascii")
    return {"format": "png", "size": list(result.mask.shape), "png": png}


def _png(result: SegmentationResult) -> bytes:
    buffer = BytesIO()
    result.mask_image().save(buffer, format="PNG")
    return buffer.getvalue()
