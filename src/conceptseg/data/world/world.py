"""`ConceptWorld`: unlimited samples of the paper's tasks with exact masks, the rule and the answer in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.data.world.defects import INDUSTRIAL_ANOMALY
from conceptseg.data.world.dice import between, chance, generator, pick
from conceptseg.data.world.scenes import clutter, scatter, sprite_look, stage_of
from conceptseg.data.world.sprites import check_split, sprites_of
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme
from conceptseg.data.world.tasks_cd import CD_TASKS
from conceptseg.data.world.tasks_ci import CI_TASKS
from conceptseg.data.world.tasks_cr import CR_TASKS
from conceptseg.errors import InputError
from conceptseg.taxonomy import LEAF_TASKS

__all__ = ["TRAINED_TASKS", "WORLD_TASKS", "ConceptWorld", "Scene", "SceneObject", "vocabulary_texts"]

_MADE = CI_TASKS | CD_TASKS | {"industrial_anomaly": INDUSTRIAL_ANOMALY} | CR_TASKS

WORLD_TASKS: MappingProxyType[str, Task] = MappingProxyType({t: _MADE[t] for t in LEAF_TASKS if t in _MADE})
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

_ATTEMPTS = 20
_AREA = (0.01, 0.6)


@dataclass(frozen=True, eq=False)
class SceneObject:
    """A named object in a scene."""

    name: str
    mask: Bool[np.ndarray, "h w"]
    """Its visible pixels."""
    visible: float
    """Visible part of its whole area, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with named objects; two objects may have the same name."""

    image: UInt8[np.ndarray, "h w 3"]
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names present, each once, sorted."""
        return tuple(sorted({thing.name for thing in self.objects}))

    def mask_of(self, name: str) -> Bool[np.ndarray, "h w"]:
        """Pixels of all objects of that name; empty if there is none."""
        mask = np.zeros(self.image.shape[:2], dtype=bool)
        for thing in self.objects:
            if thing.name == name:
                mask |= thing.mask
        return mask


