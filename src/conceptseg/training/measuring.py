"""Measuring a policy on fixed samples: each term of the reward, response by response."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.samples import ConceptSample
from conceptseg.images import load_image
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Generation
from conceptseg.models.segmenter import upsample_logits
from conceptseg.protocol import Response
from conceptseg.training.answers import Answerer, evaluating, score_answers
from conceptseg.training.config import MetaGRPOConfig
from conceptseg.training.episodes import Episode
from conceptseg.training.held_out import Measured
from conceptseg.training.meta_grpo import reward_parts
from conceptseg.training.objective import MaskTruth, box_fractions, decode_tokens, mask_scores
from conceptseg.training.pictures import Glimpse, overlay
from conceptseg.training.seeing import encode_episodes
from conceptseg.training.states import consecutive

__all__ = ["look_at", "look_at_answers", "measure_answers", "measure_rewards"]


@torch.no_grad()
def measure_rewards(
    model: ConceptSegModel,
    episodes: Sequence[Episode],
    config: MetaGRPOConfig,
    *,
    temperature: float = 0.0,
    seed: int | None = None,
    batch_size: int = 16,
) -> list[dict[str, float]]:
    """The reward's terms of one response to each episode; where masks take part, `mask` too.

    Args:
        model: as it stands; its MLLM is left in the mode it was in.
        episodes: what to answer.
        config: how responses are rewarded.
        temperature: 0 takes the likeliest words, otherwise responses are sampled.
        seed: of the sampling; torch's own state is left as it was.
        batch_size: episodes at a time.
    """
    measured: list[dict[str, float]] = []
    with evaluating(model), torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for places in consecutive(len(episodes), batch_size):
            measured += _measure_batch(model, [episodes[place] for place in places], config, temperature)
    return measured


@torch.no_grad()
def look_at(model: ConceptSegModel, episodes: Sequence[Episode], config: MetaGRPOConfig) -> list[Glimpse]:
    """What the model says of some samples, and the masks that come of it."""
    if not episodes:
        return []
    with evaluating(model):
        generation = model.reason([episode.prompt for episode in episodes])
        responses = [episode.read(text) for episode, text in zip(episodes, generation.texts, strict=True)]
        semantic = _semantic(model, episodes, responses, generation, config)
    glimpses = []
    for row, (episode, text) in enumerate(zip(episodes, generation.texts, strict=True)):
        mask = np.zeros_like(episode.mask)
        if semantic is not None:
            mask = (upsample_logits(semantic[row], episode.mask.shape) > 0).cpu().numpy()
        glimpses.append(Glimpse(episode.id, overlay(episode.image, mask), text))
    return glimpses


def measure_answers(answer: Answerer, model: ConceptSegModel, samples: Sequence[ConceptSample]) -> Measured:
    """mIoU of a model's own answers to samples, with the references that they bring."""
    with evaluating(model):
        return Measured(scores := score_answers(samples, answer(model, samples)), {"miou": fmean(scores.values())})


def look_at_answers(answer: Answerer, model: ConceptSegModel, samples: Sequence[ConceptSample]) -> list[Glimpse]:
    """What a model answers to samples, and the masks that come of it."""
    with evaluating(model):
        answers = answer(model, samples)
    return [
        Glimpse(sample.id, overlay(load_image(sample.image), given.mask), given.said)
        for sample, given in zip(samples, answers, strict=True)
    ]


def _measure_batch(
    model: ConceptSegModel, episodes: Sequence[Episode], config: MetaGRPOConfig, temperature: float
) -> list[dict[str, float]]:
    generation = model.reason([episode.prompt for episode in episodes], temperature=temperature)
    responses = [episode.read(text) for episode, text in zip(episodes, generation.texts, strict=True)]
    parts = [reward_parts(config, e, response) for e, response in zip(episodes, responses, strict=True)]
    semantic = _semantic(model, episodes, responses, generation, config)
    if semantic is None:
        return parts
    scores = mask_scores(semantic, [MaskTruth(episode.mask, episode.ignore) for episode in episodes])
    return [{**part, "mask": score} for part, score in zip(parts, scores, strict=True)]


def _semantic(
    model: ConceptSegModel,
    episodes: Sequence[Episode],
    responses: Sequence[Response],
    generation: Generation,
    config: MetaGRPOConfig,
) -> Tensor | None:
    """Mask logits of responses, None where masks take no part."""
    if not config.needs_masks:
        return None
    segmenter = model.segmenter
    answers = [e.answer_of(response) for e, response in zip(episodes, responses, strict=True)]
    features = encode_episodes(model, episodes)
    if config.sam_prompt == "box":
        side = model.config.protocol.frame_px
        return segmenter.decode_box(features, box_fractions(responses, side), answers).semantic.float()
    if model.translation is None:
        return None
    tokens = model.translation(generation.hidden_states.to(model.device), generation.mask.to(model.device))
    return decode_tokens(segmenter, features, tokens, answers)
