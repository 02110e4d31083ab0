"""One training stage of nano: a time budget, a learning-rate curve over it, a log, and a state that survives a kill."""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from conceptseg.errors import TrainingError
from conceptseg.files import replacing

__all__ = ["StageConfig", "endless_batches", "run_stage"]

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


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def share(self, minutes: float) -> float:
        return min(1.0, self.seconds / (60 * minutes))


def run_stage(
    config: StageConfig,
    module: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss_of: Callable[[Any], tuple[Tensor, dict[str, float], int]],
    folder: Path,
    *,
    until_s: float = math.inf,
    finished: Callable[[], None] = lambda: None,
) -> bool:
    """Train `module` until its time budget is spent, or until the clock `time.monotonic()` reads `until_s`.

    Args:
        config: the stage.
        module: what is trained; parameters with `requires_grad=False` stay as they are.
        batches: `batches(step)` yields batches from that step on, the same ones whenever it is asked.
        loss_of: a batch's loss, numbers to log, and how many samples it held.
        folder: where `<name>.safetensors` (weights and optimizer), `<name>.json` and `<name>.csv` are kept.
        until_s: when to stop and save although there is budget left.
        finished: called when the budget is spent, before the state is marked done.

    Returns:
        Whether the stage is done.

    Raises:
        TrainingError: the loss is not a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(config, module)
    progress = _restore(config, module, optimizer, folder)
    if progress.share(config.minutes) >= 1:
        return True  # its weights are kept already, and later stages may have built on them
    last_saved = last = time.monotonic()
    device_type = next(module.parameters()).device.type
    stream: Iterator[Any] = iter(batches(progress.step))
    while progress.share(config.minutes) < 1 and last < until_s:
        batch = next(stream)
        _set_rate(config, optimizer, progress)
        with torch.autocast(device_type, torch.bfloat16):
            loss, numbers, count = loss_of(batch)
        if not torch.isfinite(loss):
            raise TrainingError(f"Stage {config.name}, step {progress.step}: the loss is {loss.item()}: {numbers}.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], config.max_grad_norm)
        optimizer.step()
        now = time.monotonic()
        progress.step, progress.samples = progress.step + 1, progress.samples + count
        progress.seconds, last = progress.seconds + now - last, now
        _log_numbers(config, progress, {"loss": float(loss.detach()), **numbers}, folder)
        if now - last_saved > config.save_every_s:
            _save(config, module, optimizer, progress, folder)
            last_saved = now
    done = progress.share(config.minutes) >= 1
    if done:
        finished()
    _save(config, module, optimizer, progress, folder)
    return done


def endless_batches(data: Dataset[Any], batch_size: int, workers: int) -> Callable[[int], Iterator[Any]]:
    """Batches of consecutive items from a given step on, always the same ones, as plain lists."""

    def from_step(step: int) -> Iterator[Any]:
        indices = range(step * batch_size, 2**40)
        return iter(DataLoader(data, batch_size, sampler=indices, num_workers=workers, collate_fn=list))

    return from_step


def _optimizer(config: StageConfig, module: nn.Module) -> torch.optim.AdamW:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))


def _set_rate(config: StageConfig, optimizer: torch.optim.Optimizer, progress: _Progress) -> None:
    warm = min(1.0, (progress.step + 1) / config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress.share(config.minutes)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * warm * (0.02 + 0.98 * cosine)


def _log_numbers(config: StageConfig, progress: _Progress, numbers: dict[str, float], folder: Path) -> None:
    progress.summed += 1
    for key, value in numbers.items():
        progress.sums[key] = progress.sums.get(key, 0.0) + value
    if progress.step % config.log_every_steps:
        return
    row = {"step": progress.step, "samples": progress.samples, "minutes": round(progress.seconds / 60, 3)}
    row |= {key: round(total / progress.summed, 5) for key, total in progress.sums.items()}
    progress.sums.clear()
    progress.summed = 0
    path = folder / f"{config.name}.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    _log.info("%s %s", config.name, "  ".join(f"{key} {value}" for key, value in row.items()))


def _save(
    config: StageConfig, module: nn.Module, optimizer: torch.optim.Optimizer, progress: _Progress, folder: Path
) -> None:
    tensors = {f"model.{key}": value.contiguous().clone() for key, value in module.state_dict().items()}
    name_of = {parameter: name for name, parameter in module.named_parameters()}
    names = [name_of[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{slot}.{names[index]}": value.clone() for slot, value in slots.items()}
    path = folder / f"{config.name}.safetensors"
    note = {"step": progress.step, "seconds": progress.seconds, "samples": progress.samples}
    with replacing(path) as fresh:
        save_file(tensors, fresh, metadata={"progress": json.dumps(note)})


def _restore(config: StageConfig, module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> _Progress:
    path = folder / f"{config.name}.safetensors"
    if not path.exists():
        return _Progress()
    tensors = load_file(path)
    module.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, slot, name = key.split(".", 2)
            parameter = parameters[name]
            optimizer.state[parameter][slot] = value if slot == "step" else value.to(parameter.device)
    with safe_open(path, "pt") as file:
        note = json.loads(file.metadata()["progress"])
    _log.info("Stage %s resumes at step %d after %.1f minutes.", config.name, note["step"], note["seconds"] / 60)
    return _Progress(note["step"], note["seconds"], note["samples"])
