"""The twenty leaf tasks of the paper's Table 5 and which of them training uses."""

from __future__ import annotations

from types import MappingProxyType

from conceptseg.data.world.classes import CLASS_TASKS
from conceptseg.data.world.consistency import CONSISTENCY_TASKS
from conceptseg.data.world.contrast import CONTRAST_TASKS
from conceptseg.data.world.defects import INDUSTRIAL_ANOMALY
from conceptseg.data.world.difference import DIFFERENCE_TASKS
from conceptseg.data.world.lesions import LESION_TASKS
from conceptseg.data.world.needs import LOGICAL_RATIONALITY
from conceptseg.data.world.optics import OPTICS_TASKS
from conceptseg.data.world.tasks import Task
from conceptseg.data.world.views import VIEW_TASKS
from conceptseg.taxonomy import LEAF_TASKS

__all__ = ["TRAINED_TASKS", "WORLD_TASKS", "vocabulary_texts"]

_MADE = (
    CLASS_TASKS
    | OPTICS_TASKS
    | CONTRAST_TASKS
    | {"industrial_anomaly": INDUSTRIAL_ANOMALY}
    | LESION_TASKS
    | CONSISTENCY_TASKS
    | DIFFERENCE_TASKS
    | {"logical_rationality": LOGICAL_RATIONALITY}
    | VIEW_TASKS
)

WORLD_TASKS: MappingProxyType[str, Task] = MappingProxyType({task: _MADE[task] for task in LEAF_TASKS})
"""Leaf task → how it is made, in the taxonomy's order."""

TRAINED_TASKS = (
    "living",
    "artifact",
    "fine_grained",
    "ultra_rare",
    "camouflage",
    "saliency",
    "industrial_anomaly",
    "common_consistency",
    "static_difference",
)
"""Tasks that training uses; the others measure transfer.

The paper trains on saliency, camouflage, consistency and difference (Table 5) and takes context-independent concepts
from SAM 3's pretraining. Here the segmenter starts from nothing, so the CI tasks belong to training; and
industrial_anomaly is trained on where the paper holds it out.
"""


def vocabulary_texts() -> tuple[str, ...]:
    """Every concept, rule and answer that any split can say, each once, sorted: a closed vocabulary."""
    return tuple(sorted({text for task in WORLD_TASKS.values() for text in task.texts()}))
