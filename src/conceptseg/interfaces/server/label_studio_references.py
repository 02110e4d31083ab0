"""What people have finished annotating in Label Studio, kept to be references for what they have not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from conceptseg.interfaces.server.label_studio_tasks import Drawn

__all__ = ["Finished", "FinishedAnnotations"]


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished annotation: the picture's file and what is drawn on it."""

    task: str
    image: bytes
    drawn: tuple[Drawn, ...]


class FinishedAnnotations:
    """Annotations by project, in memory, the latest ones within a number and a size; older ones make room.

    Args:
        most: annotations of all projects.
        most_bytes: their pictures' files together.
    """

    def __init__(self, most: int = 2048, most_bytes: int = 512 << 20) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[tuple[str, str], Finished] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, project: str, annotation: str, finished: Finished) -> int:
        """Keep or replace one, and return how many others had to make room."""
        with self._lock:
            self._kept.pop((project, annotation), None)
            self._kept[project, annotation] = finished
            dropped = 0
            while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes() > self._most_bytes):
                self._kept.popitem(last=False)
                dropped += 1
            return dropped

    def remove(self, project: str, annotation: str) -> None:
        """Forget one, if it is there."""
        with self._lock:
            self._kept.pop((project, annotation), None)

    def of(self, project: str, label: str, *, without_task: str = "") -> list[Finished]:
        """A project's annotations with a label, the latest first; not those of the task that is asked about."""
        with self._lock:
            kept = list(self._kept.items())
        return [
            Finished(one.task, one.image, tuple(drawn for drawn in one.drawn if drawn.label == label))
            for (owner, _), one in reversed(kept)
            if owner == project and one.task != without_task and any(drawn.label == label for drawn in one.drawn)
        ]

    def labels(self, project: str) -> Sequence[str]:
        """The labels that a project's annotations have, in the order they came up."""
        with self._lock:
            kept = list(self._kept.items())
        return list(dict.fromkeys(drawn.label for (owner, _), one in kept if owner == project for drawn in one.drawn))

    def _bytes(self) -> int:
        return sum(len(one.image) for one in self._kept.values())
