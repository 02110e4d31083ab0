"""Running the app: listens once the model is warm, and on SIGTERM finishes what is in flight before it goes."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from PIL import Image

from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.server.service import Service

__all__ = ["DrainingServer", "leave", "serve", "warm_up"]

_LOG = logging.getLogger(__name__)
_LAST_SECONDS = 5
"""For answers that are still being sent, and clients that do not take them."""


class DrainingServer(uvicorn.Server):
    """uvicorn that, told to stop, goes on listening to refuse what is new with 503, until nothing is in flight.

    A second signal stops it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._service, self._on_ready = service, on_ready
        self._drain_until: float | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and say so."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started and self._on_ready is not None:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to drain, the second one ends it."""
        if self._drain_until is not None:
            self._service.abort()
            self.should_exit = self.force_exit = True
            return
        self._drain_until = time.monotonic() + self._service.options.drain_limit_s
        self._service.queue.close()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening: when it is drained, or has taken too long."""
        if self._drain_until is not None and not self.should_exit:
            in_flight = self._service.queue.in_flight
            if in_flight and time.monotonic() > self._drain_until:
                _LOG.warning("Stopped with %d requests in flight: they took too long", in_flight)
                self._service.abort()
                self.should_exit = True
            self.should_exit = self.should_exit or not in_flight
        return await super().on_tick(counter)


def warm_up(segmenter: ConceptSegmenter) -> None:
    """Answer one question, so that the first client does not wait for what is loaded late."""
    segmenter(Image.new("RGB", (64, 64), "grey"), "object", route="reason")


def serve(app: FastAPI, host: str, port: int, *, on_ready: Callable[[], None] | None = None) -> None:
    """Serve until a signal comes.

    Args:
        app: of `create_app`.
        host: the address to listen on.
        port: the port.
        on_ready: called when it listens.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
        timeout_keep_alive=30,
    )
    service: Service = app.state.service
    DrainingServer(config, service, on_ready).run()
    if service.queue.is_working:
        _LOG.warning("Stopped within a batch that nobody waits for any more")
        leave()


def leave() -> NoReturn:
    """End the process at once: a thread within the model's libraries would make the interpreter's own end abort."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
