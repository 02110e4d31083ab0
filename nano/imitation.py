"""Stage (c), first half: the concept translation learns to say what the segmenter already understands.

SAM 3-nano was taught regions in words, `[x1, y1, x2, y2]`. Before any mask is involved, the translation learns to turn
the states of a response into the very tokens that its own box would have as a text: a regression between two frozen
models, a hundred times cheaper than learning the same through the segmenter, and a good place to start the warm-up
of the paper from.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from conceptseg.errors import TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Generation
from conceptseg.models.translation import ConceptTranslation
from conceptseg.protocol import format_box, parse_response
from nano.episodes import Episode, EpisodeData

__all__ = ["imitate_regions"]

_log = logging.getLogger(__name__)

_BATCH = 24
_STEP_BATCH = 64
_COLLECTING_SHARE = 0.6
_LEARNING_RATE = 1e-3
_LOG_EVERY = 200


@dataclass(frozen=True, eq=False)
class _Pair:
    states: Float[Tensor, "tokens width"]
    region: Float[Tensor, "queries prompt"]


def imitate_regions(model: ConceptSegModel, data: EpisodeData, *, minutes: float, until_s: float = math.inf) -> float:
    """Teach `model.translation` the regions that responses name; everything else stays frozen.

    Args:
        model: with a trained reasoner and segmenter.
        data: episodes to respond to; every other batch is answered by the model itself, mistakes included, because
            here the box that a response names is the right one by definition.
        minutes: time for all of it; most goes into collecting responses.
        until_s: when to stop although there is time left, by `time.monotonic()`; not before the first responses.

    Returns:
        The mean squared error, as a share of the regions' variance, over the last steps.

    Raises:
        TrainingError: the model has no concept translation.
    """
    if model.translation is None:
        raise TrainingError(f"Model {model.config.name!r} has no concept translation to train.")
    queries = model.translation.config.num_queries
    begin = time.monotonic()
    collected_s = min(begin + 60 * minutes * _COLLECTING_SHARE, until_s)
    pairs: list[_Pair] = []
    while not pairs or time.monotonic() < collected_s:
        episodes = [data[len(pairs) + k] for k in range(_BATCH)]
        pairs += _collect(model, episodes, queries, own=bool(len(pairs) // _BATCH % 2))
    _log.info("imitation: %d responses", len(pairs))
    return _regress(model.translation, pairs, until_s=min(begin + 60 * minutes, until_s))


@torch.no_grad()
def _collect(model: ConceptSegModel, episodes: Sequence[Episode], queries: int, *, own: bool) -> list[_Pair]:
    prompts = [episode.prompt for episode in episodes]
    if own:
        spoken = model.reason(prompts)
    else:
        spoken = model.reasoner.hidden_states_of(prompts, [episode.response for episode in episodes])
    regions = _regions(model, spoken, episodes)[:, 2 : 2 + queries]
    return [
        _Pair(states[mask].float(), region)
        for states, mask, region in zip(spoken.hidden_states, spoken.mask, regions, strict=True)
    ]


def _regions(
    model: ConceptSegModel, spoken: Generation, episodes: Sequence[Episode]
) -> Float[Tensor, "batch words prompt"]:
    """Embeddings of each response's box and answer as a text; the coordinates begin at its third token."""
    texts = []
    for text, episode in zip(spoken.texts, episodes, strict=True):
        response = parse_response(text)
        box = response.box or (0.0, 0.0, 1.0, 1.0)
        texts.append(f"{format_box(box)} {response.words or episode.sample.concept}")
    return model.segmenter.embed_text(texts).embeds


def _regress(translation: ConceptTranslation, pairs: Sequence[_Pair], *, until_s: float) -> float:
    begin, step, recent = time.monotonic(), 0, 1.0
    spread = torch.stack([pair.region for pair in pairs]).var(dim=0).mean()
    optimizer = torch.optim.AdamW(translation.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    while (now := time.monotonic()) < until_s:
        left = (until_s - now) / (until_s - begin)
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 100) * max(0.02, left)
        chosen = [pairs[int(k)] for k in torch.randint(len(pairs), (_STEP_BATCH,))]
        states = pad_sequence([pair.states for pair in chosen], batch_first=True)
        lengths = torch.tensor([len(pair.states) for pair in chosen], device=states.device)
        mask = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        loss = F.mse_loss(translation(states, mask), torch.stack([pair.region for pair in chosen])) / spread
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(translation.parameters(), 1.0)
        optimizer.step()
        step, recent = step + 1, 0.99 * recent + 0.01 * float(loss.detach())
        if step % _LOG_EVERY == 0:
            _log.info("imitation step %d  unexplained %.4f", step, recent)
    return recent
