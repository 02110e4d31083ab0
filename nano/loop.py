"""One training stage of nano: a time budget, a learning-rate curve over it, a log, and a state that survives a kill."""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from conceptseg.errors import TrainingError
from conceptseg.files import replacing
from conceptseg.training.termination import Termination
from nano.stage_log import StageLog

__all__ = ["StageConfig", "endless_batches", "is_done", "run_stage", "steps_taken"]

LossOf: TypeAlias = Callable[[Any], tuple[Tensor, dict[str, float], int]]
"""A batch → its loss, numbers to log (each only where there was something to measure), and its count of samples."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageConfig:
    """How long and how fast a stage trains."""

    name: str
    minutes: float
    """Training time over all its runs; the learning rate follows the share of it that is spent."""
    learning_rate: float
    weight_decay: float = 0.02
    warmup_steps: int = 200
    max_grad_norm: float = 1.0
    save_every_s: float = 120.0
    log_every_steps: int = 50

    def state_in(self, folder: Path) -> Path:
        """The file of its weights, optimizer and progress."""
        return folder / f"{self.name}.safetensors"


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    samples: int = 0

    def share(self, minutes: float) -> float:
        return min(1.0, self.seconds / (60 * minutes))


def is_done(config: StageConfig, folder: Path) -> bool:
    """Whether a stage's state says that its time budget is spent; reads no weights.

    Raises:
        TrainingError: the state cannot be read.
    """
    progress = _read_progress(config.state_in(folder))
    return progress is not None and progress.share(config.minutes) >= 1


def steps_taken(state: Path) -> int:
    """How many updates a stage's state has seen; 0 without a state.

    Raises:
        TrainingError: the state cannot be read.
    """
    progress = _read_progress(state)
    return progress.step if progress else 0


def run_stage(
    config: StageConfig,
    module: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss_of: LossOf,
    folder: Path,
    *,
    until_s: float = math.inf,
    termination: Termination | None = None,
    prepare: Callable[[], object] = lambda: None,
    finished: Callable[[], None] = lambda: None,
) -> bool:
    """Train `module` until its time budget is spent, the clock `time.monotonic()` reads `until_s`, or SIGTERM comes.

    Args:
        config: the stage.
        module: what is trained; parameters with `requires_grad=False` stay as they are.
        batches: `batches(step)` yields batches from that step on, the same ones whenever it is asked.
        loss_of: a batch's loss, numbers to log, and how many samples it held.
        folder: where `<name>.safetensors` (weights and optimizer) and `<name>.csv` are kept.
        until_s: when to stop and save although there is budget left.
        termination: who is asked whether SIGTERM came, for one that goes on to other stages; one of its own unless
            given. It listens while the stage trains, so that SIGTERM ends a preparation, which leaves nothing, at once.
        prepare: called where there is no state yet; what it does to `module` is saved before the first update, unless
            `until_s` passed meanwhile.
        finished: called when the budget is spent, before the state is marked done.

    Returns:
        Whether the stage is done.

    Raises:
        TrainingError: the loss is not a number, or the state cannot be read or is another module's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_done(config, folder):
        return True  # its weights are kept already, and later stages may have built on them
    training = _Training(config, module, _optimizer(config, module), folder)
    if not training.restore():
        prepare()
        if time.monotonic() >= until_s:
            return False  # a preparation that may have been cut short is not gone on from
        training.save()
    termination = termination or Termination()
    termination.listen()
    try:
        training.train(iter(batches(training.progress.step)), loss_of, until_s, termination)
    finally:
        termination.stop_listening()
    done = training.progress.share(config.minutes) >= 1
    if done:
        finished()
    training.save()
    return done


def endless_batches(data: Dataset[Any], batch_size: int, workers: int) -> Callable[[int], Iterator[Any]]:
    """Batches of consecutive items from a given step on, always the same ones, as plain lists."""

    def from_step(step: int) -> Iterator[Any]:
        indices = range(step * batch_size, 2**40)
        return iter(
            DataLoader(data, batch_size, sampler=indices, num_workers=workers, collate_fn=list,
                       worker_init_fn=_outlive_termination)
        )  # fmt: skip

    return from_step


