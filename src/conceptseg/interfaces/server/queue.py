"""One bounded queue between many clients and one model: what waits is answered in batches, in the order it came."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from conceptseg.inference import Query, SegmentationResult
from conceptseg.interfaces.server.refusals import refuse

__all__ = ["BatchQueue", "Job"]

_LOG = logging.getLogger(__name__)
_SMOOTHING = 0.2
"""How much the last batch says of how fast the next one is."""


@dataclass(frozen=True, eq=False)
class Job:
    """A question on its way to the model."""

    build: Callable[[], Query]
    """Makes the question ready, in the thread of the model; may take the model's time."""
    route: str = "auto"
    """Batches are of one route."""
    answer: Future[SegmentationResult] = field(default_factory=Future)


class BatchQueue:
    """Answers questions in batches with one thread; knows how many requests are in flight and refuses more.

    A batch is what waits when the model gets free, so that nobody waits for company. Questions fail one by one: an
    error of a batch is tried again with each of its questions alone.

    Args:
        answer: from questions and their route to results, in order; called by one thread.
        places: requests in flight at once.
        batch_size: questions in a batch, at most.
        on_batch: told the size and the seconds of every batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Query], str], Sequence[SegmentationResult]],
        *,
        places: int,
        batch_size: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._answer, self._on_batch = answer, on_batch
        self._places, self._batch_size = places, batch_size
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._is_closed = False
        self._is_done = False
        self._seconds_each = 1.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer, or begin again after `stop`."""
        self._is_closed = self._is_done = False
        self._thread = threading.Thread(target=self._work, name="conceptseg-batches", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Requests that hold a place."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Questions that no batch has taken yet."""
        return len(self._jobs)

    @property
    def is_closed(self) -> bool:
        """Whether new requests are refused."""
        return self._is_closed

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests in flight, for as long as the block lasts.

        Raises:
            Refusal: all are taken (429 with a time to come back), or the server is stopping (503).
        """
        with self._changed:
            if self._is_closed:
                raise refuse("stopping", "The server is stopping. Try another one, or later.", retry_after_s=10)
            if self._in_flight >= self._places:
                wait = math.ceil(self._seconds_each * self._in_flight / 2)
                message = (
                    f"The server has {self._places} requests in flight, as many as it takes. Try again in {wait} s."
                )
                raise refuse("busy", message, retry_after_s=wait)
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def ask(self, job: Job) -> Future[SegmentationResult]:
        """Put a question into the queue; cancel the answer to take it out again."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()
        return job.answer

    def close(self) -> None:
        """Take no further requests; those in flight go on."""
        with self._changed:
            self._is_closed = True

    @property
    def is_working(self) -> bool:
        """Whether the thread has not ended: `stop` may have been too short for its batch."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close, answer what still waits, and end the thread."""
        with self._changed:
            self._is_closed = self._is_done = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while jobs := self._next_batch():
            began = time.monotonic()
            ready = [(job, query) for job in jobs if (query := _build(job)) is not None]
            if not ready:
                continue
            self._settle(ready)
            seconds = time.monotonic() - began
            self._seconds_each += _SMOOTHING * (seconds / len(ready) - self._seconds_each)
            self._on_batch(len(ready), seconds)

    def _next_batch(self) -> list[Job]:
        """Jobs of one route, the longest waiting first; none when the queue has stopped."""
        with self._changed:
            while True:
                self._jobs = deque(job for job in self._jobs if not job.answer.cancelled())
                if self._jobs or self._is_done:
                    break
                self._changed.wait()
            route = self._jobs[0].route if self._jobs else ""
            taken = [job for job in self._jobs if job.route == route][: self._batch_size]
            self._jobs = deque(job for job in self._jobs if job not in taken)
        running = [job for job in taken if job.answer.set_running_or_notify_cancel()]
        return running if running or not taken else self._next_batch()

    def _settle(self, ready: Sequence[tuple[Job, Query]]) -> None:
        try:
            results = self._answer([query for _, query in ready], ready[0][0].route)
        except Exception as error:  # whatever it is, it belongs to those who asked, and the thread lives on
            if len(ready) == 1:
                ready[0][0].answer.set_exception(error)
                return
            _LOG.warning("A batch of %d failed and is tried one by one: %s", len(ready), error)
            for one in ready:
                self._settle([one])
            return
        for (job, _), result in zip(ready, results, strict=True):
            job.answer.set_result(result)


def _build(job: Job) -> Query | None:
    """The job's question; None where there is none, which its answer then says."""
    try:
        return job.build()
    except Exception as error:  # as above
        job.answer.set_exception(error)
        return None
