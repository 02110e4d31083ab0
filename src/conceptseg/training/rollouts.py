"""The data of stage II: rows that TRL rolls out, built from samples as they come up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import TrainingError
from conceptseg.models.processing import tokenize
from conceptseg.models.reasoner import Reasoner
from conceptseg.training.drawing import Turn
from conceptseg.training.episodes import Episode

__all__ = ["episode_dataset", "prompt_length"]

_REMEMBERED = 64


class _EpisodeRows:
    """Turns positions of the run into rows; TRL asks for a prompt once for every response to it."""

    def __init__(
        self,
        samples: Sequence[ConceptSample],
        order: Sequence[Turn],
        build: Callable[[ConceptSample, int], Episode],
        check: Callable[[Episode], None],
    ) -> None:
        self._samples, self._order, self._build, self._check = samples, order, build, check
        self._recent: OrderedDict[Turn, Episode] = OrderedDict()

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Rows for a batch of positions: the prompt's messages, its images, and the episode itself for the rewards."""
        episodes = [self._episode(position) for position in batch["position"]]
        return {
            "prompt": [episode.prompt.messages() for episode in episodes],
            "images": [list(episode.prompt.images) for episode in episodes],
            "episode": episodes,
        }

    def _episode(self, position: int) -> Episode:
        turn = self._order[position]
        if turn not in self._recent:
            episode = self._build(self._samples[turn.place], turn.draw)
            self._check(episode)
            self._recent[turn] = episode
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return self._recent[turn]


def episode_dataset(
    samples: Sequence[ConceptSample],
    order: Sequence[Turn],
    build: Callable[[ConceptSample, int], Episode],
    reasoner: Reasoner,
    max_prompt_tokens: int,
) -> Dataset:
    """Turns of a run as TRL's dataset; nothing is built before it comes up.

    Args:
        samples: all samples.
        order: which of them comes when, and with which references.
        build: makes a sample's episode, given the number of a draw of its references.
        reasoner: knows how long a prompt is.
        max_prompt_tokens: longer prompts raise when they come up.
    """

    def check(episode: Episode) -> None:
        length = prompt_length(reasoner, episode)
        if length > max_prompt_tokens:
            raise TrainingError(
                f"Sample {episode.id!r}: its prompt is {length} tokens long, max_prompt_tokens is {max_prompt_tokens}. "
                "Raise the limit, or shorten the concept's words; pictures cannot be cut."
            )

    rows = _EpisodeRows(samples, order, build, check)
    data: Any = Dataset.from_dict({"position": list(range(len(order)))})
    # `with_transform` would pickle the transform, and through `build` the model, for a fingerprint of no use here.
    Dataset.set_format.__wrapped__(data, type="custom", transform=rows)
    return data


def prompt_length(reasoner: Reasoner, episode: Episode) -> int:
    """How many tokens an episode's prompt has, images included."""
    processor = reasoner.processor
    words = len(tokenize(processor.tokenizer, [reasoner.render(episode.prompt)]).input_ids[0])
    side = processor.frame_multiple_px
    # A picture's placeholder is one of the words, and stands for one token per patch × merge square.
    return words + sum((image.width // side) * (image.height // side) - 1 for image in episode.prompt.images)