def _outlive_termination(_worker: int) -> None:
    """SIGTERM often goes to the whole group of processes: it is for the trainer to answer, which ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@dataclass(eq=False)
class _Training:
    """A stage that is under way."""

    config: StageConfig
    module: nn.Module
    optimizer: torch.optim.Optimizer
    folder: Path
    progress: _Progress = field(default_factory=_Progress)
    recent: dict[str, list[float]] = field(default_factory=dict)
    """What was measured since the last line of the log."""

    @cached_property
    def log(self) -> StageLog:
        """The numbers of the stage so far, on disk too."""
        return StageLog(self.folder / f"{self.config.name}.csv")

    def train(self, stream: Iterator[Any], loss_of: LossOf, until_s: float, termination: Termination) -> None:
        """Update by update until the budget is spent or it is time to stop; saves now and then."""
        config, progress = self.config, self.progress
        last_saved = last = time.monotonic()
        while progress.share(config.minutes) < 1 and last < until_s and not termination.asked:
            numbers, count = self._update(next(stream), loss_of)
            now = time.monotonic()
            progress.step, progress.samples = progress.step + 1, progress.samples + count
            progress.seconds, last = progress.seconds + now - last, now
            self._log_numbers(numbers)
            if now - last_saved > config.save_every_s:
                self.save()
                last_saved = now

    def _update(self, batch: Any, loss_of: LossOf) -> tuple[dict[str, float], int]:
        self._set_rate()
        with torch.autocast(next(self.module.parameters()).device.type, torch.bfloat16):
            loss, numbers, count = loss_of(batch)
        if not torch.isfinite(loss):
            where = f"Stage {self.config.name}, step {self.progress.step}"
            raise TrainingError(f"{where}: the loss is {loss.item()}: {numbers}.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        taught = [p for p in self.module.parameters() if p.grad is not None]
        nn.utils.clip_grad_norm_(taught, self.config.max_grad_norm)
        self.optimizer.step()
        return {"loss": float(loss.detach()), **numbers}, count

    def _set_rate(self) -> None:
        config = self.config
        warm = min(1.0, (self.progress.step + 1) / config.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress.share(config.minutes)))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * (0.02 + 0.98 * cosine)

    def _log_numbers(self, numbers: dict[str, float]) -> None:
        for key, value in numbers.items():
            self.recent.setdefault(key, []).append(value)
        progress = self.progress
        if progress.step % self.config.log_every_steps:
            return
        row = {"step": progress.step, "samples": progress.samples, "minutes": round(progress.seconds / 60, 3)}
        row |= {key: round(sum(values) / len(values), 5) for key, values in self.recent.items()}
        self.recent.clear()
        self.log.write({key: str(value) for key, value in row.items()})
        _log.info("%s %s", self.config.name, "  ".join(f"{key} {value}" for key, value in row.items()))

    def save(self) -> None:
        """Write weights, optimizer and progress as one file."""
        tensors = {f"model.{key}": value.contiguous().clone() for key, value in self.module.state_dict().items()}
        name_of = {parameter: name for name, parameter in self.module.named_parameters()}
        names = [name_of[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{slot}.{names[index]}": value.clone() for slot, value in slots.items()}
        note = {"step": self.progress.step, "seconds": self.progress.seconds, "samples": self.progress.samples}
        with replacing(self.config.state_in(self.folder)) as fresh:
            save_file(tensors, fresh, metadata={"progress": json.dumps(note)})

    def restore(self) -> bool:
        """Take up the state and the log where the last save was; False, and an empty log, where there is none."""
        path = self.config.state_in(self.folder)
        self.progress = _read_progress(path) or _Progress()
        self.log.cut_after(self.progress.step)
        if not path.exists():
            return False
        try:
            self._load(load_file(path))
        except (RuntimeError, KeyError, SafetensorError) as error:
            raise _no_state(path, error) from error
        _log.info("Stage %s resumes at step %d after %.1f minutes.", self.config.name, self.progress.step,
                  self.progress.seconds / 60)  # fmt: skip
        return True

    def _load(self, tensors: dict[str, Tensor]) -> None:
        weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
        self.module.load_state_dict(weights)
        parameters = dict(self.module.named_parameters())
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, slot, name = key.split(".", 2)
                parameter = parameters[name]
                self.optimizer.state[parameter][slot] = value if slot == "step" else value.to(parameter.device)


def _optimizer(config: StageConfig, module: nn.Module) -> torch.optim.AdamW:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))


def _read_progress(state: Path) -> _Progress | None:
    if not state.exists():
        return None
    try:
        with safe_open(state, "pt") as file:
            note = json.loads((file.metadata() or {})["progress"])
        return _Progress(note["step"], note["seconds"], note["samples"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise _no_state(state, error) from error


def _no_state(path: Path, error: Exception) -> TrainingError:
    reason = str(error).partition("\n")[0]
    return TrainingError(
        f"{path} is damaged, or the state of another version of this stage ({reason}). Delete it to begin the stage "
        "anew."
    )
