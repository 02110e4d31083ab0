"""Real photographs beside ConceptWorld: folders of samples, freshly cropped each time they are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageEnhance

from conceptseg.data.reading import SAMPLES_FILE, read_samples
from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import SampleError
from conceptseg.geometry import box_from_mask
from conceptseg.images import load_image, load_mask

__all__ = ["Photographs"]

_RULE = "Segment every {}, wherever it is."
_LEAST_CROP = 0.6
_LEAST_AREA = 0.003
_ATTEMPTS = 8
_JITTER = 0.25
_GREY_SHARE = 0.15


class Photographs:
    """Endless, seeded samples from the `train` rows of several sets, each set equally often.

    A picture that any set holds out is shown by none: sets cut from one source share pictures.

    Args:
        root: a folder of sets, each a folder with `samples.jsonl` and its `train` rows.
        size_px: side of the square pictures that come out; photographs are cropped and squeezed into it, as nano sees
            every picture.

    Raises:
        SampleError: there is no set under `root`, or none has `train` rows with masks.
    """

    def __init__(self, root: Path, size_px: int) -> None:
        self.size_px = size_px
        rows_of = {folder: [*read_samples(folder)] for folder in _folders_of_sets(root)}
        print_of = {row.id: _print_of(row) for rows in rows_of.values() for row in rows}
        held_out = {print_of[row.id] for rows in rows_of.values() for row in rows if row.split != "train"}
        shown = [
            [row for row in rows if row.split == "train" and row.mask is not None and print_of[row.id] not in held_out]
            for rows in rows_of.values()
        ]
        self._sets = [rows for rows in shown if rows]
        if not self._sets:
            raise SampleError(f"No set of photographs under {root}: expected folders with {SAMPLES_FILE}.")
        self._set_of = {row.id: number for number, rows in enumerate(self._sets) for row in rows}
        self._said = _words_said([{print_of[row.id] for row in rows} for rows in self._sets], self._sets)
        self._alike: dict[tuple[int, str], list[ConceptSample]] = {}
        for number, rows in enumerate(self._sets):
            for row in rows:
                self._alike.setdefault((number, row.concept), []).append(row)

    @property
    def names(self) -> tuple[str, ...]:
        """What the context-independent sets show, sorted: words that the segmenter can learn."""
        return tuple(sorted({row.concept for rows in self._sets for row in rows if row.level == "CI"}))

    def sample(self, rng: np.random.Generator, references: int = 4) -> ConceptSample:
        """A photograph with up to `references` others of the same concept from its set, never itself."""
        number = int(rng.integers(len(self._sets)))
        row = self._sets[number][int(rng.integers(len(self._sets[number])))]
        others = [other for other in self._alike[number, row.concept] if other.image != row.image]
        chosen = rng.permutation(len(others))[:references]
        shown = [Reference(*self._view(others[int(index)], rng)) for index in chosen]
        image, mask = self._view(row, rng)
        return replace(row, image=image, mask=mask, references=tuple(shown),
                       rule=_RULE.format(row.concept), answer=row.concept)  # fmt: skip

    def absent_from(self, sample: ConceptSample, names: Sequence[str]) -> list[str]:
        """Those of `names` that can be taken not to be in a photograph: no word of them is said in its set, or in one
        that shares pictures with it."""
        return [name for name in names if self._said[self._set_of[sample.id]].isdisjoint(name.split())]

    def _view(
        self, row: ConceptSample, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "side side 3"], Bool[np.ndarray, "side side"]]:
        image = load_image(row.image)
        assert row.mask is not None  # only such rows are kept
        whole = load_mask(row.mask, (image.height, image.width))
        for _ in range(_ATTEMPTS):
            left, top, right, bottom = window = _window(image.width, image.height, rng)
            mask = whole[top:bottom, left:right]
            if mask.mean() >= _LEAST_AREA and _kept(whole, mask) >= _LEAST_CROP:
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


def _recoloured(picture: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = change(picture).enhance(rng.uniform(1 - _JITTER, 1 + _JITTER))
    if rng.random() < _GREY_SHARE:  # lest whatever is grey be taken for a photograph
        picture = picture.convert("L").convert("RGB")
    return np.asarray(picture)
