"""Episodes of an untrained nano, for tests of what its reasoner is taught."""

from __future__ import annotations

import pytest

from conceptseg.data.world import ConceptWorld
from nano.architecture import FRAME_PX, build_nano
from nano.episodes import Episode, EpisodeData, make_episode
from nano.reasoner_stage import EpisodeLearner


@pytest.fixture(scope="module")
def learner_and_data() -> tuple[EpisodeLearner, EpisodeData]:
    """An untrained nano, and episodes in which something changed."""
    model = build_nano(["what changed"], ["cat"])
    model.reasoner.mllm.set_attn_implementation("eager")
    world = ConceptWorld(tasks=["static_difference"], split="train", seed=0, size_px=FRAME_PX)
    return EpisodeLearner(model.reasoner, FRAME_PX), EpisodeData(model, world, seed=0)


@pytest.fixture(scope="module")
def differences(learner_and_data) -> list[Episode]:
    """One with four references, one with one."""
    _, data = learner_and_data
    return [make_episode(data, data.world[0], 4), make_episode(data, data.world[1], 1)]


@pytest.fixture(scope="module")
def alike(learner_and_data) -> Episode:
    """One with four references, which mark what looks like the target."""
    _, data = learner_and_data
    world = ConceptWorld(tasks=["common_consistency"], split="train", seed=0, size_px=FRAME_PX)
    return make_episode(data, world[0], 4)
