"""Measuring on pictures that a run does not learn from: before, now and then, and after; the best update is kept.

Scores stand in `held_out.jsonl` of the run's folder, a row a measurement, so that a resumed run knows earlier ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from conceptseg.files import replacing
from conceptseg.metrics.paired import PairedChange, paired_change
from conceptseg.training.callbacks import NumberLog

__all__ = ["BEST_FOLDER", "HELD_OUT_FILE", "HeldOutMeter", "HeldOutTable", "Measured", "tell_outcome"]

BEST_FOLDER = "best"
"""Where the model is that did best on the held-out samples, beside the last."""
HELD_OUT_FILE = "held_out.jsonl"

_TELLING = 20
"""Fewer pictures than this seldom tell a small gain from chance."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    scores: Mapping[str, float]
    """Sample id → what counts, in 0…1."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What else is to stand in the curves."""

    @property
    def mean(self) -> float:
        """Over the samples."""
        return math.fsum(self.scores.values()) / len(self.scores)


class _Row(BaseModel):
    """A line of the file."""

    step: int = Field(ge=0)
    scores: dict[str, float] = Field(min_length=1)


class HeldOutTable:
    """The measurements of a run, by update; 0 is before the first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HELD_OUT_FILE
        self._rows: dict[int, dict[str, float]] = {}

    def read(self, up_to: int) -> None:
        """Take up what stands in the folder, up to an update: what came later is measured again."""
        self._rows = {}
        if not self._path.is_file():
            return
        try:
            rows = [_Row.model_validate_json(line) for line in self._path.read_bytes().splitlines()]
        except ValidationError:
            _log.warning("%s is damaged: what was measured before is not known.", self._path)
            return
        self._rows = {row.step: row.scores for row in rows if row.step <= up_to}

    def add(self, step: int, scores: Mapping[str, float], *, write: bool) -> None:
        """Note a measurement, on disk too if this process writes."""
        self._rows[step] = dict(scores)
        if write:
            rows = [_Row(step=known, scores=kept).model_dump_json() for known, kept in self._rows.items()]
            with replacing(self._path) as fresh:
                fresh.write_text("".join(row + "\n" for row in rows), encoding="utf-8")

    @property
    def before(self) -> Mapping[str, float] | None:
        """The scores before the first update."""
        return self._rows.get(0)

    def best(self) -> tuple[int, float] | None:
        """The update that did best, the earliest of equals, with its mean; None before anything was learned."""
        means = {step: Measured(scores).mean for step, scores in self._rows.items() if step > 0}
        return max(means.items(), key=lambda pair: (pair[1], -pair[0])) if means else None

    def change(self, step: int) -> PairedChange | None:
        """From before the first update to after this one, picture by picture; None where either is not known."""
        now = self._rows.get(step)
        if self.before is None or now is None or self.before.keys() != now.keys():
            return None
        return paired_change(list(self.before.values()), [now[name] for name in self.before])

    @property
    def last_step(self) -> int:
        """The latest update that was measured."""
        return max(self._rows, default=0)


class HeldOutMeter(TrainerCallback):
    """Measures on samples set aside: before the first update, every so often, and after the last.

    Args:
        table: where scores go.
        title: what is measured, e.g. "mIoU".
        measure: measures the model as it stands.
        keep: called when the model does better than after any update before, with the update's number; None keeps none.
        log: writes a line at once, for what is measured before the first update.
        numbers: takes what is measured after an update, to stand in that update's line.
        every: updates between two measurements; None measures at the ends only.
    """

    def __init__(
        self,
        table: HeldOutTable,
        title: str,
        measure: Callable[[], Measured],
        keep: Callable[[int], None] | None,
        log: Callable[[dict[str, float]], None],
        numbers: NumberLog,
        every: int | None,
    ) -> None:
        self._table, self._title = table, title
        self._measure, self._keep = measure, keep
        self._log, self._numbers = log, numbers
        self._every = every

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Before the first update, or what was measured before this part of the run."""
        self._table.read(state.global_step)
        if state.global_step == 0:
            self._log(self._look(state))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Every so often."""
        due = self._every is not None and state.global_step % self._every == 0
        if due or state.global_step == state.max_steps:
            self._numbers.add(self._look(state))
            control.should_log = True

    def _look(self, state: TrainerState) -> dict[str, float]:
        best_before = self._table.best()
        measured = self._measure()
        self._table.add(state.global_step, measured.scores, write=state.is_world_process_zero)
        better = state.global_step > 0 and (best_before is None or measured.mean > best_before[1])
        if better and self._keep is not None and state.is_world_process_zero:
            self._keep(state.global_step)
        if state.is_world_process_zero:
            kept = ", the best so far" if better else ""
            _log.info(
                "Held out, update %d: %s %.1f over %d pictures%s.",
                state.global_step, self._title, 100 * measured.mean, len(measured.scores), kept,
            )  # fmt: skip
        return {f"held_out/{name}": value for name, value in measured.numbers.items()}


def tell_outcome(table: HeldOutTable, title: str, *, best_is_kept: bool = True) -> list[str]:
    """What a run did to the pictures held out, in sentences for the end of it; none without measurements."""
    best = table.best()
    if best is None:
        return []
    last, top = table.change(table.last_step), table.change(best[0])
    if last is None or top is None:
        return ["The held-out samples are not those of the run's beginning: before and after cannot be compared."]
    lines = [f"Held out, {title} of the last update ({table.last_step}, model/): {last}. {_verdict(last)}"]
    if best_is_kept and best[0] != table.last_step:
        lines.append(f"Held out, {title} of the best update ({best[0]}, {BEST_FOLDER}/): {top}. {_verdict(top)}")
        lines.append(
            f"The best was chosen on these same {top.count} pictures, which flatters it a little: "
            "`conceptseg evaluate` on pictures kept apart has the last word."
        )
    return lines


def _verdict(change: PairedChange) -> str:
    if change.is_real:
        return (
            "It is better, and that is real."
            if change.gain > 0
            else "It is worse, and that is real: lower learning_rate."
        )
    few = "; hold more out to see smaller gains" if change.count < _TELLING else ""
    return f"That is within what chance does over {change.count} picture(s){few}."
