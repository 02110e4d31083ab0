"""SIGTERM as a question that a training loop asks between two updates."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

__all__ = ["Termination"]


class Termination:
    """Whether somebody has asked this process to end, from `listen` until `stop_listening`."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def listen(self) -> None:
        """Take SIGTERM over; outside the main thread, where whoever embeds us handles signals, nothing happens."""
        try:
            self._before = signal.signal(signal.SIGTERM, self._note)
        except ValueError:
            self._before = None

    def stop_listening(self) -> None:
        """Give SIGTERM back to whom it belonged."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
