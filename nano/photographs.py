"""Real photographs beside ConceptWorld: folders of samples, freshly cropped and recoloured each time they are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageEnhance, ImageFilter

from conceptseg.data.reading import SAMPLES_FILE, read_samples
from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import SampleError
from conceptseg.geometry import box_from_mask
from conceptseg.images import load_image, load_mask

__all__ = ["Family", "Photographs"]

Picture: TypeAlias = UInt8[np.ndarray, "side side 3"]
View: TypeAlias = tuple[Picture, Bool[np.ndarray, "side side"]]
"""A picture and its mask, as shown."""

_RULE = "Segment every {}, wherever it is."
_LEAST_CROP = 0.5
_LEAST_KEPT = 0.6
_LEAST_AREA = 0.003
_ATTEMPTS = 8
_JITTER = 0.35
_GREY_SHARE = 0.12
_BLUR_SHARE = 0.15
_MOST_BLUR_PX = 1.6
_DISGUISED_SHARE = 0.35
_INVERTED_SHARE = 0.15
_DISGUISE_NAME = "marked object"


@dataclass(frozen=True, eq=False)
class Family:
    """Some photographs of one concept, and one of something else."""

    concept: str
    level: str
    views: tuple[View, ...]
    stranger: UInt8[np.ndarray, "side side 3"] | None
    """A photograph without the concept, where one could be found."""

    def disguised(self, rng: np.random.Generator) -> Family:
        """The same as something never seen: one exchange of colours in all pictures, at times what lies around it.

        The sets name few kinds; whoever knows them all by heart need not look at the references.
        """
        repaint = _repainter(rng)
        inverted = rng.random() < _INVERTED_SHARE and all(0.1 < mask.mean() < 0.9 for _, mask in self.views)
        views = tuple((repaint(image), ~mask if inverted else mask) for image, mask in self.views)
        stranger = None if self.stranger is None or inverted else repaint(self.stranger)
        return Family(_DISGUISE_NAME, "CD", views, stranger)


class Photographs:
    """Endless, seeded samples from the `train` rows of several sets, by default each set equally often.

    A picture that any set holds out is shown by none: sets cut from one source share pictures.

    Args:
        root: a folder of sets, each a folder with `samples.jsonl` and its `train` rows.
        size_px: side of the square pictures that come out; photographs are cropped and squeezed into it, as nano sees
            every picture.
        weights: set → how often it is shown, 1 unless given; 0 leaves it out.

    Raises:
        SampleError: there is no set under `root`, none has `train` rows with masks, or a weight names no set.
    """

    def __init__(self, root: Path, size_px: int, weights: Mapping[str, float] = MappingProxyType({})) -> None:
        self.size_px = size_px
        rows_of = {folder: [*read_samples(folder)] for folder in _folders_of_sets(root)}
        if unknown := sorted({*weights} - {folder.name for folder in rows_of}):
            raise SampleError(f"Weights for sets that are not under {root}: {', '.join(unknown)}.")
        rows_of = {folder: rows for folder, rows in rows_of.items() if weights.get(folder.name, 1.0) > 0}
        print_of = {row.id: _print_of(row) for rows in rows_of.values() for row in rows}
        held_out = {print_of[row.id] for rows in rows_of.values() for row in rows if row.split != "train"}
        shown = {
            folder: [
                row
                for row in rows
                if row.split == "train" and row.mask is not None and print_of[row.id] not in held_out
            ]
            for folder, rows in rows_of.items()
        }
        self._sets = [rows for rows in shown.values() if rows]
        if not self._sets:
            raise SampleError(f"No set of photographs under {root}: expected folders with {SAMPLES_FILE}.")
        often = np.array([weights.get(folder.name, 1.0) for folder, rows in shown.items() if rows])
        self._often = often / often.sum()
        self._set_of = {row.id: number for number, rows in enumerate(self._sets) for row in rows}
        self._said = _words_said([{print_of[row.id] for row in rows} for rows in self._sets], self._sets)
        self._shows: dict[tuple[int, str], set[str]] = {}
        self._alike: dict[tuple[int, str], list[ConceptSample]] = {}
        for number, rows in enumerate(self._sets):
            for row in rows:
                self._alike.setdefault((number, row.concept), []).append(row)
                self._shows.setdefault((number, str(row.image)), set()).add(row.concept)

    @property
    def names(self) -> tuple[str, ...]:
        """What the context-independent sets show, sorted: words that the segmenter can learn."""
        return tuple(sorted({row.concept for rows in self._sets for row in rows if row.level == "CI"}))

    def at(self, size_px: int) -> Photographs:
        """The same photographs at another size; nothing is read anew."""
        other = copy(self)
        other.size_px = size_px
        return other

    def sample(self, rng: np.random.Generator, references: int = 4) -> ConceptSample:
        """A photograph with up to `references` others of the same concept from its set, never itself."""
        row, others = self._draw(rng)
        shown = [Reference(*self._view(other, rng)) for other in others[:references]]
        image, mask = self._view(row, rng)
        return replace(row, image=image, mask=mask, references=tuple(shown),
                       rule=_RULE.format(row.concept), answer=row.concept)  # fmt: skip

    def family(self, rng: np.random.Generator, count: int) -> Family:
        """Up to `count` photographs of one concept from one set, and one without it."""
        row, others = self._draw(rng)
        views = tuple(self._view(one, rng) for one in (row, *others[: count - 1]))
        family = Family(row.concept, row.level, views, self._stranger_to(row, rng))
        return family.disguised(rng) if len(views) > 1 and rng.random() < _DISGUISED_SHARE else family

    def absent_from(self, sample: ConceptSample, names: Sequence[str]) -> list[str]:
        """Those of `names` that can be taken not to be in a photograph: no word of them is said in its set, or in one
        that shares pictures with it."""
        return [name for name in names if self._said[self._set_of[sample.id]].isdisjoint(name.split())]

    def _draw(self, rng: np.random.Generator) -> tuple[ConceptSample, list[ConceptSample]]:
        """A row, and the others of its concept in an order of chance."""
        number = int(rng.choice(len(self._sets), p=self._often))
        row = self._sets[number][int(rng.integers(len(self._sets[number])))]
        others = [other for other in self._alike[number, row.concept] if other.image != row.image]
        return row, [others[int(index)] for index in rng.permutation(len(others))]

    def _stranger_to(self, row: ConceptSample, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"] | None:
        """A photograph without the row's concept: of its own set, where that names what else there is; else of another
        set, with which it shares no word."""
        home = self._set_of[row.id]
        for _ in range(_ATTEMPTS):
            number = home if rng.random() < 0.5 else int(rng.choice(len(self._sets), p=self._often))
            other = self._sets[number][int(rng.integers(len(self._sets[number])))]
            apart = number != home and self._said[number].isdisjoint(row.concept.split())
            lacks = number == home and row.concept not in self._shows[home, str(other.image)]
            if apart or lacks:
                return self._view(other, rng)[0]
        return None

    def _view(self, row: ConceptSample, rng: np.random.Generator) -> View:
        image = load_image(row.image)
        assert row.mask is not None  # only such rows are kept
        whole = load_mask(row.mask, (image.height, image.width))
        for _ in range(_ATTEMPTS):
            left, top, right, bottom = window = _window(image.width, image.height, rng)
            mask = whole[top:bottom, left:right]
            if mask.mean() >= _LEAST_AREA and _kept(whole, mask) >= _LEAST_KEPT:
                break
        else:
            window, mask = (0, 0, image.width, image.height), whole
        side = (self.size_px, self.size_px)
        picture = image.crop(window).resize(side, Image.Resampling.BILINEAR)
        small = np.asarray(Image.fromarray(mask).resize(side, Image.Resampling.NEAREST))
        if box_from_mask(small) is None:  # thinner than a pixel of the small picture
            small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(side, Image.Resampling.BOX)) > 0
        turned = slice(None, None, -1 if rng.random() < 0.5 else 1)
        return _recoloured(picture, rng)[:, turned].copy(), small[:, turned].copy()


def _print_of(row: ConceptSample) -> str:
    return hashlib.sha256(Path(row.image).read_bytes()).hexdigest() if isinstance(row.image, (str, Path)) else row.id


def _words_said(prints: Sequence[set[str]], sets: Sequence[Sequence[ConceptSample]]) -> list[set[str]]:
    """For each set, the words of its concepts and of those of the sets with which it shares pictures."""
    words = [{word for row in rows for word in row.concept.split()} for rows in sets]
    return [set().union(*(said for theirs, said in zip(prints, words, strict=True) if theirs & own)) for own in prints]


def _folders_of_sets(root: Path) -> list[Path]:
    """The folders under `root` that hold a set, sorted."""
    return sorted(path.parent for path in root.glob(f"*/{SAMPLES_FILE}"))


def _window(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    size = [max(2, round(side * rng.uniform(_LEAST_CROP, 1))) for side in (width, height)]
    left, top = (int(rng.integers(side - part + 1)) for side, part in zip((width, height), size, strict=True))
    return left, top, left + size[0], top + size[1]


def _kept(whole: Bool[np.ndarray, "h w"], part: Bool[np.ndarray, "a b"]) -> float:
    return float(part.sum() / max(1, whole.sum()))


def _repainter(rng: np.random.Generator) -> Callable[[Picture], Picture]:
    """Colour channels in another order, and now and then negative."""
    order, negative = rng.permutation(3), rng.random() < 0.3
    return lambda picture: (255 - picture[..., order]) if negative else picture[..., order]


def _recoloured(picture: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = change(picture).enhance(rng.uniform(1 - _JITTER, 1 + _JITTER))
    if rng.random() < _GREY_SHARE:  # lest whatever is grey be taken for a photograph
        picture = picture.convert("L").convert("RGB")
    if rng.random() < _BLUR_SHARE:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, _MOST_BLUR_PX)))
    return np.asarray(picture)
