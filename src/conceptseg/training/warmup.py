"""Stage I (§3.4, Table 7a): the concept translation learns between frozen models, on transformers' `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import SampleError, TrainingError
from conceptseg.images import resize_image
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter
from conceptseg.models.translation import ConceptTranslation
from conceptseg.training.callbacks import NumberLog
from conceptseg.training.checkpoints import CheckpointWriter
from conceptseg.training.config import WarmupConfig
from conceptseg.training.drawing import Turn
from conceptseg.training.loading import DRAWING_PARTS
from conceptseg.training.objective import MaskTruth, decode_tokens, mask_losses, mask_progress, require_finite
from conceptseg.training.seeing import encode_beside
from conceptseg.training.sharding import wrap_modules
from conceptseg.training.states import StateRecord, StateStore, pad_states
from conceptseg.training.trainer_hooks import RunHooks, TrainedParts

__all__ = ["WarmupData", "WarmupItem", "WarmupTrainer"]

_OURS = "translation."


@dataclass(frozen=True, eq=False)
class WarmupItem:
    """A sample as the warm-up needs it."""

    sample_id: str
    concept: str
    picture: Image.Image
    """The target, at SAM 3's input size."""
    truth: MaskTruth
    record: StateRecord
    references: tuple[Reference, ...] = ()
    """What it is shown with, where a prior reads it."""


class WarmupData(Dataset[WarmupItem]):
    """Items in the order of the run: position k of the dataset is turn k.

    Args:
        samples: all samples.
        order: which of them comes when, and with which references.
        store: has the states of all turns.
        addresses: turn → address of its states.
        side_px: SAM 3's input size.
        references_of: chooses a sample's references, given the number of the draw; None where no prior reads them.
    """

    def __init__(
        self,
        samples: Sequence[ConceptSample],
        order: Sequence[Turn],
        store: StateStore,
        addresses: Mapping[Turn, str],
        side_px: int,
        references_of: Callable[[ConceptSample, int], Sequence[Reference]] | None = None,
    ) -> None:
        self._samples, self._order = samples, order
        self._references_of = references_of
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
        truth = MaskTruth(loaded.mask, loaded.ignore)
        shown = () if self._references_of is None else tuple(self._references_of(sample, turn.draw))
        return WarmupItem(sample.id, sample.concept, picture, truth, self._store[self._addresses[turn]], shown)


class _Learner(nn.Module):
    """What learns: the translation, without its `config`, which transformers' trainer would take for one of its own.

    And perhaps parts of SAM 3, which stay in evaluation mode: without dropout, as at inference.
    """

    def __init__(self, translation: ConceptTranslation, segmenter: PromptSegmenter | None) -> None:
        super().__init__()
        self.translation = translation
        parts = {} if segmenter is None else {name: getattr(segmenter.sam, name) for name in DRAWING_PARTS}
        self.sam = nn.ModuleDict(parts)
        self.sam.requires_grad_(True)

    def train(self, mode: bool = True) -> _Learner:
        """Training mode, but for SAM 3."""
        super().train(mode)
        self.sam.eval()
        return self

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.translation(states, mask)


class WarmupTrainer(RunHooks, Trainer):
    """Trains a concept translation with L_seg (Eq. 5), and SAM 3's decoder where asked to; the MLLM is frozen."""

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
        self._whole = model
        self._segmenter = model.segmenter.requires_grad_(False).eval()
        self._teaches_sam = config.segmenter.learns
        super().__init__(
            model=_Learner(model.translation, model.segmenter if self._teaches_sam else None),
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
        features = encode_beside(self._whole, [item.picture for item in items], [item.references for item in items])
        semantic = self._decode(model, features, items)
        truths = [item.truth for item in items]
        loss = mask_losses(semantic, truths, pixel_loss=self.config.pixel_loss).mean()
        if self._teaches_sam and self.config.segmenter.text_weight:
            alone = self._decode_words(features, items)
            by_words = mask_losses(alone, truths, pixel_loss=self.config.pixel_loss).mean()
            loss = loss + self.config.segmenter.text_weight * by_words
        require_finite(loss, self.state.global_step, [item.sample_id for item in items])
        self.numbers.add(mask_progress(semantic.detach(), truths), len(truths))
        return loss

    def as_model(self) -> ConceptSegModel:
        """The model as it stands."""
        translation = self.accelerator.unwrap_model(self.model).translation
        return ConceptSegModel(self._whole.config, self._whole.reasoner, translation, self._whole.segmenter)

    def trained_parts(self, state: Mapping[str, Tensor]) -> TrainedParts:
        """The concept translation, and SAM 3 where it learns."""
        return TrainedParts(
            translation={name.removeprefix(_OURS): t for name, t in state.items() if name.startswith(_OURS)},
            segmenter=self._segmenter if self._teaches_sam else None,
        )

    def restore(self, folder: Path) -> None:
        """The concept translation of a checkpoint, and SAM 3 where it learns."""
        state = self.writer.read_translation(folder)
        if state is not None:
            self.accelerator.unwrap_model(self.model).translation.load_state_dict(state)
        if self._teaches_sam:
            self._segmenter.sam.load_state_dict(self.writer.read_sam(folder, self._segmenter.sam))

    def _decode(self, model: nn.Module, features: ImageFeatures, items: Sequence[WarmupItem]) -> Tensor:
        """Mask logits of items, by their concept tokens and answers."""
        states, mask = pad_states([item.record for item in items])
        tokens = model(states.to(self.args.device), mask.to(self.args.device))
        return decode_tokens(self._segmenter, features, tokens, [item.record.answer for item in items])

    def _decode_words(self, features: ImageFeatures, items: Sequence[WarmupItem]) -> Tensor:
        """Mask logits of items by their concepts' own words, as the shortcut has them."""
        with torch.no_grad():
            words = self._segmenter.embed_text([item.concept for item in items])
        return self._segmenter.decode(features, words).semantic.float()

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(data)  # the dataset is in the order of the run already


def _as_batch(items: list[WarmupItem]) -> dict[str, list[WarmupItem]]:
    return {"items": items}
