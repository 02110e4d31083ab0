"""One at a time: what threads share in a model."""

from __future__ import annotations

import threading
from types import TracebackType

__all__ = ["SharedLock"]


class SharedLock:
    """A lock that the same thread may take again, and that a module can hold: its copies get locks of their own.

    with module.lock: ...
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> SharedLock:
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[SharedLock], tuple[()]]:
        return (SharedLock, ())  # threads' locks can be neither copied nor sent to another process
