"""Questions to begin with, of every level: the package's own photographs and ConceptWorld scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data import ConceptSample, load_sample
from conceptseg.interfaces.demo import demo_samples

__all__ = ["Example", "write_examples"]

_CHOSEN = (
    "photographs/cat",
    "world/seen_test/living/000000",
    "world/seen_test/artifact/000000",
    "photographs/flower",
    "world/seen_test/transparency/000000",
    "world/seen_test/industrial_anomaly/000000",
    "world/seen_test/skin_lesion/000000",
    "photographs/coins",
    "world/seen_test/logical_rationality/000000",
    "world/seen_test/cross_frame/000000",
)
"""Some of the demo's, so many that all can be seen at once."""


@dataclass(frozen=True)
class Example:
    """A question, its pictures as files."""

    concept: str
    level: str
    """CI, CD or CR."""
    image: Path
    references: tuple[tuple[Path, Path | None], ...]
    """Pictures with the files of their masks."""

    @property
    def target(self) -> list[dict[str, Any]]:
        """The picture as a board's value."""
        return [{"path": str(self.image), "name": self.image.name, "marks": []}]

    @property
    def board(self) -> list[dict[str, Any]]:
        """The references as a board's value."""
        return [
            {"path": str(image), "name": image.name, "mask": None if mask is None else str(mask), "marks": []}
            for image, mask in self.references
        ]


def write_examples(folder: Path, chosen: Sequence[str] = _CHOSEN) -> list[Example]:
    """Write the examples' pictures, and give them in the order of their levels.

    Args:
        folder: must exist.
        chosen: ids of the demo's samples.
    """
    samples = {sample.id: sample for sample in demo_samples()}
    return [_write(samples[name], folder / f"{number:02d}") for number, name in enumerate(chosen) if name in samples]


def _write(sample: ConceptSample, folder: Path) -> Example:
    folder.mkdir()
    loaded = load_sample(sample)
    stem = "-".join(sample.concept.split())
    references = []
    for number, one in enumerate(loaded.references, start=1):
        image = _save(one.image, folder / f"{stem}-reference-{number}.png")
        references.append((image, None if one.mask is None else _save_mask(one.mask, image)))
    image = _save(loaded.image, folder / f"{stem}.png")
    return Example(sample.concept, sample.level.value, image, tuple(references))


def _save(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


def _save_mask(mask: np.ndarray, image: Path) -> Path:
    return _save(Image.fromarray(mask.astype(np.uint8) * 255), image.with_suffix(".mask.png"))
