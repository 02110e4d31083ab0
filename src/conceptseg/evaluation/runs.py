"""A finished or unfinished run, read back from its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError
from conceptseg.evaluation.records import CONFIG_FILE, read_config, read_rows
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.metrics import Accumulator

__all__ = ["Run", "load_run"]

_KEYS = ("data", "task", "concept")


@dataclass(frozen=True, eq=False)
class Run:
    """What was measured, on what, with what result."""

    folder: Path
    label: str
    """What tables call it."""
    config: EvaluationConfig
    checkpoint: Mapping[str, Any]
    software: Mapping[str, Any]
    questions: Mapping[str, int]
    """Set → how many questions it has."""
    rows: Sequence[Mapping[str, Any]]
    """One a question, each once, in order."""

    @property
    def failures(self) -> list[Mapping[str, Any]]:
        """The rows of questions without an answer."""
        return [row for row in self.rows if row["error"] is not None]

    @property
    def missing(self) -> int:
        """How many questions have no row yet."""
        return sum(self.questions.values()) - len(self.rows)

    @property
    def note(self) -> str:
        """What a number of this run means, in one line."""
        config, total = self.config, sum(self.questions.values())
        parts = [
            f"{self.folder.name}: {', '.join(config.data)}",
            f"{len(self.rows)} of {total} questions" if self.missing else f"{total} questions",
            f"method {config.method}, model {config.model}, route {config.route}, seed {config.seed}",
            f"protocol {config.protocol}" + (" with integer weighted F" if config.integer_wfm else ""),
        ]
        parts += [] if config.references is None else [f"at most {config.references} references"]
        parts += [f"{len(self.failures)} failed and count as worst"] if self.failures else []
        parts += [f"checkpoint {self.digest}, commit {self._commit}"]
        return "; ".join(parts) + ("; UNFINISHED" if self.missing else "")

    @property
    def _commit(self) -> str:
        """In short; that files differed from it stays told."""
        commit, changes, _ = str(self.software.get("commit")).partition("+")
        return commit[:9] + ("+changes" if changes else "")

    @property
    def digest(self) -> str:
        """The first letters of the digest over the checkpoint's parts."""
        return "-".join(str(value)[:6] for value in self.checkpoint.get("sha256", {}).values()) or "unknown"

    def accumulate(self, rows: Iterable[Mapping[str, Any]] | None = None) -> Accumulator:
        """The scores of all rows, or of some, to be split by data, task, level, group of tasks, or concept."""
        accumulator = Accumulator(_KEYS)
        for row in self.rows if rows is None else rows:
            accumulator.add(row)
        return accumulator


def load_run(folder: str | Path, label: str | None = None) -> Run:
    """Read a run.

    Args:
        folder: as `evaluate` left it, finished or not.
        label: what to call it; by default its variant, else method, model, and what else is not as usual.

    Raises:
        InputError: there is no run, or nothing in it.
    """
    folder = Path(folder)
    record = read_config(folder)
    if record is None:
        raise InputError(f"{folder} is no evaluation run: it has no {CONFIG_FILE}. `conceptseg evaluate` makes one.")
    config = EvaluationConfig.of(record["config"])
    rows = read_rows(folder)
    if not rows:
        raise InputError(f"{folder} has no rows yet.")
    return Run(
        folder,
        label or config.variant or _describe(config),
        config,
        record["checkpoint"],
        record["software"],
        record["questions"],
        rows,
    )


def _describe(config: EvaluationConfig) -> str:
    unusual = {"route": config.route != "auto", "references": config.references is not None, "seed": config.seed != 0}
    parts = [f"{name} {getattr(config, name)}" for name, told in unusual.items() if told]
    return ", ".join([f"{config.method} ({config.model})", *parts])
