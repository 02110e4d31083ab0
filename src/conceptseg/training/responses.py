"""The responses that the concept translation reads while it warms up (§3.4, stage I), and their hidden states."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence

import torch

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.protocol import Response, format_response
from conceptseg.training.config import ResponseSection
from conceptseg.training.drawing import Turn
from conceptseg.training.episodes import Episode
from conceptseg.training.states import StateRecord, StateStore, address_of, consecutive

__all__ = ["fill_store", "read_episodes", "template_response", "with_true_boxes"]

_TEMPLATE_ANSWERS = ("visual", "object")
_log = logging.getLogger(__name__)


def with_true_boxes(episode: Episode, response: Response) -> tuple[str, str]:
    """What the MLLM said with its boxes replaced by the true ones, and the answer in it.

    Parts it did not say stay unsaid; a missing answer becomes the concept's own words. Text in which tags stand where
    they cannot be undone is reduced to boxes and answer.
    """
    answer = episode.answer_of(response)
    rule = response.rule if episode.expects_rule else None
    try:
        return _written(episode, response.think, rule, episode.truth.check, answer), answer
    except InputError:
        answer = episode.sample.concept
        return _written(episode, None, None, episode.truth.check, answer), answer


def template_response(episode: Episode) -> tuple[str, str]:
    """The released code's bare template: the true box alone, and "visual" or "object" for SAM 3, by the sample's id."""
    digest = hashlib.blake2b(episode.id.encode(), digest_size=1).digest()
    return _written(episode, None, None, None, None), _TEMPLATE_ANSWERS[digest[0] % 2]


def _written(episode: Episode, think: str | None, rule: str | None, check: BoxXYXY | None, answer: str | None) -> str:
    return format_response(think, rule, check, episode.truth.box, answer, unit_px=episode.unit_px)


@torch.no_grad()
def read_episodes(model: ConceptSegModel, episodes: Sequence[Episode], section: ResponseSection) -> list[StateRecord]:
    """Responses of a batch of episodes with their hidden states, from the frozen MLLM."""
    prompts = [episode.prompt for episode in episodes]
    longest = longest_response(model, section)
    if section.source == "template":
        said = [template_response(episode) for episode in episodes]
    else:
        generation = model.reasoner.generate(prompts, max_new_tokens=longest)
        responses = [episode.read(text) for episode, text in zip(episodes, generation.texts, strict=True)]
        if section.source == "generated":
            answers = [episode.answer_of(response) for episode, response in zip(episodes, responses, strict=True)]
            rows = zip(generation.texts, answers, generation.hidden_states, generation.mask, strict=True)
            return [StateRecord(text, answer, states[mask]) for text, answer, states, mask in rows]
        said = [with_true_boxes(episode, response) for episode, response in zip(episodes, responses, strict=True)]
    read = model.reasoner.hidden_states_of(prompts, [text for text, _ in said])
    read_rows = zip(said, read.hidden_states, read.mask, strict=True)
    return [StateRecord(text, answer, states[mask]) for (text, answer), states, mask in read_rows]


def longest_response(model: ConceptSegModel, section: ResponseSection) -> int:
    """In tokens: what the configuration says, or the checkpoint's own limit."""
    return section.max_new_tokens or model.config.protocol.max_new_tokens


def fill_store(
    model: ConceptSegModel,
    build: Callable[[ConceptSample, int], Episode],
    samples: Sequence[ConceptSample],
    turns: Iterable[Turn],
    section: ResponseSection,
    store: StateStore,
    fingerprint: str,
    *,
    share: tuple[int, int] = (0, 1),
) -> dict[Turn, str]:
    """Make sure that the store holds a record for each turn: for a sample one for each draw of its references.

    Turns are read in fixed groups of `section.batch_size`, and a group is done as a whole: rounding depends on what
    stands beside a sample in its batch, and a run that was interrupted here must come to the same states.

    Args:
        model: whose MLLM reads.
        build: makes a sample's episode, given the number of a draw of its references.
        samples: all of them.
        turns: which of them will come up, with which references; each is read once, however often it comes.
        section: how responses come about.
        store: what to fill.
        fingerprint: of the MLLM.
        share: (rank, processes): which of the groups to do.

    Returns:
        Turn → address of its record, for this process's share.
    """
    rank, processes = share
    wanted = sorted(set(turns), key=lambda turn: (turn.draw, turn.place))
    groups = list(consecutive(len(wanted), section.batch_size))[rank::processes]
    addresses: dict[Turn, str] = {}
    longest = longest_response(model, section)
    made = 0
    for group in (wanted[numbers.start : numbers.stop] for numbers in groups):
        episodes = [build(samples[turn.place], turn.draw) for turn in group]
        found = [address_of(e, fingerprint, section.source, longest) for e in episodes]
        if any(address not in store for address in found):
            made += len(group)
            for address, record in zip(found, read_episodes(model, episodes, section), strict=True):
                store.add(address, record)
        addresses |= dict(zip(group, found, strict=True))
    store.flush()
    _log.info("Hidden states: %d of %d responses read now, the rest found on disk.", made, len(addresses))
    return addresses
