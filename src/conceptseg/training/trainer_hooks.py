"""The few private methods of transformers' `Trainer` that both stages override, in one place.

They change what a checkpoint looks like (ours, loadable by every command, instead of the trainer's), what is logged
beside the loss, and that a gradient that is no number ends the run. Everything else of the trainer is used as it is.
Written against transformers 5.10 to 5.23.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedModel, Trainer

from conceptseg.errors import TrainingError
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.training.callbacks import NumberLog
from conceptseg.training.checkpoints import CheckpointWriter, explain_full_disk

__all__ = ["RunHooks", "TrainedParts"]

if TYPE_CHECKING:
    _Base = Trainer
else:
    _Base = object


@dataclass(frozen=True, eq=False)
class TrainedParts:
    """What a checkpoint holds of a model; the rest is named in it."""

    translation: Mapping[str, Tensor] | None
    """The CTM's tensors, None without one."""
    mllm: PreTrainedModel | None = None
    """Given when it learns."""
    mllm_state: Mapping[str, Tensor] | None = None
    """Its tensors."""
    segmenter: PromptSegmenter | None = None
    """Given when SAM 3 learns."""


class RunHooks(_Base):
    """Mixed into a trainer, before it: our checkpoints, and our numbers in its log lines."""

    writer: CheckpointWriter
    numbers: NumberLog
    out: Path

    def trained_parts(self, state: Mapping[str, Tensor]) -> TrainedParts:
        """What of the trained module's state goes where in a checkpoint."""
        raise NotImplementedError

    def restore(self, folder: Path) -> None:
        """Put a checkpoint's tensors back into the trained module."""
        raise NotImplementedError

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if not self.args.should_save:
            return
        model = self.accelerator.unwrap_model(self.model)
        parts = self.trained_parts(model.state_dict() if state_dict is None else state_dict)
        folder = Path(output_dir or self.out)
        with explain_full_disk(self.out):
            self.writer.write(folder, parts.translation, parts.mllm, parts.mllm_state, parts.segmenter)

    def keep_as(self, folder: Path) -> None:
        """Write what is trained to a folder, as a checkpoint that any command can load."""
        self._save(str(folder))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with explain_full_disk(self.out):
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:  # shards lie beside our files, in accelerate's own form
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.restore(Path(resume_from_checkpoint))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm, known before the update is made: a loss that is a number may have a gradient that is none."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not math.isfinite(norm):
            raise TrainingError(
                f"The gradient is {float(norm)} at update {self.state.global_step + 1}, although the loss is a number. "
                "Nothing was learned from it. Lower learning_rate, and resume from the last checkpoint."
            )
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the trainer's numbers with ours, averaged since the last line over all processes."""
        super().log(logs | self.numbers.take(), start_time)
