"""Where an answer's time goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Clock"]


@dataclass
class Clock:
    """Seconds by stage, each shared evenly among the images that took part; a GPU is waited for at each stage's end.

    Where threads share a model, waiting for one's turn counts.
    """

    device: torch.device
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str, indices: Sequence[int]) -> None:
        """End a stage in which the images at `indices` took part."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        for index in indices:
            stages = self.seconds.setdefault(index, {})
            stages[stage] = stages.get(stage, 0.0) + (now - self._since) / len(indices)
        self._since = now
