"""What each timed stage of nano's recipe is shown, and what learns from it."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from conceptseg.data.world import ConceptWorld
from conceptseg.models.conceptseg import ConceptSegModel
from nano.architecture import FRAME_PX, PATCH_PX, SEGMENTER_PX
from nano.episodes import EpisodeData
from nano.group_data import GroupData
from nano.mixture import Mixture
from nano.photographs import Photographs
from nano.reasoner_stage import LessonData, LessonLearner
from nano.recipe import NanoRecipe
from nano.segmenter_stage import SegmenterLearner
from nano.translation_stage import TranslationLearner
from nano.vision_stage import VisionData, VisionLearner

__all__ = ["episodes_of", "lesson_of"]


def lesson_of(stage: str, recipe: NanoRecipe, model: ConceptSegModel, real: Photographs | None) -> tuple[Any, Any]:
    """A stage's data and its learner.

    Args:
        stage: a timed one.
        recipe: which tasks are shown, how often, with how many photographs.
        model: of which the stage trains a part.
        real: photographs beside ConceptWorld.
    """
    if stage == "segmenter":
        model.segmenter.train()
        return _groups(recipe, real), SegmenterLearner(model.segmenter)
    if stage == "translation":
        return episodes_of(stage, recipe, model, real), TranslationLearner(model)
    scenes = _scenes(stage, recipe)
    if stage == "vision":
        return scenes, VisionLearner(model.reasoner, len(scenes.classes))
    learner = LessonLearner(model.reasoner, FRAME_PX, len(scenes.classes))
    return LessonData(episodes_of(stage, recipe, model, real), scenes), learner


def episodes_of(name: str, recipe: NanoRecipe, model: ConceptSegModel, real: Photographs | None) -> EpisodeData:
    """Episodes of a stage, or of the imitation before the translation, which shows what the translation does."""
    seed = _seed(name, recipe)
    stage = "translation" if name == "imitation" else name
    side = SEGMENTER_PX if stage == "translation" else FRAME_PX
    world = ConceptWorld(tasks=recipe.weighed(stage, recipe.tasks), split="train", seed=seed, size_px=side)
    return EpisodeData(model, world, seed=seed, beside=Mixture(side, real and real.at(side), **recipe.shares(stage)))


def _groups(recipe: NanoRecipe, real: Photographs | None) -> GroupData:
    tasks = recipe.weighed("segmenter", (*recipe.tasks, *recipe.named_tasks))
    beside = Mixture(SEGMENTER_PX, real and real.at(SEGMENTER_PX), **recipe.shares("segmenter"))
    return GroupData(tasks, seed=_seed("segmenter", recipe), size_px=SEGMENTER_PX, beside=beside)


def _scenes(stage: str, recipe: NanoRecipe) -> VisionData:
    seed = _seed(stage, recipe)
    alone = ConceptWorld(tasks=recipe.tasks, split="train", seed=seed, size_px=FRAME_PX, references=0)
    return VisionData(alone, recipe.vision_tasks, seed=seed, size_px=FRAME_PX, patches=FRAME_PX // PATCH_PX)


def _seed(stage: str, recipe: NanoRecipe) -> int:
    """The seed of a stage's samples: other stages have others, so that each sees what none before it has seen."""
    return int(np.random.SeedSequence([recipe.seed, zlib.crc32(stage.encode())]).generate_state(1)[0])
