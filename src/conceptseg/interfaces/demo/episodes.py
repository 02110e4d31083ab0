"""What the demo asks, and one question asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from conceptseg.data import ConceptSample, LoadedSample, load_sample, read_samples
from conceptseg.data.world import TRAINED_TASKS, ConceptWorld
from conceptseg.inference import ConceptSegmenter, SegmentationResult
from conceptseg.interfaces.mosaics import draw_mosaic
from conceptseg.metrics import score
from conceptseg.protocol import Mosaic

__all__ = ["FAILED", "Episode", "arrange", "demo_samples", "run_episode"]

_PICTURES = Path(__file__).resolve().parents[2] / "assets" / "demo"
_WORLD_SEED = 2026
FAILED = "Where it fails"
"""The section of what came out worse than half right."""

_SECTIONS = (
    "Photographs, with references",
    "Photographs, by name alone",
    "Made scenes: things known by their looks (CI)",
    "Made scenes: things known by their surroundings (CD)",
    "Made scenes: things known by a rule that the references carry (CR)",
    FAILED,
)
_HALF_RIGHT = 0.5
_SHOWS = {
    "living": "An animal asked for by its name.",
    "artifact": "A thing asked for by its name.",
    "fine_grained": "One of several kinds that differ in detail.",
    "ultra_rare": "A thing that hardly any picture shows.",
    "transparency": "A pane of glass: seen by how it bends what is behind it.",
    "shadow": "A cast shadow: known by what it falls on.",
    "camouflage": "A thing covered with the texture around it.",
    "saliency": "The thing that stands out, whatever it is: the references say only that it does.",
    "industrial_anomaly": "A fault in a regular surface.",
    "polyp_lesion": "A polyp on glossy tissue.",
    "breast_lesion": "A tumour in ultrasound.",
    "skin_lesion": "A lesion under a dermoscope.",
    "common_consistency": "What the references have in common, found in a further picture.",
    "correspondence_consistency": "The same part of another individual.",
    "reference_consistency": "The very thing that the references show.",
    "static_difference": "What changed between pictures of one scene.",
    "view_difference": "What changed although the view moved, too.",
    "logical_rationality": "The thing that serves a need.",
    "cross_view": "The same thing from another side.",
    "cross_frame": "The same thing later.",
}
"""Task → what a question of it shows."""

_LEVELS = ("CI", "CD", "CR")
_ENLARGED_PX = 336


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
    def section(self) -> str:
        """Under which heading it belongs."""
        if self.result.error or (self.iou is not None and self.iou < _HALF_RIGHT):
            return FAILED
        if self.kind == "photographs":
            return _SECTIONS[0 if self.loaded.references else 1]
        return _SECTIONS[2 + _LEVELS.index(self.sample.level.value)]

    @property
    def shows(self) -> str:
        """What the question is about, in a sentence."""
        return str(self.sample.extra.get("shows") or _SHOWS.get(self.sample.task, ""))

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
        check = self.result.response.check if self.result.response else None
        return draw_mosaic(self.mosaic, check, _ENLARGED_PX)


def demo_samples() -> list[ConceptSample]:
    """The bundled photographs and one ConceptWorld scene a task, of a split that no training sees, by level."""
    world = ConceptWorld(split="seen_test", seed=_WORLD_SEED)
    samples = [*read_samples(_PICTURES), *(world.sample(task, 0) for task in world.tasks)]
    return sorted(samples, key=lambda sample: _LEVELS.index(sample.level.value))


def arrange(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes by section: what it is for first, what it does not do last."""
    return sorted(episodes, key=lambda episode: _SECTIONS.index(episode.section))


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
        replace(given, image=entry.image, mask=entry.mask, label=None, ignore=None)
        for entry, given in zip(loaded.references, sample.references, strict=True)
    ]
    result = segmenter(loaded.image, sample.concept, references, route=route)
    return Episode(sample, loaded, segmenter.build_mosaic(references), result)


def _tinted(result: SegmentationResult, image: Image.Image, mask: np.ndarray) -> Image.Image:
    return replace(result, image=image, mask=mask, box=None).overlay()