class ConceptWorld:
    """Samples by (task, index), each depending on nothing but (seed, split, task, index).

    Args:
        tasks: leaf tasks to interleave in `world[i]`, or "all".
        split: one of `SPLITS`.
        seed: another seed is another world of the same kind.
        size_px: side of the target pictures.
        references: how many references a sample has; fewer of them changes no picture.
        backgrounds: a folder of photographs to stand behind half of the scenes.
        reference_px: side of the reference pictures; None for two thirds of `size_px` (a mosaic shrinks them anyway).

    Raises:
        InputError: an unknown task or split, a size under 32, a negative number of references.
    """

    def __init__(
        self,
        tasks: str | Sequence[str] = "all",
        split: str = "train",
        seed: int = 0,
        size_px: int = 168,
        references: int = 4,
        backgrounds: Path | None = None,
        reference_px: int | None = None,
    ) -> None:
        self.tasks = _checked_tasks(tasks)
        self.split = check_split(split)
        self.seed = seed
        self.size_px = _at_least("size_px", size_px, 32)
        self.references = _at_least("references", references, 0)
        self.reference_px = _at_least("reference_px", reference_px or -(-size_px * 2 // 3), 16)
        self._studio = Studio(split, backgrounds)

    @staticmethod
    def names_of(split: str) -> tuple[str, ...]:
        """Names of all objects shown in a split, sorted.

        Raises:
            InputError: the split is unknown.
        """
        return tuple(sprite.name for sprite in sprites_of(split))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all objects shown in this world's split, sorted."""
        return self.names_of(self.split)

    def __getitem__(self, index: int) -> ConceptSample:
        """The tasks in turn: index i is sample i // T of task i % T, for T tasks.

        Raises:
            InputError: the index is negative.
        """
        _at_least("index", index, 0)
        return self.sample(self.tasks[index % len(self.tasks)], index // len(self.tasks))

    def sample(self, task: str, index: int) -> ConceptSample:
        """One question with its answer: arrays of uint8 for images, of bool for masks.

        Raises:
            InputError: an unknown task, or a negative index.
        """
        _at_least("index", index, 0)
        return self._sample(task, index, self._theme(task, index))

    def scene(self, index: int) -> Scene:
        """One to four named objects on a backdrop with clutter, to learn names and presence from.

        Raises:
            InputError: the index is negative.
        """
        _at_least("index", index, 0)
        rng, studio = generator(self.seed, self.split, "scene", index), self._studio
        sprites = [*studio.sprites.values()]
        chosen = [pick(rng, sprites) for _ in range(int(rng.integers(1, 5)))]
        if len(chosen) > 1 and chance(rng, 0.2):
            chosen[1] = chosen[0]
        sizes = [between(rng, 0.2, 0.66 - 0.09 * len(chosen)) for _ in chosen]
        behind = clutter(rng, studio)
        looks = [sprite_look(rng, sprite.name) for sprite in chosen]
        things = behind + scatter(rng, looks, sizes, gap=between(rng, 0.6, 1.0))
        rendered = studio.render(stage_of(rng, studio, things), self.size_px)
        objects = []
        for number, sprite in enumerate(chosen, start=len(behind)):
            mask = rendered.mask(number)
            whole = studio.layer(things[number], self.size_px).getchannel("A").histogram()
            objects.append(SceneObject(sprite.name, mask, min(1.0, mask.sum() / max(1, sum(whole[128:])))))
        return Scene(rendered.image, tuple(objects))

    def _theme(self, task: str, index: int) -> Theme:
        if task not in WORLD_TASKS:
            raise InputError(f"ConceptWorld has no task {task!r}. Tasks: {', '.join(WORLD_TASKS)}.")
        return WORLD_TASKS[task].theme(generator(self.seed, self.split, task, index, "theme"), self._studio)

    def _sample(self, task: str, index: int, theme: Theme) -> ConceptSample:
        target = self._picture(task, index, theme, None)
        shown = [self._picture(task, index, theme, k) for k in range(self.references)]
        return ConceptSample(
            id=f"world/{self.split}/{task}/{index:06d}",
            task=task,
            concept=theme.concept,
            image=target.image,
            mask=target.mask,
            references=tuple(Reference(picture.image, picture.mask) for picture in shown),
            rule=theme.rule,
            answer=target.answer or theme.answer,
            group=theme.group,
            split=self.split,
        )

    def _picture(self, task: str, index: int, theme: Theme, reference: int | None) -> Picture:
        """The target (`reference` None) or a reference; drawn again until its mask is neither tiny nor huge."""
        side = self.size_px if reference is None else self.reference_px
        for attempt in range(_ATTEMPTS):
            rng = generator(self.seed, self.split, task, index, reference, attempt)
            picture = WORLD_TASKS[task].draw(theme, rng, self._studio, side, reference is None)
            if _AREA[0] <= picture.mask.mean() <= _AREA[1]:
                return picture
        raise RuntimeError(f"{task} {index} of seed {self.seed}: no acceptable picture in {_ATTEMPTS} attempts.")


def vocabulary_texts() -> tuple[str, ...]:
    """Every concept, rule and answer that any split can say, each once, sorted: a closed vocabulary."""
    return tuple(sorted({text for task in WORLD_TASKS.values() for text in task.texts()}))


def _checked_tasks(tasks: str | Sequence[str]) -> tuple[str, ...]:
    if tasks == "all":
        return tuple(WORLD_TASKS)
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    unknown = [task for task in chosen if task not in WORLD_TASKS]
    if unknown or not chosen:
        raise InputError(f"ConceptWorld has no tasks {unknown}. Choose from: {', '.join(WORLD_TASKS)}; or 'all'.")
    return chosen


def _at_least(name: str, value: int, least: int) -> int:
    if value < least:
        raise InputError(f"ConceptWorld: {name} must be at least {least}, got {value}.")
    return value
