"""What a run leaves on disk: checkpoints that any command can load, whole or not at all, the newest K of them."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from conceptseg import __version__
from conceptseg.errors import CheckpointError, InputError, ResourceError, TrainingError
from conceptseg.ledger import write_object
from conceptseg.models.config import CONFIG_FILE, CTM_FILE, PRIOR_FILE, ConceptSegConfig
from conceptseg.models.prior import ReferencePrior
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.training.config import TrainingConfig
from conceptseg.training.standing import file_sizes, read_state, require_whole

__all__ = [
    "STATE_FILE",
    "CheckpointWriter",
    "complete_checkpoints",
    "explain_full_disk",
    "latest_checkpoint",
    "mark_complete",
    "prune_checkpoints",
    "require_not_shorter",
    "require_room",
]

STATE_FILE = "training_state.json"
"""Written last: a checkpoint without it was cut off while being written."""

_MLLM, _SAM = "mllm", "sam"
_NUMBERED = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class CheckpointWriter:
    """Writes and reads the trained parts of a model in the checkpoint format of `ConceptSegModel`.

    Parts that stay as they were are named, not copied: SAM 3 and the MLLM unless they learn.
    """

    config: ConceptSegConfig
    mllm_source: str
    """Folder or hub id of the MLLM that the run started from."""
    sam_source: str
    processor: ProcessorMixin
    prior: ReferencePrior | None = None
    """What tells SAM 3 of references, where the run started with it; it is written, not named: it is small."""

    def write(
        self,
        folder: Path,
        translation: Mapping[str, Tensor] | None,
        mllm: PreTrainedModel | None = None,
        mllm_state: Mapping[str, Tensor] | None = None,
        segmenter: PromptSegmenter | None = None,
    ) -> None:
        """Write what was trained.

        Args:
            folder: created if needed.
            translation: the CTM's tensors, None without one.
            mllm: given when it learns.
            mllm_state: its tensors.
            segmenter: given when SAM 3 learns.
        """
        folder.mkdir(parents=True, exist_ok=True)
        learns = mllm is not None
        if mllm is not None:
            state = {key: value.contiguous() for key, value in (mllm_state or {}).items()}
            for alias in getattr(mllm, "all_tied_weights_keys", None) or {}:
                state.pop(alias, None)
            mllm.save_pretrained(folder / _MLLM, state_dict=state)
            self.processor.save_pretrained(folder / _MLLM)
        if translation is not None:
            save_file({key: value.contiguous() for key, value in translation.items()}, folder / CTM_FILE)
        if self.prior is not None:
            save_file({key: value.contiguous() for key, value in self.prior.state_dict().items()}, folder / PRIOR_FILE)
        if segmenter is not None:
            segmenter.sam.save_pretrained(folder / _SAM)
            segmenter.tokenizer.save_pretrained(folder / _SAM)
        changes = {
            "prior": None if self.prior is None else self.prior.config,
            "mllm": _MLLM if learns else self.mllm_source,
            "sam": self.sam_source if segmenter is None else _SAM,
        }
        config = self.config.model_copy(update=changes)
        (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def read_translation(self, folder: Path) -> dict[str, Tensor] | None:
        """The CTM's tensors of a checkpoint, None without one.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        if self.config.translation is None:
            return None
        try:
            return load_file(folder / CTM_FILE)
        except Exception as error:
            raise CheckpointError(f"Cannot resume: {folder / CTM_FILE} is missing or damaged ({error}).") from error

    @staticmethod
    def read_mllm(folder: Path, like: PreTrainedModel) -> dict[str, Tensor]:
        """The MLLM's tensors of a checkpoint, under the names that `like` has for them."""
        return _read_part(folder / _MLLM, like)

    @staticmethod
    def read_sam(folder: Path, like: PreTrainedModel) -> dict[str, Tensor]:
        """SAM 3's tensors of a checkpoint of a run in which it learns."""
        return _read_part(folder / _SAM, like)


def _read_part(folder: Path, like: PreTrainedModel) -> dict[str, Tensor]:
    loaded = type(like).from_pretrained(folder, dtype=like.dtype)
    return dict(loaded.state_dict())


