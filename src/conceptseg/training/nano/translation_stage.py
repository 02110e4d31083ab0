"""Stage (c): the concept translation warms up between the two frozen models (§3.4, stage I).

Half of the responses are the ideal ones, half are what the frozen MLLM says itself, mistakes included, because that
is what the translation will read later.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Generation
from conceptseg.protocol import parse_response
from conceptseg.training.losses import segmentation_loss, shrink_truth
from conceptseg.training.nano.dense import batch_iou
from conceptseg.training.nano.episodes import Episode

__all__ = ["TranslationLearner"]


class TranslationLearner(nn.Module):
    """The CTM as a trainable module, with the frozen rest at hand."""

    def __init__(self, model: ConceptSegModel) -> None:
        super().__init__()
        model.eval().requires_grad_(False)
        self.translation = model.translation
        self.requires_grad_(True)
        self._model = [model]  # in a list, so that the frozen parts are not registered

    def loss(self, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float], int]:
        """L_seg (Eq. 5, with cross-entropy for its focal half) of two or more episodes through the frozen segmenter."""
        model = self._model[0]
        half = len(episodes) // 2
        ideal, own = list(episodes[:half]), list(episodes[half:])
        parts = [self._ideal(ideal), self._own(own)]
        logits, truths = [], []
        for group, (generation, answers) in zip((ideal, own), parts, strict=True):
            with torch.no_grad():
                pixels = model.segmenter.preprocess([episode.prompt.images[-1] for episode in group])
                features = model.segmenter.encode(pixels)
            prompt = model.translate(generation.hidden_states.float(), generation.mask, answers)
            logits.append(model.segmenter.decode(features, prompt).semantic.float())
            truths.append(torch.stack([torch.from_numpy(episode.mask).float() for episode in group]))
        semantic = torch.cat(logits)
        truth = shrink_truth(torch.cat(truths).to(semantic.device), (semantic.shape[-2], semantic.shape[-1]))
        losses = segmentation_loss(semantic, truth, pixel_loss="bce")
        iou = batch_iou(semantic.detach() > 0, truth > 0.5)
        numbers = {"iou_ideal": float(iou[:half].mean()), "iou_own": float(iou[half:].mean())}
        return losses.mean(), numbers, len(episodes)

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
