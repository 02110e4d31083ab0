"""What happens beside the updates: a live line, whole checkpoints, a clean stop on SIGTERM, averaged numbers."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from conceptseg.training.checkpoints import mark_complete, prune_checkpoints
from conceptseg.training.config import TrainingConfig
from conceptseg.training.config_reading import save_config
from conceptseg.training.termination import Termination

__all__ = ["CONFIG_COPY", "CheckpointKeeper", "NumberLog", "ProgressLine", "StopOnSignal", "format_seconds"]

_log = logging.getLogger(__name__)

CONFIG_COPY = "config.yaml"
"""The resolved configuration, beside the run and inside every checkpoint."""


class NumberLog:
    """Numbers of updates, averaged since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, numbers: Mapping[str, float], count: int = 1) -> None:
        """Note averages over `count` samples."""
        for name, value in numbers.items():
            self._sums[name] += value * count
            self._counts[name] += count

    def take(self) -> dict[str, float]:
        """The averages so far, over all processes; starts anew."""
        totals = {name: (total, self._counts[name]) for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return {name: total / count for name, (total, count) in _over_processes(totals).items() if count}


class CheckpointKeeper(TrainerCallback):
    """Marks checkpoints as whole once everything is written, then deletes the oldest beyond K."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After a checkpoint."""
        if dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            folder = self._config.out / f"checkpoint-{state.global_step}"
            save_config(self._config, folder / CONFIG_COPY)
            mark_complete(folder, self._config, state.global_step)
            prune_checkpoints(self._config.out, self._config.checkpoints.keep)


class StopOnSignal(TrainerCallback):
    """On SIGTERM, finishes the update, saves, and stops; `stopped` says that it did."""

    def __init__(self) -> None:
        self.stopped = False
        self._termination = Termination()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start listening."""
        self._termination.listen()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop, if asked; all processes agree on when."""
        if _any_process(self._termination.asked, args.device):
            self.stopped = state.global_step < state.max_steps
            control.should_save = True
            control.should_training_stop = True

    def stop_listening(self) -> None:
        """Give SIGTERM back to whom it belonged, however the run ended."""
        self._termination.stop_listening()


class ProgressLine(TrainerCallback):
    """How far, how fast, how long still, and the numbers that matter: a live line on a terminal, and a line in the log
    now and then everywhere."""

    def __init__(self, samples_per_update: int, shown: Mapping[str, str]) -> None:
        self._samples = samples_per_update
        self._shown = shown
        self._bar: Any = None
        self._numbers: dict[str, str] = {}
        self._since, self._first = time.monotonic(), 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the line."""
        if state.is_world_process_zero:
            self._since, self._first = time.monotonic(), state.global_step
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, unit="update", dynamic_ncols=True, disable=None
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the latest numbers."""
        if self._bar is None or not logs:
            return
        known = {name: short for name, short in self._shown.items() if isinstance(logs.get(name), (int, float))}
        self._numbers |= {short: f"{logs[name]:.3g}" for name, short in known.items()}
        pace = self._numbers | {"samples/s": f"{self._rate(state):.3g}"}
        self._bar.set_postfix(pace)
        if known:
            told = ", ".join(f"{name} {value}" for name, value in pace.items())
            _log.info("Update %d of %d: %s; %s left.", state.global_step, state.max_steps, told, self._left(state))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _rate(self, state: TrainerState) -> float:
        """Samples a second, measurements in between included."""
        seconds = max(1e-9, time.monotonic() - self._since)
        return (state.global_step - self._first) * self._samples / seconds

    def _left(self, state: TrainerState) -> str:
        rate = self._rate(state)
        return format_seconds((state.max_steps - state.global_step) * self._samples / rate) if rate else "unknown time"


def format_seconds(seconds: float) -> str:
    """A stretch of time in the unit that suits it, e.g. `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _any_process(asked: bool, device: torch.device) -> bool:
    if not dist.is_initialized():
        return asked
    flag = torch.tensor(float(asked), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def _over_processes(totals: dict[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
    if not dist.is_initialized():
        return totals
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, totals)
    names = [name for part in gathered for name in part]
    return {
        name: (sum(p[name][0] for p in gathered if name in p), sum(p[name][1] for p in gathered if name in p))
        for name in dict.fromkeys(names)
    }
