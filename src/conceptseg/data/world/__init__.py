"""ConceptWorld: composited scenes with exact masks for the paper's tasks, unlimited and seeded (DESIGN §4)."""

from __future__ import annotations

from conceptseg.data.world.sprites import SPLITS
from conceptseg.data.world.world import TRAINED_TASKS, WORLD_TASKS, ConceptWorld, Scene, SceneObject, vocabulary_texts

__all__ = ["SPLITS", "TRAINED_TASKS", "WORLD_TASKS", "ConceptWorld", "Scene", "SceneObject", "vocabulary_texts"]
