"""Groups for the segmenter: families of photographs, ConceptWorld's episodes and scenes, altered parts.

A third of the questions ask for what is not there. Words matter less where references speak: two questions in three
with references are asked in words that mean nothing to SAM 3-nano.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from torch.utils.data import Dataset

from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld, Scene, vocabulary_texts
from conceptseg.data.world.shapes import colours_of, shapes_of
from conceptseg.geometry import BoxXYXY, box_from_mask, scale_box
from conceptseg.protocol import format_box
from nano.groups import Group, Question
from nano.mixture import Mixture
from nano.photographs import Family, Photographs

__all__ = ["REGION_STEPS", "GroupData", "rough_box"]

REGION_STEPS = 168
"""Regions in words, `[x1, y1, x2, y2]`, count in this many steps along a side."""

_SCENE_SHARE = 0.6
_MOST_NAMES = 3
_COARSE = 2 / 3
"""Half of ConceptWorld is drawn at this share of the size and enlarged: not every picture is sharp."""
_ABSENT_SHARE = 1 / 3
_MOST_QUESTIONS = 4
_FAMILY = 5
_ANYTHING = ("object", "object", "thing", "marked object", "common object")


class GroupData(Dataset[Group]):
    """Endless, seeded groups; item i is the same whoever asks, in whatever order.

    Args:
        tasks: ConceptWorld tasks.
        seed: another seed gives other items.
        size_px: side of the pictures.
        beside: what else is shown; nothing unless given.
    """

    def __init__(self, tasks: Sequence[str], *, seed: int, size_px: int, beside: Mixture | None = None) -> None:
        self.size_px = size_px
        self.world, self.coarse_world = (
            ConceptWorld(tasks=tasks, split="train", seed=seed, size_px=side, reference_px=side)
            for side in (size_px, max(32, round(size_px * _COARSE)))
        )
        self.beside = beside
        self.names = tuple(dict.fromkeys((*self.world.names, *(beside.names if beside else ()))))
        self.words = _words(self.world.split)
        self.seed = seed

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> Group:
        rng = np.random.default_rng([self.seed, 5, index])
        source = self.beside.draw(rng) if self.beside else None
        if isinstance(source, Photographs):
            return self._family_group(source.family(rng, _FAMILY), rng)
        if source is not None:
            return self._episode_group(source.sample(rng), (), None, rng)
        world = self.coarse_world if rng.random() < 0.5 else self.world
        if rng.random() < _SCENE_SHARE:
            return self._scene_group(world.scene(index), rng)
        task = world.tasks[int(rng.integers(len(world.tasks)))]
        sample = world.sample(task, index)
        rival = world.rival(task, index) if task == "common_consistency" and rng.random() < 0.5 else None
        stranger = world.scene(index)
        lacks = (sample.answer or sample.concept) not in stranger.names and task != "saliency" and sample.level != "CR"
        return self._episode_group(sample, (rival,) if rival else (), stranger if lacks else None, rng)

    def _family_group(self, family: Family, rng: np.random.Generator) -> Group:
        images, marks = ([view[part] for view in family.views] for part in (0, 1))
        count = len(images)
        if family.stranger is not None:
            images, marks = [*images, family.stranger], [*marks, np.zeros_like(marks[0])]
        questions = []
        name = family.concept if family.level == "CI" else None
        for target in range(min(count, _MOST_QUESTIONS)):
            absent = family.stranger is not None and count > 1 and rng.random() < _ABSENT_SHARE
            target = count if absent else target
            shown = _some([k for k in range(count) if k != target], rng) if rng.random() < 0.8 or absent else ()
            questions.append(self._ask(marks[target], target, shown, name, family.concept, rng))
        return Group(np.stack(images), np.stack(marks), tuple(questions))

    def _episode_group(
        self,
        sample: ConceptSample,
        rivals: Sequence[ConceptSample],
        stranger: Scene | None,
        rng: np.random.Generator,
    ) -> Group:
        """A made sample, the other mask that rival references give it, and a scene without the thing."""
        shown = [(np.asarray(sample.image), np.asarray(sample.mask)), *_shown(sample)]
        name = sample.answer if sample.level == "CI" else None
        said = sample.answer or sample.concept
        references = list(range(1, len(shown)))
        questions = [self._ask(shown[0][1], 0, _some(references, rng), name, said, rng)]
        questions.append(self._ask(shown[0][1], 0, (), name, said, rng, concept=sample.concept))
        if sample.level != "CR" and len(shown) > 2:
            others = [k for k in range(len(shown)) if k != 1]
            questions.append(self._ask(shown[1][1], 1, _some(others, rng), name, said, rng))
        for rival in rivals:
            more = list(range(len(shown), len(shown) + len(rival.references)))
            shown += _shown(rival)
            questions.append(self._ask(np.asarray(rival.mask), 0, _some(more, rng), None, rival.concept, rng))
        if stranger is not None:
            shown.append((stranger.image, np.zeros(stranger.image.shape[:2], dtype=bool)))
            questions.append(self._ask(shown[-1][1], len(shown) - 1, _some(references, rng), name, said, rng))
        return _group(shown, questions, self.size_px)

    def _scene_group(self, scene: Scene, rng: np.random.Generator) -> Group:
        """Some things by name, one that is not there, and one thing by its place."""
        names = [str(name) for name in rng.permutation(scene.names)[:_MOST_NAMES]]
        empty = np.zeros(scene.image.shape[:2], dtype=bool)
        absent = self._absent(scene.names, rng)
        questions = [Question(0, name, scene.mask_of(name), True, things=_things(scene, name)) for name in names]
        questions.append(Question(0, absent, empty, False, things=()))
        one = scene.objects[int(rng.integers(len(scene.objects)))]
        if rng.random() < 0.5:
            region = f"{_region(one.mask, rng)}{rng.choice(['', ' object', f' {absent}', f' {one.name}'])}"
            questions.append(Question(0, region, one.mask, True, things=(one.mask,)))
        else:
            box = scale_box(rough_box(one.mask, rng), one.mask.shape, (1, 1))
            questions.append(Question(0, str(rng.choice(["object", one.name])), one.mask, True, box=box))
        return _group([(scene.image, empty)], questions, self.size_px)

    def _ask(
        self,
        mask: Bool[np.ndarray, "h w"],
        target: int,
        references: tuple[int, ...],
        name: str | None,
        said: str,
        rng: np.random.Generator,
        *,
        concept: str | None = None,
    ) -> Question:
        """A question in words that suit: with references any words do, without them only a name, a region or a box.

        Args:
            mask: the answer; empty where the thing is not there.
            target: which picture.
            references: which others are referred to.
            name: what SAM 3 may call the thing, if that has a name of its own.
            said: what an MLLM would call it.
            rng: decides what is asked.
            concept: what is asked of the MLLM and means nothing to SAM 3 alone.
        """
        present = bool(mask.any())
        if references:
            by_boxes = bool(rng.random() < 0.2)
            text = self._words_beside_references(mask, name, said, rng)
            return Question(target, text, mask, present, references, by_boxes)
        kind = rng.random()
        if kind < 0.35 and name:
            return Question(target, name, mask, present)
        if kind < 0.6:
            text = self._absent([said], rng) if concept is None or rng.random() < 0.5 else concept
            return Question(target, text, np.zeros_like(mask), False, teaches_mask=False)
        if kind < 0.75:
            box = scale_box(rough_box(mask, rng), mask.shape, (1, 1))
            return Question(target, str(rng.choice([said, "object"])), mask, present, box=box)
        return Question(target, f"{_region(mask, rng)} {said if rng.random() < 0.7 else ''}".strip(), mask, present)

    def _words_beside_references(
        self, mask: Bool[np.ndarray, "h w"], name: str | None, said: str, rng: np.random.Generator
    ) -> str:
        kind = rng.random()
        if kind < 0.4:
            return str(rng.choice(_ANYTHING))
        if kind < 0.55:
            return " ".join(rng.choice(self.words, int(rng.integers(1, 4))))
        if kind < 0.65 and mask.any():
            return f"{_region(mask, rng)} {said}"
        return name or said

    def _absent(self, present: Sequence[str], rng: np.random.Generator) -> str:
        """A name of something else, or words in no sensible order, of which nothing should be claimed either."""
        if rng.random() < 0.3:
            return " ".join(rng.choice(self.words, int(rng.integers(2, 4))))
        spoken = {word for name in present for word in name.split()}
        names = [name for name in self.names if spoken.isdisjoint(name.split())]
        return names[int(rng.integers(len(names)))]


def _things(scene: Scene, name: str) -> tuple[Bool[np.ndarray, "h w"], ...]:
    return tuple(thing.mask for thing in scene.objects if thing.name == name)


def _shown(sample: ConceptSample) -> list[tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]]:
    return [(np.asarray(one.image), np.asarray(one.mask)) for one in sample.references]


def _some(indices: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    """One, two or four of them, as many as there are."""
    count = min(len(indices), int(rng.choice([1, 2, 4, 4])))
    return tuple(int(index) for index in rng.permutation(indices)[:count])


def _group(
    shown: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Bool[np.ndarray, "_ _"]]],
    questions: Sequence[Question],
    side: int,
) -> Group:
    """Pictures and answers brought to one size."""
    images, marks = zip(*(_squared(image, mask, side) for image, mask in shown), strict=True)
    asked = (
        replace(
            question,
            mask=_squared_mask(question.mask, side),
            things=question.things and tuple(_squared_mask(thing, side) for thing in question.things),
        )
        for question in questions
    )
    return Group(np.stack(images), np.stack(marks), tuple(asked))


def _squared(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], side: int
) -> tuple[UInt8[np.ndarray, "side side 3"], Bool[np.ndarray, "side side"]]:
    if image.shape[:2] == (side, side):
        return image, mask
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized), _squared_mask(mask, side)


def _squared_mask(mask: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "side side"]:
    if mask.shape == (side, side):
        return mask
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST))


def _words(split: str) -> list[str]:
    """Every word that is said anywhere, but for those of names, colours and shapes that the split does not show."""
    unseen = {*ConceptWorld.names_of("unseen_test"), *colours_of("unseen_test"), *shapes_of("unseen_test")}
    shown = {*ConceptWorld.names_of(split), *colours_of(split), *shapes_of(split)}
    hidden, known = ({word for name in names for word in name.split()} for names in (unseen, shown))
    said = {word for text in vocabulary_texts() for word in text.split() if word.isalpha()}
    return sorted(said - (hidden - known))


def rough_box(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> BoxXYXY:
    """The mask's box, off by as much as an MLLM's boxes are: mostly a little, sometimes a lot."""
    box = box_from_mask(mask) or (0.0, 0.0, 1.0, 1.0)
    spread = rng.choice([0.03, 0.08, 0.16])
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    moved = np.clip(np.array(box) + rng.normal(0, spread, 4) * size, 0, mask.shape[0])
    x1, y1, x2, y2 = np.sort(moved.reshape(2, 2), axis=0).ravel().tolist()
    return (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def _region(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> str:
    """A rough box as text, in the words of the protocol."""
    steps = (REGION_STEPS, REGION_STEPS)
    return format_box(scale_box(rough_box(mask, rng), (mask.shape[0], mask.shape[1]), steps))
