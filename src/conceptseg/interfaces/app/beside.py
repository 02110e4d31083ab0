"""Work in a thread of its own, whose news come one by one to whoever iterates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["Abandoned", "beside"]

News = TypeVar("News")
Result = TypeVar("Result")


class Abandoned(BaseException):
    """Nobody listens any more: what the working thread is told instead of going on."""


def beside(work: Callable[[Callable[[News], None]], Result]) -> Generator[News, None, Result]:
    """Do work in a thread; what it tells is yielded, what it returns is returned, what it raises is raised.

    Should the generator be closed, the work ends with the next thing that it tells.

    Args:
        work: given the function by which it tells.
    """
    events: SimpleQueue[tuple[bool, News | None]] = SimpleQueue()
    is_over = threading.Event()
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def tell(news: News) -> None:
        if is_over.is_set():
            raise Abandoned
        events.put((True, news))

    def run() -> None:
        try:
            outcome.append(work(tell))
        except Abandoned:
            return
        except BaseException as error:  # raised again where somebody listens
            failure.append(error)
        finally:
            events.put((False, None))

    threading.Thread(target=run, name="conceptseg-app", daemon=True).start()
    try:
        while True:
            is_news, news = events.get()
            if not is_news:
                break
            yield news  # type: ignore[misc]
    finally:
        is_over.set()
    if failure:
        raise failure[0]
    return outcome[0]
