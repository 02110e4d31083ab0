"""What the demo asks, and one question asked and answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.data import ConceptSample, LoadedSample, Reference, load_sample, read_samples
from conceptseg.data.world import TRAINED_TASKS, ConceptWorld
from conceptseg.geometry import BoxXYXY
from conceptseg.inference import ConceptSegmenter, SegmentationResult
from conceptseg.metrics import score
from conceptseg.protocol import Mosaic

__all__ = ["Episode", "demo_samples", "run_episode"]

_PICTURES = Path(__file__).resolve().parents[2] / "assets" / "demo"
_WORLD_SEED = 2026
_ENLARGED_PX = 336
_TRUE_COLOUR = (0, 170, 0)
_CHECK_COLOUR = (255, 170, 0)


@dataclass(frozen=True, eq=False)
class Episode:
    """One sample, what the model was shown of it, and what it made of it."""

    sample: ConceptSample
    loaded: LoadedSample
    mosaic: Mosaic | None
    """The references as the model sees them; None without any."""
    result: SegmentationResult

    @property
    def iou(self) -> float | None:
        """IoU (0…1) of the mask with the true mask; None where no truth is known."""
        if self.loaded.mask is None or self.result.mask is None:
            return None
        return score(self.result.mask, self.loaded.mask)["iou"]

    @property
    def kind(self) -> str:
        """Where the sample comes from, as a plural: photographs, or scenes of tasks that nano has trained on or not."""
        if not self.sample.id.startswith("world/"):
            return "photographs"
        return "scenes of trained tasks" if self.sample.task in TRAINED_TASKS else "scenes of tasks never trained on"

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return sum(self.result.timings.values())

    def draw_truth(self) -> Image.Image:
        """The picture with the true mask tinted; the bare picture where no truth is known."""
        if self.loaded.mask is None:
            return self.loaded.image
        return _tinted(self.result, self.loaded.image, self.loaded.mask)

    def draw_references(self) -> list[Image.Image]:
        """Each reference with its mask tinted."""
        return [
            entry.image if entry.mask is None else _tinted(self.result, entry.image, entry.mask)
            for entry in self.loaded.references
        ]

    def draw_mosaic(self) -> Image.Image | None:
        """The mosaic enlarged, with the withheld box (green) and the response's check (orange) on it."""
        if self.mosaic is None:
            return None
        factor = _ENLARGED_PX / self.mosaic.canvas_px
        picture = self.mosaic.image.resize((_ENLARGED_PX, _ENLARGED_PX))
        if self.mosaic.proxy_index is not None:
            _draw_box(picture, self.mosaic.boxes_xyxy[self.mosaic.proxy_index], factor, _TRUE_COLOUR)
        _draw_box(picture, self.result.response.check if self.result.response else None, factor, _CHECK_COLOUR)
        return picture


def demo_samples() -> list[ConceptSample]:
    """The bundled photographs and one ConceptWorld scene a task, of a split that no training sees, by level."""
    world = ConceptWorld(split="seen_test", seed=_WORLD_SEED)
    samples = [*read_samples(_PICTURES), *(world.sample(task, 0) for task in world.tasks)]
    levels = ("CI", "CD", "CR")
    return sorted(samples, key=lambda sample: levels.index(sample.level.value))


def run_episode(segmenter: ConceptSegmenter, sample: ConceptSample, *, route: str = "auto") -> Episode:
    """Ask the segmenter one sample's question.

    Args:
        segmenter: the model.
        sample: the question.
        route: as for `ConceptSegmenter`.

    Raises:
        ImageError: a picture of the sample cannot be read.
    """
    loaded = load_sample(sample)
    references = [
        Reference(entry.image, entry.mask, given.box)
        for entry, given in zip(loaded.references, sample.references, strict=True)
    ]
    result = segmenter(loaded.image, sample.concept, references, route=route)
    return Episode(sample, loaded, segmenter.build_mosaic(references), result)


def _tinted(result: SegmentationResult, image: Image.Image, mask: np.ndarray) -> Image.Image:
    return replace(result, image=image, mask=mask, box=None).overlay()


def _draw_box(picture: Image.Image, box: BoxXYXY | None, factor: float, colour: tuple[int, int, int]) -> None:
    if box is not None:
        ImageDraw.Draw(picture).rectangle([value * factor for value in box], outline=colour, width=3)
