"""Stage I (§3.4, Table 7a): the concept translation learns between frozen models, on transformers' `Trainer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError, TrainingError
from conceptseg.images import resize_image
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import upsample_logits
from conceptseg.models.translation import ConceptTranslation
from conceptseg.training.callbacks import NumberLog
from conceptseg.training.checkpoints import CheckpointWriter
from conceptseg.training.config import WarmupConfig
from conceptseg.training.drawing import Turn
from conceptseg.training.objective import MaskTruth, decode_tokens, mask_losses, mask_progress, require_finite
from conceptseg.training.pictures import Glimpse, overlay
from conceptseg.training.sharding import wrap_modules
from conceptseg.training.states import StateRecord, StateStore, consecutive, pad_states
from conceptseg.training.trainer_hooks import RunHooks, TrainedParts

__all__ = ["WarmupData", "WarmupItem", "WarmupTrainer"]


@dataclass(frozen=True, eq=False)
class WarmupItem:
    """A sample as the warm-up needs it."""

    sample_id: str
    picture: Image.Image
    """The target, at SAM 3's input size."""
    truth: MaskTruth
    record: StateRecord


class WarmupData(Dataset[WarmupItem]):
    """Items in the order of the run: position k of the dataset is turn k.

    Args:
        samples: all samples.
        order: which of them comes when, and with which references.
        store: has the states of all turns.
        addresses: turn → address of its states.
        side_px: SAM 3's input size.
    """

    def __init__(
        self,
        samples: Sequence[ConceptSample],
        order: Sequence[Turn],
        store: StateStore,
        addresses: Mapping[Turn, str],
        side_px: int,
    ) -> None:
        self._samples, self._order = samples, order
        self._store, self._addresses = store, addresses
        self._side_px = side_px

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> WarmupItem:
        turn = self._order[position]
        sample = self._samples[turn.place]
        loaded = load_sample(sample)
        if loaded.mask is None or loaded.ignore is None:
            raise SampleError(f"Sample {sample.id!r} has no mask to learn from.")
        picture = resize_image(loaded.image, (self._side_px, self._side_px))
        return WarmupItem(sample.id, picture, MaskTruth(loaded.mask, loaded.ignore), self._store[self._addresses[turn]])


class _Learner(nn.Module):
    """The translation without its `config`, which transformers' trainer would take for one of its own."""

    def __init__(self, translation: ConceptTranslation) -> None:
        super().__init__()
        self.translation = translation

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.translation(states, mask)


class WarmupTrainer(RunHooks, Trainer):
    """Trains a model's concept translation with L_seg (Eq. 5); its MLLM is not run at all, its SAM 3 is frozen."""

    def __init__(
        self,
        config: WarmupConfig,
        model: ConceptSegModel,
        data: WarmupData,
        writer: CheckpointWriter,
        arguments: TrainingArguments,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        if model.translation is None:
            raise TrainingError(f"Model {model.config.name!r} has no concept translation to train.")
        self.config, self.writer, self.out = config, writer, config.out
        self.numbers = NumberLog()
        self._segmenter = model.segmenter.requires_grad_(False).eval()
        super().__init__(
            model=_Learner(model.translation),
            args=arguments,
            train_dataset=data,
            data_collator=_as_batch,
            callbacks=list(callbacks),
        )
        wrap_modules(self, "_Block")
        self._segmenter.to(self.args.device)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """L_seg of a batch, averaged over its samples."""
        items: list[WarmupItem] = inputs["items"]
        semantic = self._decode(model, items)
        truths = [item.truth for item in items]
        loss = mask_losses(semantic, truths, pixel_loss=self.config.pixel_loss).mean()
        require_finite(loss, self.state.global_step, [item.sample_id for item in items])
        self.numbers.add(mask_progress(semantic.detach(), truths), len(truths))
        return loss

    @torch.no_grad()
    def measure(self, data: WarmupData) -> dict[str, float]:
        """Loss, IoU and mIoU on other samples, with the translation as it stands."""
        model = self.accelerator.unwrap_model(self.model)
        sums: dict[str, float] = defaultdict(float)
        for places in consecutive(len(data), self.config.per_device_batch_size):
            items = [data[place] for place in places]
            semantic = self._decode(model, items)
            truths = [item.truth for item in items]
            loss = float(mask_losses(semantic, truths, pixel_loss=self.config.pixel_loss).mean())
            for name, value in {"loss": loss, **mask_progress(semantic, truths)}.items():
                sums[name] += value * len(truths)
        return {f"held_out/{name}": total / len(data) for name, total in sums.items()}

    @torch.no_grad()
    def look_at(self, data: WarmupData, count: int) -> list[Glimpse]:
        """What the first few samples look like now."""
        items = [data[place] for place in range(min(count, len(data)))]
        if not items:
            return []
        semantic = self._decode(self.accelerator.unwrap_model(self.model), items)
        masks = [upsample_logits(logits, (item.picture.height, item.picture.width)) > 0
                 for logits, item in zip(semantic, items, strict=True)]  # fmt: skip
        return [
            Glimpse(item.sample_id, overlay(item.picture, mask.cpu().numpy()), item.record.response)
            for item, mask in zip(items, masks, strict=True)
        ]

    def trained_parts(self, state: Mapping[str, Tensor]) -> TrainedParts:
        """The concept translation alone."""
        return TrainedParts(translation={name.removeprefix("translation."): t for name, t in state.items()})

    def restore(self, folder: Path) -> None:
        """The concept translation of a checkpoint."""
        state = self.writer.read_translation(folder)
        if state is not None:
            self.accelerator.unwrap_model(self.model).translation.load_state_dict(state)

    def _decode(self, model: nn.Module, items: Sequence[WarmupItem]) -> Tensor:
        """Mask logits of items, with gradients to the translation alone."""
        states, mask = pad_states([item.record for item in items])
        tokens = model(states.to(self.args.device), mask.to(self.args.device))
        with torch.no_grad():
            features = self._segmenter.encode(self._segmenter.preprocess([item.picture for item in items]))
        return decode_tokens(self._segmenter, features, tokens, [item.record.answer for item in items])

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(data)  # the dataset is in the order of the run already


def _as_batch(items: list[WarmupItem]) -> dict[str, list[WarmupItem]]:
    return {"items": items}