def mark_complete(folder: Path, config: TrainingConfig, step: int) -> None:
    """Say that a checkpoint is whole, and what run it belongs to."""
    state = {
        "step": step,
        "stage": config.stage,
        "config": config.model_dump(mode="json"),
        "files": file_sizes(folder),
        "versions": {"conceptseg": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    write_object(folder / STATE_FILE, state)


def complete_checkpoints(out: Path) -> list[Path]:
    """The whole checkpoints of a run's folder, oldest first."""
    found = ((_step_of(path), path) for path in out.glob("checkpoint-*") if (path / STATE_FILE).is_file())
    return [path for _, path in sorted(found)]


def latest_checkpoint(out: Path, config: TrainingConfig) -> Path | None:
    """The checkpoint to resume from, or None for a fresh start; checkpoints cut off while being written are removed.

    Raises:
        InputError: the folder holds a run with another configuration; all keys that differ are named. Or the checkpoint
            is damaged.
    """
    whole = complete_checkpoints(out)
    for path in out.glob("checkpoint-*"):
        if path not in whole and _NUMBERED.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    if not whole:
        return None
    _require_same_run(whole[-1], config)
    return whole[-1]


def prune_checkpoints(out: Path, keep: int) -> None:
    """Delete all but the newest whole checkpoints."""
    for path in complete_checkpoints(out)[:-keep]:
        (path / STATE_FILE).unlink(missing_ok=True)  # first, so that a half-deleted one never counts as whole
        shutil.rmtree(path, ignore_errors=True)


def require_room(out: Path, checkpoint_bytes: int) -> None:
    """Refuse a folder that cannot be written to, or has no room for a single checkpoint.

    Raises:
        ResourceError: either is so.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ResourceError(f"Cannot write to the run's folder {out}: {error.strerror}. Set another `out`.") from error
    free = shutil.disk_usage(out).free
    if free < checkpoint_bytes:
        raise ResourceError(
            f"The disk of {out} has {free / 2**30:.1f} GiB free, one checkpoint needs about "
            f"{checkpoint_bytes / 2**30:.1f} GiB. Free some, or set another `out`."
        )


@contextmanager
def explain_full_disk(out: Path) -> Iterator[None]:
    """Turn a disk that fills up inside the block into a sentence that says what is safe.

    Raises:
        TrainingError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full_disk(error):
            raise
        whole = complete_checkpoints(out)
        last = f"The last whole checkpoint is {whole[-1]}" if whole else "There is no checkpoint yet"
        raise TrainingError(
            f"The disk of {out} is full. {last}; free some space and give the same command to go on from there."
        ) from error


def _is_full_disk(error: BaseException) -> bool:
    """Safetensors and torch wrap the system's error in their own, with its text."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or any(words in str(error) for words in ("No space left", "quota exceeded"))


def require_not_shorter(resume: Path | None, steps: int) -> None:
    """A run may be made longer, not shorter than it already is.

    Raises:
        InputError: the checkpoint is of a later update than the run's last.
    """
    if resume is not None and _step_of(resume) > steps:
        raise InputError(
            f"{resume.parent} has done {_step_of(resume)} updates, max_steps (or epochs) ask for {steps}: raise it to "
            "go on, or set another `out`."
        )


def _step_of(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else -1


def _with_defaults(stored: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """A stored configuration with what options were added since stand at when nobody sets them."""
    references = stored.get("data", {}).get("references", {})
    references.setdefault("draws", 1)  # runs from before this option kept to one draw
    try:
        return type(config).model_validate(stored).model_dump(mode="json")
    except ValueError:  # of another stage, or with options that are no more: told by what differs
        return stored


_MAY_CHANGE = frozenset({"checkpoints", "log", "workers", "out", "max_steps", "epochs"})


def _require_same_run(checkpoint: Path, config: TrainingConfig) -> None:
    state = read_state(checkpoint / STATE_FILE)
    require_whole(checkpoint, state)
    before = _with_defaults(state["config"], config)
    now = config.model_dump(mode="json")
    differing = sorted(
        key for key in before.keys() | now.keys() if before.get(key) != now.get(key) and key not in _MAY_CHANGE
    )
    if differing:
        raise InputError(
            f"{checkpoint.parent} holds a run with another configuration: {', '.join(differing)} differ. Set another "
            "`out`, or restore these to resume; the run's own are in its config.yaml."
        )
