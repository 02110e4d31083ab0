"""`ConceptWorld`: unlimited samples of the paper's tasks with exact masks, the rule and the answer in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.data.world.dice import generator
from conceptseg.data.world.named import Scene, draw_scene, draw_shapes
from conceptseg.data.world.registry import WORLD_TASKS
from conceptseg.data.world.sprites import check_split, sprites_of
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Theme
from conceptseg.errors import InputError, SampleError

__all__ = ["ConceptWorld"]

_ATTEMPTS = 50
_THEMES = 8
_AREA = (0.01, 0.6)


class ConceptWorld:
    """Samples by (task, index), each depending on nothing but (seed, split, task, index), and `reference_seed`.

    Args:
        tasks: leaf tasks to interleave in `world[i]`, or "all".
        split: one of `SPLITS`.
        seed: another seed is another world of the same kind.
        size_px: side of the target pictures.
        references: how many references a sample has; fewer of them changes no picture.
        backgrounds: a folder of photographs to stand behind half of the scenes.
        reference_px: side of the reference pictures; None for two thirds of `size_px` (a mosaic shrinks them anyway).
        reference_seed: another one draws other references of the same rule, and leaves everything else as it is.

    Raises:
        InputError: an unknown task or split, a size under 32, a negative number of references or reference seed.
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
        reference_seed: int = 0,
    ) -> None:
        self.tasks = _checked_tasks(tasks)
        self.split = check_split(split)
        self.seed = seed
        self.size_px = _at_least("size_px", size_px, 32)
        self.references = _at_least("references", references, 0)
        self.reference_px = _at_least("reference_px", reference_px or -(-size_px * 2 // 3), 16)
        self.reference_seed = _at_least("reference_seed", reference_seed, 0)
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
        for redraw in range(_THEMES):
            theme = self._theme(task, index, redraw)
            try:
                target = self._picture(task, index, theme, None)
                return self._sample(f"{task}/{index:06d}", task, index, theme, target)
            except _NothingFitsError:
                continue
        raise self._hopeless(task, index)

    def rival(self, task: str, index: int) -> ConceptSample:
        """The sample with the same target, but references for another rule and so another mask (the paper's Fig. 5).

        Raises:
            InputError: the task has no rival rules, or as for `sample`.
        """
        _at_least("index", index, 0)
        for redraw in range(_THEMES):
            theme = self._theme(task, index, redraw)
            try:
                target = self._picture(task, index, theme, None)
                self._sample(f"{task}/{index:06d}", task, index, theme, target)  # `sample` must hold with this theme
                if theme.rival is None or target.rival_mask is None:
                    raise InputError(f"Task {task!r} has no rival rules; common_ and correspondence_consistency have.")
                target = replace(target, mask=target.rival_mask, answer=None)
                return self._sample(f"{task}/{index:06d}/rival", task, index, theme.rival, target)
            except _NothingFitsError:
                continue
        raise self._hopeless(task, index)

    def scene(self, index: int) -> Scene:
        """One to four named objects on a backdrop with clutter, to learn names and presence from.

        Raises:
            InputError: the index is negative.
        """
        _at_least("index", index, 0)
        return draw_scene(generator(self.seed, self.split, "scene", index), self._studio, self.size_px)

    def shapes(self, index: int) -> Scene:
        """One to four plain or patterned shapes, named by colour and shape, to learn such traits from.

        Raises:
            InputError: the index is negative.
        """
        _at_least("index", index, 0)
        return draw_shapes(generator(self.seed, self.split, "shapes", index), self._studio, self.size_px)

    def _hopeless(self, task: str, index: int) -> SampleError:
        return SampleError(
            f"ConceptWorld {self.split}/{task}/{index} of seed {self.seed}: no picture in {_THEMES} × {_ATTEMPTS} "
            f"attempts has a mask of {_AREA[0]:.0%} to {_AREA[1]:.0%}. Please report it; any other index will do."
        )

    def _theme(self, task: str, index: int, redraw: int = 0) -> Theme:
        if task not in WORLD_TASKS:
            raise InputError(f"ConceptWorld has no task {task!r}. Tasks: {', '.join(WORLD_TASKS)}.")
        key = ("theme", redraw) if redraw else ("theme",)
        return WORLD_TASKS[task].theme(generator(self.seed, self.split, task, index, *key), self._studio)

    def _sample(self, name: str, task: str, index: int, theme: Theme, target: Picture) -> ConceptSample:
        shown = [self._reference(task, index, theme, number) for number in range(self.references)]
        return ConceptSample(
            id=f"world/{self.split}/{name}",
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

    def _reference(self, task: str, index: int, theme: Theme, number: int) -> Picture:
        """A reference by its number.

        That of reference seed 0 is drawn in any case, for whether it can be decides if the theme holds; it stands in
        where another seed finds none.
        """
        picture = self._picture(task, index, theme, number)
        if not self.reference_seed:
            return picture
        try:
            return self._picture(task, index, theme, number, self.reference_seed)
        except _NothingFitsError:
            return picture

    def _picture(self, task: str, index: int, theme: Theme, reference: int | None, reference_seed: int = 0) -> Picture:
        """The target (`reference` None) or a reference; drawn again until its mask is neither tiny nor huge.

        Raises:
            _NothingFitsError: no attempt succeeds, as with a thing too thin for any size.
        """
        side = self.size_px if reference is None else self.reference_px
        other = ("references", reference_seed) if reference_seed else ()
        for attempt in range(_ATTEMPTS):
            rng = generator(self.seed, self.split, task, index, reference, attempt, *other)
            picture = WORLD_TASKS[task].draw(theme, rng, self._studio, side, reference)
            masks = (picture.mask, picture.rival_mask)
            if all(mask is None or _AREA[0] <= mask.mean() <= _AREA[1] for mask in masks):
                return picture
        raise _NothingFitsError


class _NothingFitsError(SampleError):
    """No picture of a theme has a mask of the right size; another theme is drawn."""


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
