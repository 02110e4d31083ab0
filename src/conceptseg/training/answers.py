"""What a model answers to samples on its own: its own response, its own boxes, nothing of the truth.

How is for the caller to say: the command line hands in the way that `conceptseg segment` takes, router and all, for
training may not import inference. Left to itself, a run takes the reasoned route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError
from conceptseg.images import IGNORE_VALUE, MaskReading
from conceptseg.metrics import score
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import upsample_logits
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.seeing import encode_episodes

__all__ = ["Answer", "Answerer", "answer_by_reasoning", "evaluating", "score_answers"]


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer to one sample."""

    mask: Bool[np.ndarray, "h w"]
    """At the picture's own size."""
    said: str
    """The response, or what stands for it."""


Answerer: TypeAlias = Callable[[ConceptSegModel, Sequence[ConceptSample]], Sequence[Answer]]
"""Answers samples with the references that they bring; their masks are not looked at."""


def answer_by_reasoning(model: ConceptSegModel, samples: Sequence[ConceptSample]) -> list[Answer]:
    """Every sample through the MLLM and the concept translation, whatever SAM 3 alone would say."""
    build = EpisodeBuilder(model)
    return [_reasoned(model, build, sample) for sample in samples]


@contextmanager
def evaluating(model: ConceptSegModel) -> Iterator[None]:
    """Evaluation mode and no gradients inside the block; every part is in the mode it was in afterwards."""
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in learning:
            module.training = True


def score_answers(samples: Sequence[ConceptSample], answers: Sequence[Answer]) -> dict[str, float]:
    """Each sample's mIoU by its id, as `conceptseg evaluate` has it.

    Raises:
        SampleError: a sample has no mask to compare with.
    """
    return {sample.id: _miou(sample, answer) for sample, answer in zip(samples, answers, strict=True)}


def _reasoned(model: ConceptSegModel, build: EpisodeBuilder, sample: ConceptSample) -> Answer:
    episode = build(sample)
    generation = model.reason([episode.prompt])
    words = [episode.answer_of(episode.read(generation.texts[0]))]
    features = encode_episodes(model, [episode])
    prompt = model.translate(generation.hidden_states, generation.mask, words)
    logits = model.segmenter.decode(features, prompt).semantic[0]
    return Answer((upsample_logits(logits, episode.mask.shape) > 0).cpu().numpy(), generation.texts[0])


def _miou(sample: ConceptSample, answer: Answer) -> float:
    loaded = load_sample(sample)
    if loaded.mask is None or loaded.ignore is None:
        raise SampleError(f"Sample {sample.id!r} has no mask to compare with.")
    truth = MaskReading(loaded.mask, loaded.ignore).levels()
    return score(answer.mask, truth, ignore=IGNORE_VALUE)["miou"]
