"""Stage (c): the concept translation warms up between the two frozen models (§3.4, stage I).

Half of the responses are the ideal ones, half are what the frozen MLLM says itself, mistakes included, because that
is what the translation will read later. Some of the latter are about a picture in which the thing is not: presence
after reasoning has to say so, whatever the MLLM claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Generation
from conceptseg.protocol import parse_response
from conceptseg.training.losses import segmentation_loss, shrink_truth
from nano.dense import batch_iou
from nano.episodes import Episode

__all__ = ["TranslationLearner", "with_strangers"]

_PRESENCE_WEIGHT = 0.5
_EMPTY_WEIGHT = 0.3
_EVERY = 2
"""One of so many of the MLLM's own responses is about a picture without the thing, where there is one."""


def with_strangers(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes, every other one about the next one's target instead, where that cannot hold what is asked for."""
    changed = list(episodes)
    for place in range(0, len(episodes), _EVERY):
        other = episodes[(place + 1) % len(episodes)]
        if _lacks(other, episodes[place]):
            changed[place] = _about(episodes[place], other)
    return changed


def _lacks(other: Episode, episode: Episode) -> bool:
    """Whether another episode's target can be taken to lack what this one asks for: there is always something salient,
    or common, and what changed is a matter of the references."""
    asked, there = episode.sample, other.sample
    if not episode.references or asked.level == "CR" or asked.task == "saliency" or there.task == asked.task:
        return False
    words = [set((sample.answer or sample.concept).split()) for sample in (asked, there)]
    return words[0].isdisjoint(words[1])


def _about(episode: Episode, other: Episode) -> Episode:
    images = (*episode.prompt.images[:-1], other.prompt.images[-1])
    prompt = replace(episode.prompt, images=images)
    return replace(episode, prompt=prompt, image=other.image, mask=np.zeros_like(other.mask))


class TranslationLearner(nn.Module):
    """The CTM as a trainable module, with the frozen rest at hand."""

    def __init__(self, model: ConceptSegModel) -> None:
        super().__init__()
        model.eval().requires_grad_(False)
        self.translation = model.translation
        self.requires_grad_(True)
        self._model = [model]  # in a list, so that the frozen parts are not registered

    def loss(self, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float], int]:
        """L_seg (Eq. 5, with cross-entropy for its focal half) and presence of two or more episodes through the frozen
        segmenter, which is told what the references mark."""
        half = len(episodes) // 2
        ideal, own = list(episodes[:half]), with_strangers(episodes[half:])
        asked = [*ideal, *own]
        drawn = [self._draw(ideal, *self._ideal(ideal)), self._draw(own, *self._own(own))]
        semantic, presence = (torch.cat([part[k] for part in drawn]) for k in (0, 1))
        masks = [torch.from_numpy(episode.mask).float()[None] for episode in asked]
        size_hw = (semantic.shape[-2], semantic.shape[-1])
        truth = torch.cat([shrink_truth(mask, size_hw) for mask in masks]).to(semantic.device)
        present = torch.tensor([bool(episode.mask.any()) for episode in asked], device=semantic.device)
        weight = torch.where(present, 1.0, _EMPTY_WEIGHT)
        mask_loss = (segmentation_loss(semantic, truth, pixel_loss="bce") * weight).sum() / weight.sum()
        presence_loss = F.binary_cross_entropy_with_logits(presence, present.float())
        iou = batch_iou(semantic.detach() > 0, truth > 0.5)
        numbers = {"iou_ideal": float(iou[:half].mean()), "presence_loss": float(presence_loss.detach())}
        if present[half:].any():
            numbers["iou_own"] = float(iou[half:][present[half:]].mean())
        if not present.all():
            numbers["presence_absent"] = float(presence.detach()[~present].sigmoid().mean())
        return mask_loss + _PRESENCE_WEIGHT * presence_loss, numbers, len(episodes)

    def _draw(
        self, episodes: Sequence[Episode], generation: Generation, answers: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Mask logits and presence logits."""
        model = self._model[0]
        with torch.no_grad():
            seen = [model.see_references(episode.references) for episode in episodes]
            features = model.segmenter.encode_beside([episode.image for episode in episodes], seen)
        prompt = model.translate(generation.hidden_states.float(), generation.mask, answers)
        logits = model.segmenter.decode(features, prompt)
        return logits.semantic.float(), logits.presence.float()

    @torch.no_grad()
    def _ideal(self, episodes: Sequence[Episode]) -> tuple[Generation, list[str]]:
        reasoner = self._model[0].reasoner
        generation = reasoner.hidden_states_of([e.prompt for e in episodes], [e.response for e in episodes])
        return generation, [episode.sample.answer or episode.sample.concept for episode in episodes]

    @torch.no_grad()
    def _own(self, episodes: Sequence[Episode]) -> tuple[Generation, list[str]]:
        generation = self._model[0].reason([episode.prompt for episode in episodes])
        answers = [parse_response(text).words for text in generation.texts]
        return generation, [answer or e.sample.concept for answer, e in zip(answers, episodes, strict=True)]
