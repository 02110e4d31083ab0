"""Stage II (§3.2, §3.4, Table 7b): Meta-GRPO on TRL's `GRPOTrainer`, with R_uni (Eq. 6) and L_seg (Eq. 8).

Departures from plain GRPO: the reward is that of Eq. 2, 6 and 7, for which each response's mask is drawn once; and the
pass that gives the policy's log-probabilities also gives the hidden states that the concept translation turns into
SAM 3's prompt, so that L_seg costs no pass of its own and reaches the MLLM. A group's pictures are encoded once.

Relative to the paper: rollouts' temperature, clipping (0.2) and what a batch of 64 counts are ours, see
`conceptseg.training.config`. Private methods of TRL used: `_generate_and_score_completions`, to carry episodes along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from conceptseg.errors import TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter
from conceptseg.models.shared_pictures import share_pictures
from conceptseg.protocol import Response
from conceptseg.training.adapters import ADAPTER_FOLDER, lora_config
from conceptseg.training.callbacks import NumberLog
from conceptseg.training.checkpoints import CheckpointWriter
from conceptseg.training.config import MetaGRPOConfig
from conceptseg.training.episodes import Episode
from conceptseg.training.objective import (
    MaskTruth,
    box_fractions,
    decode_tokens,
    mask_losses,
    mask_scores,
    require_finite,
)
from conceptseg.training.policy import (
    TokenReader,
    hidden_translation,
    join_translation,
    set_trainable,
    split_state,
)
from conceptseg.training.reference_policy import readable_by_name
from conceptseg.training.rewards import box_reward, check_reward, format_reward, meta_reward, unified_reward
from conceptseg.training.seeing import encode_episodes
from conceptseg.training.states import consecutive
from conceptseg.training.trainer_hooks import RunHooks, TrainedParts

__all__ = ["MetaGRPOTrainer", "reward_parts"]


def reward_parts(config: MetaGRPOConfig, episode: Episode, response: Response) -> dict[str, float]:
    """The terms of the reward that a response's text decides (Eq. 2 and 7); the mask's comes from SAM 3."""
    section, truth = config.reward, episode.truth
    inclusive = section.inclusive_boxes
    return {
        "format": format_reward(response),
        "meta": meta_reward(response, truth, without_proxy=section.without_proxy, inclusive=inclusive),
        "box": box_reward(response, truth, inclusive=inclusive),
        "check": check_reward(response, truth, inclusive=inclusive),
    }


class MetaGRPOTrainer(RunHooks, GRPOTrainer):
    """Trains a model's MLLM, and its concept translation with it.

    Args:
        config: the run.
        model: its MLLM becomes the policy, in place; its translation becomes a part of that.
        data: draws of the run, see `conceptseg.training.rollouts.episode_dataset`.
        writer: writes checkpoints.
        arguments: see `conceptseg.training.arguments.grpo_arguments`.
        callbacks: what happens beside the updates.

    Raises:
        TrainingError: masks take part but the model has no concept translation.
    """

    def __init__(
        self,
        config: MetaGRPOConfig,
        model: ConceptSegModel,
        data: Dataset,
        writer: CheckpointWriter,
        arguments: GRPOConfig,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.config, self.writer, self.out = config, writer, config.out
        self.numbers = NumberLog()
        self._model = model
        self._reasoner = model.reasoner
        self._frame_px = model.config.protocol.frame_px
        self._segmenter = _segmenter_of(config, model)
        self._seen: tuple[dict[tuple[str, int], int], ImageFeatures] | None = None
        policy = model.reasoner.mllm
        if model.translation is not None:
            join_translation(policy, model.translation)
        set_trainable(policy, config.policy, translation=config.trains_translation)
        model.reasoner.processor.tokenizer.padding_side = "left"
        rewards: list[Any] = [self.unified]
        with readable_by_name(policy):
            super().__init__(
                model=policy,
                reward_funcs=rewards,
                args=arguments,
                train_dataset=data,
                processing_class=model.reasoner.processor,
                callbacks=list(callbacks),
                peft_config=lora_config(config) if config.policy.mllm == "lora" else None,
            )
        for mllm in (policy, self.ref_model):
            if mllm is not None:
                share_pictures(self.accelerator.unwrap_model(mllm))
        self._reader = TokenReader(policy)
        if self._segmenter is not None:
            self._segmenter.to(self.args.device)
        if self.use_vllm:
            self._hide_translation_from_vllm(policy)

    def unified(
        self,
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        episode: list[Episode],
        **_: Any,
    ) -> list[float]:
        """R_uni (Eq. 6) of each response; TRL calls it with all responses of this process."""
        responses = [e.read(said[-1]["content"]) for e, said in zip(episode, completions, strict=True)]
        parts = [reward_parts(self.config, e, response) for e, response in zip(episode, responses, strict=True)]
        if self.config.reward.mask > 0:
            scores = self._mask_scores(episode, responses, completion_ids)
            parts = [{**rest, "mask": score} for rest, score in zip(parts, scores, strict=True)]
        means = {f"reward/{name}": sum(p[name] for p in parts) / len(parts) for name in parts[0]}
        self.numbers.add(means, len(parts))
        return [unified_reward(part, self.config.reward.weights) for part in parts]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """L_GRPO + weight × L_seg (Eq. 8) from one forward pass of the policy."""
        section = self.config.segmentation
        episodes: list[Episode] = inputs["episode"]
        if section.weight == 0:
            loss = super().compute_loss(model, inputs)
        else:
            mask = inputs["completion_mask"].bool()
            with self._reader.reading(model, mask, detach=section.detach_states) as tokens:
                loss = super().compute_loss(model, inputs)
            masks = self._segmentation_loss(episodes, tokens[-1], inputs["answer"])
            loss = loss + section.weight * masks / self.current_gradient_accumulation_steps
        require_finite(loss, self.state.global_step, [episode.id for episode in episodes])
        return loss

    def as_model(self) -> ConceptSegModel:
        """The policy and its translation as they stand, as a model; parameters must not be sharded."""
        policy = self._reasoner.mllm
        translation = getattr(policy, "concept_translation", None)
        segmenter = self._model.segmenter if self._model.has_segmenter else None
        return ConceptSegModel(self._model.config, self._reasoner, translation, segmenter)

    def trained_parts(self, state: Mapping[str, Tensor]) -> TrainedParts:
        """The MLLM and, where there is one, its translation."""
        mllm, translation = split_state(dict(state))
        return TrainedParts(translation or None, self.accelerator.unwrap_model(self.model), mllm)

    def restore(self, folder: Path) -> None:
        """Put a checkpoint's tensors back into the policy.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        policy = self.accelerator.unwrap_model(self.model)
        if self.config.policy.mllm == "lora":
            from peft import set_peft_model_state_dict

            set_peft_model_state_dict(policy, load_file(folder / ADAPTER_FOLDER / "adapter_model.safetensors"))
            return
        state = self.writer.read_mllm(folder, policy)
        if hasattr(policy, "concept_translation"):
            own = self.writer.read_translation(folder) or {}
            state |= {f"concept_translation.{name}": tensor for name, tensor in own.items()}
        policy.load_state_dict(state)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: a checkpoint's own files say what it is."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.config.policy.mllm == "lora" and self.args.should_save:
            policy = self.accelerator.unwrap_model(self.model)
            policy.save_pretrained(Path(output_dir or self.out) / ADAPTER_FOLDER, state_dict=state_dict)
        elif self.config.policy.mllm == "full":
            super()._save(output_dir, state_dict)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch of rollouts, with each row's episode and answer beside it."""
        self._seen = None
        output = super()._generate_and_score_completions(inputs)
        episodes: list[Episode] = [row["episode"] for row in inputs]
        kept = zip(output["completion_ids"], output["completion_mask"].bool(), strict=True)
        texts = self._reasoner.processor.tokenizer.batch_decode(
            [ids[mask] for ids, mask in kept], skip_special_tokens=True
        )
        answers = [e.answer_of(e.read(text)) for e, text in zip(episodes, texts, strict=True)]
        return {**output, "episode": episodes, "answer": answers}

    @torch.no_grad()
    def _mask_scores(
        self, episodes: Sequence[Episode], responses: Sequence[Response], completion_ids: Sequence[Sequence[int]]
    ) -> list[float]:
        """R_mask of each response: its mask is drawn as at inference, without gradients, in small batches."""
        scores: list[float] = []
        for places in consecutive(len(episodes), self.config.per_device_batch_size):
            asked = [episodes[place] for place in places]
            said = [responses[place] for place in places]
            answers = [e.answer_of(response) for e, response in zip(asked, said, strict=True)]
            features = self._features_of(asked, everyone=episodes)
            if self.config.sam_prompt == "box":
                semantic = (
                    self._require_segmenter()
                    .decode_box(features, box_fractions(said, self._frame_px), answers)
                    .semantic
                )
            else:
                tokens = self._tokens_of(asked, [completion_ids[place] for place in places])
                semantic = decode_tokens(self._require_segmenter(), features, tokens, answers)
            scores += mask_scores(semantic.float(), [MaskTruth(e.mask, e.ignore) for e in asked])
        return scores

    def _segmentation_loss(
        self, episodes: Sequence[Episode], tokens: Float[Tensor, "batch queries prompt"], answers: Sequence[str]
    ) -> Tensor:
        semantic = decode_tokens(self._require_segmenter(), self._features_of(episodes), tokens, answers)
        truths = [MaskTruth(episode.mask, episode.ignore) for episode in episodes]
        loss = mask_losses(semantic, truths, pixel_loss=self.config.segmentation.pixel_loss).mean()
        scores = mask_scores(semantic, truths)
        self.numbers.add({"segmentation_loss": float(loss.detach()), "iou": sum(scores) / len(scores)}, len(scores))
        return loss

    def _tokens_of(self, episodes: Sequence[Episode], completion_ids: Sequence[Sequence[int]]) -> Tensor:
        """Concept tokens of responses by one pass of the policy as it stands, for the reward only."""
        prompts = self._reasoner.encode([episode.prompt for episode in episodes])
        ids, mask = _pad_right(completion_ids, self._reasoner.pad_token_id, prompts.input_ids.device)
        inputs = {
            **prompts,
            "input_ids": torch.cat([prompts.input_ids, ids], dim=1),
            "attention_mask": torch.cat([prompts.attention_mask, mask.to(prompts.attention_mask)], dim=1),
            "mm_token_type_ids": torch.cat([prompts.mm_token_type_ids, torch.zeros_like(ids)], dim=1),
        }
        with self._reader.reading(self.model_wrapped, mask) as tokens, self.accelerator.autocast():
            self.model_wrapped(**inputs, logits_to_keep=1, use_cache=False)
        return tokens[-1]

    def _features_of(self, episodes: Sequence[Episode], everyone: Sequence[Episode] | None = None) -> ImageFeatures:
        """SAM 3's features of targets; each target of a batch of rollouts is encoded once for all its responses, and
        its references are looked at once."""
        self._require_segmenter()
        if self._seen is None or any(e.key not in self._seen[0] for e in episodes):
            unique = {e.key: e for e in (everyone or episodes)}
            features = encode_episodes(self._model, list(unique.values()))
            self._seen = ({key: row for row, key in enumerate(unique)}, features)
        rows, features = self._seen
        return features.select([rows[e.key] for e in episodes])

    def _require_segmenter(self) -> PromptSegmenter:
        if self._segmenter is None:
            raise TrainingError("SAM 3 was asked for a mask, but neither the reward nor the loss has one.")
        return self._segmenter

    def _hide_translation_from_vllm(self, policy: nn.Module) -> None:
        """VLLM knows the MLLM's parameters only."""
        backend: Any = self.vllm_generation
        send = backend.sync_weights

        def send_mllm() -> None:
            with hidden_translation(policy):
                send()

        backend.sync_weights = send_mllm


def _segmenter_of(config: MetaGRPOConfig, model: ConceptSegModel) -> PromptSegmenter | None:
    if not config.needs_masks:
        return None
    if config.sam_prompt == "translation" and model.translation is None:
        raise TrainingError(
            f"Model {model.config.name!r} has no concept translation: warm one up first (`conceptseg train warmup`), "
            "or set model.fresh_translation=true for one-stage training."
        )
    return model.segmenter.requires_grad_(False).eval()


def _pad_right(
    rows: Sequence[Sequence[int]], fill: int, device: torch.device
) -> tuple[Tensor, Bool[Tensor, "batch tokens"]]:
    lengths = torch.tensor([len(row) for row in rows], device=device)
    padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)
    return padded.to(device), torch.arange(int(lengths.max()), device=device) < lengths[:, None]
