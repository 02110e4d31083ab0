"""Teaching the MLLM responses word by word: the supervised baseline of Table 4(a), on transformers' `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from conceptseg.data.samples import ConceptSample
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from conceptseg.training.callbacks import NumberLog
from conceptseg.training.checkpoints import CheckpointWriter
from conceptseg.training.config import WarmupConfig
from conceptseg.training.drawing import Turn
from conceptseg.training.episodes import Episode
from conceptseg.training.objective import require_finite
from conceptseg.training.states import StateStore
from conceptseg.training.trainer_hooks import RunHooks, TrainedParts

__all__ = ["ResponseTrainer", "TuningData", "TuningItem"]

_UNTAUGHT = -100


@dataclass(frozen=True, eq=False)
class TuningItem:
    """A prompt with the response to learn."""

    sample_id: str
    prompt: Prompt
    response: str


class TuningData(Dataset[TuningItem]):
    """Items in the order of the run: position k of the dataset is turn k."""

    def __init__(
        self,
        samples: Sequence[ConceptSample],
        order: Sequence[Turn],
        build: Callable[[ConceptSample, int], Episode],
        store: StateStore,
        addresses: Mapping[Turn, str],
    ) -> None:
        self._samples, self._order, self._build = samples, order, build
        self._store, self._addresses = store, addresses

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> TuningItem:
        turn = self._order[position]
        episode = self._build(self._samples[turn.place], turn.draw)
        return TuningItem(episode.id, episode.prompt, self._store[self._addresses[turn]].response)


class ResponseTrainer(RunHooks, Trainer):
    """Trains a model's MLLM on responses by cross-entropy over their tokens; no concept translation, no SAM 3."""

    def __init__(
        self,
        config: WarmupConfig,
        model: ConceptSegModel,
        data: TuningData,
        writer: CheckpointWriter,
        arguments: TrainingArguments,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.config, self.writer, self.out = config, writer, config.out
        self.numbers = NumberLog()
        self._reasoner = model.reasoner
        self._translation = None if model.translation is None else model.translation.state_dict()
        super().__init__(
            model=model.reasoner.mllm.requires_grad_(True),
            args=arguments,
            train_dataset=data,
            data_collator=lambda items: {"items": items},
            callbacks=list(callbacks),
        )

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Mean cross-entropy of the responses' tokens, their end included."""
        items: list[TuningItem] = inputs["items"]
        encoded = self._reasoner.encode([item.prompt for item in items], [item.response for item in items])
        taught = [len(ids) for ids in self._reasoner.response_ids([item.response for item in items])]
        width = encoded.input_ids.shape[1]
        starts = width - torch.tensor(taught, device=encoded.input_ids.device)
        is_response = torch.arange(width, device=starts.device) >= starts[:, None]
        labels = encoded.input_ids.masked_fill(~is_response, _UNTAUGHT)
        loss = model(**encoded, labels=labels, use_cache=False).loss
        require_finite(loss, self.state.global_step, [item.sample_id for item in items])
        return loss

    def trained_parts(self, state: Mapping[str, Tensor]) -> TrainedParts:
        """The MLLM, and the translation as it was."""
        return TrainedParts(self._translation, self.accelerator.unwrap_model(self.model), state)

    def restore(self, folder: Path) -> None:
        """The MLLM of a checkpoint."""
        policy = self.accelerator.unwrap_model(self.model)
        policy.load_state_dict(self.writer.read_mllm(folder, policy))

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(data)
