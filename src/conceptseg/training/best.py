"""The model that did best on the held-out samples, kept in `best/`: a checkpoint, made whole at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from conceptseg.ledger import write_object
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel
from conceptseg.training.callbacks import CONFIG_COPY
from conceptseg.training.checkpoints import STATE_FILE, mark_complete
from conceptseg.training.config import TrainingConfig
from conceptseg.training.config_reading import save_config
from conceptseg.training.held_out import BEST_FOLDER
from conceptseg.training.standing import file_sizes, read_state

__all__ = ["BestKeeper", "complete_best"]

_UNFINISHED, _REPLACED = ".best.part", ".best.old"


class BestKeeper:
    """Puts the model as it stands into `best/`, in place of what was there; for the process that saves.

    Args:
        config: the run.
        write: writes the trained parts to a folder.
    """

    def __init__(self, config: TrainingConfig, write: Callable[[Path], None]) -> None:
        self._config, self._write = config, write
        self._fresh, self._place, self._old = (config.out / name for name in (_UNFINISHED, BEST_FOLDER, _REPLACED))
        killed = self._old.is_dir() and not self._place.is_dir()  # between the two renames
        if killed and os.environ.get("RANK", "0") == "0":
            self._old.rename(self._place)

    def keep(self, step: int) -> None:
        """Keep the model after an update; a process that is killed leaves the earlier best or this one."""
        for left in (self._fresh, self._old):
            shutil.rmtree(left, ignore_errors=True)
        self._write(self._fresh)
        save_config(self._config, self._fresh / CONFIG_COPY)
        mark_complete(self._fresh, self._config, step)
        if self._place.is_dir():
            self._place.rename(self._old)
        self._fresh.rename(self._place)
        shutil.rmtree(self._old, ignore_errors=True)


def complete_best(out: Path, dtype: str | None) -> None:
    """Make `best/` independent of where the run started from: its frozen parts are copied into it, once.

    Args:
        out: the run's folder.
        dtype: of the MLLM's weights.
    """
    place = out / BEST_FOLDER
    if place.is_dir() and not _is_whole(ConceptSegConfig.read(place)):
        ConceptSegModel.from_pretrained(place, device="cpu", dtype=dtype).save_pretrained(place)
        state = read_state(place / STATE_FILE)
        sizes = {name: size for name, size in file_sizes(place).items() if name != STATE_FILE}
        write_object(place / STATE_FILE, state | {"files": sizes})  # last, as in every checkpoint


def _is_whole(config: ConceptSegConfig) -> bool:
    return not any(Path(part).is_absolute() for part in (config.mllm, config.sam))
