"""Around every request: who may come in, how large it may be, how it is counted, and that errors have one shape."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conceptseg.interfaces.server.metrics import ServerMetrics
from conceptseg.interfaces.server.refusals import Refusal, body_of, encode, refusal_for, refuse

__all__ = ["Doorkeeper"]

_LOG = logging.getLogger(__name__)
_OPEN_PATHS = frozenset({"/health"})


class Doorkeeper:
    """The outermost layer of the app.

    A body that says to be too large is refused unread, one that turns out to be is refused where the limit is passed.
    What nobody expected goes to the log; the client learns that it happened, and no more.

    Args:
        app: what is inside.
        metrics: where requests are counted.
        token: what requests must bring (see `_brings`); None lets everyone in.
        max_body_bytes: the limit.
    """

    def __init__(self, app: ASGIApp, *, metrics: ServerMetrics, token: str | None, max_body_bytes: int) -> None:
        self._app, self._metrics = app, metrics
        self._token, self._max_body_bytes = token, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        is_begun = False

        async def tell(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, _counting(receive, self._max_body_bytes), tell)
        except Exception as error:  # the last line of defence
            refusal = refusal_for(error)
            if refusal.kind == "internal":
                _LOG.exception("A request to %s failed", scope["path"])
            if is_begun:
                raise
            await _send_refusal(refusal, scope["path"], tell)
        finally:
            self._metrics.count_request(_pattern(scope), status, time.monotonic() - began)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._token is not None and scope["path"] not in _OPEN_PATHS and not _brings(headers, self._token):
            raise refuse("unauthorized", "This server wants its token: Authorization: Bearer TOKEN.")
        if self._token is None and _is_another_sites(headers):
            raise refuse("forbidden", "Pages of other sites are not answered: give the server a token, and send it.")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)


def _brings(headers: Headers, token: str) -> bool:
    """Whether a request brings the token: as a bearer, in X-AnyLabeling's `Token`, or as Label Studio's password."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    offered = {"bearer": value.strip(), "basic": _password(value)}.get(kind.lower(), headers.get("token", ""))
    return hmac.compare_digest(offered.encode("utf-8", "replace"), token.encode("ascii"))


def _is_another_sites(headers: Headers) -> bool:
    """Whether a browser sent this for a page that came from elsewhere: any page that somebody opens may post a form."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _password(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _counting(receive: Receive, most: int) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    """`receive` that refuses to go on behind the limit."""
    count = 0

    async def receive_counting() -> MutableMapping[str, Any]:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > most:
            raise _too_large(most)
        return message

    return receive_counting


def _too_large(most: int) -> Refusal:
    return refuse("too_large", f"The body is larger than {most} bytes. Send smaller pictures, or fewer.")


async def _send_refusal(refusal: Refusal, path: str, send: Send) -> None:
    status, body = body_of(refusal, path)
    content = encode(body)
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    if status != 200:
        headers |= {name.lower(): value for name, value in (refusal.headers or {}).items()}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def _pattern(scope: Scope) -> str:
    """The route's pattern; "other" where none matched, so that no client makes up labels."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", None) or "other")
