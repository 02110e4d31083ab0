"""The concept hierarchy of the paper (Appendix A and Table 5): three levels, twenty leaf tasks, two extra ones.

Pure data. Other tasks may be named `other_ci`, `other_cd` or `other_cr`.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType

from conceptseg.errors import InputError

__all__ = ["GROUPS", "LEAF_TASKS", "TASKS", "Level", "group_of", "level_of"]


class Level(str, Enum):
    """How a concept's identity is determined (Appendix A)."""

    CI = "CI"
    """Context-independent: by intrinsic appearance, Eq. 10."""
    CD = "CD"
    """Context-dependent: by its relation to its surroundings, Eq. 11."""
    CR = "CR"
    """Context-reasoning: by a rule abstracted from references, Eq. 12 and 13."""


_GROUPED: tuple[tuple[Level, str, tuple[str, ...]], ...] = (
    (Level.CI, "Diverse Classes", ("living", "artifact", "fine_grained", "ultra_rare")),
    (Level.CD, "Optical Property", ("transparency", "shadow")),
    (Level.CD, "Camouflage", ("camouflage",)),
    (Level.CD, "Saliency", ("saliency",)),
    (Level.CD, "Industrial Anomaly", ("industrial_anomaly",)),
    (Level.CD, "Medical Lesion", ("polyp_lesion", "breast_lesion", "skin_lesion")),
    (Level.CR, "Consistency", ("common_consistency", "correspondence_consistency", "reference_consistency")),
    (Level.CR, "Difference", ("static_difference", "view_difference")),
    (Level.CR, "Logical Rationality", ("logical_rationality",)),
    (Level.CR, "Spatio-temporality", ("cross_view", "cross_frame")),
)

LEAF_TASKS: tuple[str, ...] = tuple(task for _, _, tasks in _GROUPED for task in tasks)
"""The twenty leaf tasks of Table 5, in the paper's order."""

_EXTRA = {
    "urban_scene": Level.CI,
    "reasoning": Level.CR,
    "other_ci": Level.CI,
    "other_cd": Level.CD,
    "other_cr": Level.CR,
}

TASKS: tuple[str, ...] = LEAF_TASKS + tuple(_EXTRA)
"""Every task a sample may have: the leaves, Table 6's two, and the three catch-alls."""

GROUPS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType({name: tasks for _, name, tasks in _GROUPED})
"""Column name in Table 1 → its leaf tasks."""

_LEVEL = {task: level for level, _, tasks in _GROUPED for task in tasks} | _EXTRA
_GROUP = {task: name for _, name, tasks in _GROUPED for task in tasks}


def level_of(task: str) -> Level:
    """The level a task belongs to.

    Raises:
        InputError: `task` is not in `TASKS`.
    """
    if task not in _LEVEL:
        raise InputError(f"Unknown task {task!r}. Known tasks: {', '.join(TASKS)}.")
    return _LEVEL[task]


def group_of(task: str) -> str:
    """The column of Table 1 that a task is averaged into; for tasks outside Table 1, the task's own name."""
    level_of(task)
    return _GROUP.get(task, task)
