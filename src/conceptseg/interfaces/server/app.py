"""The app: all routes over one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from conceptseg import __version__
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.server.answers import json_response
from conceptseg.interfaces.server.label_studio import build_label_studio_router
from conceptseg.interfaces.server.middleware import Doorkeeper
from conceptseg.interfaces.server.options import ServerOptions
from conceptseg.interfaces.server.refusals import body_of, refusal_for, refuse
from conceptseg.interfaces.server.rules_store import NoRules, RuleStore
from conceptseg.interfaces.server.schemas import ErrorAnswer
from conceptseg.interfaces.server.segment_routes import build_router
from conceptseg.interfaces.server.service import Service
from conceptseg.interfaces.server.x_anylabeling import build_x_anylabeling_router

__all__ = ["create_app"]

_REFUSALS = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504)
_ABOUT = """Masks of concepts, and why: by words, by reference pictures, or by a learned rule.
Every error is `{"error": {"type", "message"}}`. Pictures travel in the request; addresses are never fetched."""


def create_app(
    segmenter: ConceptSegmenter, rules: RuleStore | None = None, options: ServerOptions | None = None
) -> FastAPI:
    """The server as an ASGI app; `app.state.service` is what it is made of.

    Args:
        segmenter: answers all questions, from one thread.
        rules: the rules that are served; None for none.
        options: limits and doors; None for the defaults.
    """
    chosen = options or ServerOptions()
    service = Service(segmenter, rules if rules is not None else NoRules(), chosen)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """The queue works while the app is served."""
        service.queue.start()
        yield
        service.queue.stop()

    refusals: dict[int | str, dict[str, Any]] = {status: {"model": ErrorAnswer} for status in _REFUSALS}
    app = FastAPI(
        title="conceptseg",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # the pages load scripts from elsewhere
        redoc_url=None,
        responses=refusals,
    )
    app.state.service = service
    for router in (build_router(service), build_x_anylabeling_router(service), build_label_studio_router(service)):
        app.include_router(router)
    _add_error_handlers(app)
    app.add_middleware(Doorkeeper, metrics=service.metrics, token=chosen.token, max_body_bytes=chosen.max_body_bytes)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    """Ours are told where they arise; those of the framework, which it raises by itself, in our shape too."""
    from starlette.exceptions import HTTPException

    async def tell(request: Request, error: Exception) -> Response:
        """An error of the framework's in our shape."""
        if isinstance(error, RequestValidationError):
            error = refuse("invalid", "; ".join(str(one.get("msg")) for one in error.errors()))
        refusal = refusal_for(error)
        status, body = body_of(refusal, request.url.path)
        response = json_response(body, status)
        if status != 200:
            response.headers.update(refusal.headers or {})
        return response

    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, tell)
