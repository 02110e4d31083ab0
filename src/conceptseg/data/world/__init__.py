"""ConceptWorld: composited scenes with exact masks for the paper's tasks, unlimited and seeded (DESIGN §4)."""

from __future__ import annotations

from conceptseg.data.world.named import Scene, SceneObject
from conceptseg.data.world.registry import TRAINED_TASKS, WORLD_TASKS, vocabulary_texts
from conceptseg.data.world.sheet import contact_sheet
from conceptseg.data.world.sprites import SPLITS
from conceptseg.data.world.world import ConceptWorld
from conceptseg.data.world.writing import write_world

__all__ = [
    "SPLITS",
    "TRAINED_TASKS",
    "WORLD_TASKS",
    "ConceptWorld",
    "Scene",
    "SceneObject",
    "contact_sheet",
    "vocabulary_texts",
    "write_world",
]
