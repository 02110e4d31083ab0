"""Episodes to learn from: prompt, ideal response, and what every image token should see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from torch.utils.data import Dataset

from conceptseg.data.loading import LoadedReference, lay_out, load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.geometry import BoxXYXY, box_from_mask, scale_box
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from conceptseg.protocol import Mosaic
from nano.dense import centres, coverage
from nano.mixture import Mixture
from nano.wording import ideal_response

__all__ = ["Episode", "EpisodeData", "make_episode"]

_MASKS_SHOWN = 0.5
"""In so many episodes the mosaic shows the references' masks, not their boxes alone: nano is to read both."""


@dataclass(frozen=True, eq=False)
class Episode:
    """A prompt, its ideal response, and what each image token should see."""

    sample: ConceptSample
    prompt: Prompt
    response: str
    mask: Bool[np.ndarray, "h w"]
    boxes: Float[np.ndarray, "2 4"]
    """The target's box and the proxy's, as shares of the frame; NaN where there is none."""
    coverage: tuple[Float[np.ndarray, "patches patches"], ...]
    """One an image (mosaic, target): the share of each patch that is target."""
    extents: tuple[Float[np.ndarray, "patches patches 4"], ...]
    """One an image: the box, as shares of the frame, of the target that lies in each patch's picture."""
    withheld: Bool[np.ndarray, "patches patches"]
    """The patches of the mosaic that show the proxy, whose box is not given; none without a mosaic."""
    image: Image.Image
    """The target at its own size."""
    references: tuple[LoadedReference, ...]
    """Those that are shown."""
    places: Float[np.ndarray, "patches patches 2"] | None
    """Where in its own reference each patch of the mosaic lies: x and y as shares of it, NaN where there is none; None
    without a mosaic."""


class EpisodeData(Dataset[Episode]):
    """Endless, seeded episodes; references vary in number, now and then there are none.

    Args:
        model: whose prompts the episodes hold.
        world: the made samples.
        seed: another seed gives other episodes.
        beside: what else is shown; nothing unless given.
    """

    def __init__(
        self, model: ConceptSegModel, world: ConceptWorld, *, seed: int, beside: Mixture | None = None
    ) -> None:
        self.build_prompt = model.build_prompt
        self.frame_px = model.config.protocol.frame_px
        self.patches = self.frame_px // model.reasoner.processor.image_processor.patch_size
        self.world = world
        self.seed = seed
        self.beside = beside

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> Episode:
        rng = np.random.default_rng([self.seed, 2, index])
        sample = self._sample(rng, index)
        available = len(sample.references)
        count = available
        if rng.random() < 0.3:
            count = int(rng.integers(min(available, 1 if sample.level == "CR" else 0), available + 1))
        return make_episode(self, sample, count, show_masks=bool(rng.random() < _MASKS_SHOWN))

    def _sample(self, rng: np.random.Generator, index: int) -> ConceptSample:
        source = self.beside.draw(rng) if self.beside else None
        if source is not None:
            return source.sample(rng)
        return self.world.sample(self.world.tasks[rng.integers(len(self.world.tasks))], index)


def make_episode(data: EpisodeData, sample: ConceptSample, references: int, *, show_masks: bool = False) -> Episode:
    """The episode of a sample with its first `references` references, marked by boxes, or by masks beside them."""
    loaded = load_sample(sample)
    mask = np.asarray(loaded.mask)
    used = loaded.references[:references]
    mosaic = None
    if used:
        mosaic = lay_out(used, canvas_px=data.frame_px, show_masks=show_masks)
    prompt = data.build_prompt(sample.concept, loaded.image, mosaic)
    frame_hw = (data.frame_px, data.frame_px)
    box = box_from_mask(mask)
    box = scale_box(box, (mask.shape[0], mask.shape[1]), frame_hw) if box else None
    check = mosaic.boxes_xyxy[mosaic.proxy_index] if mosaic and mosaic.proxy_index is not None else None
    shares = [coverage(mask, data.patches)]
    extents = [_extent(box, data.frame_px, data.patches)]
    if mosaic:
        shares.insert(0, _mosaic_coverage([r.mask for r in used], mosaic, data.patches))
        extents.insert(0, _mosaic_extents(mosaic, data.patches))
    nowhere = (float("nan"),) * 4
    boxes = np.array([box or nowhere, check or nowhere], dtype=np.float32) / data.frame_px
    response = ideal_response(sample, box, check, data.frame_px)
    withheld = np.zeros((data.patches, data.patches), dtype=bool)
    if mosaic and mosaic.proxy_index is not None:
        withheld[_cell_of(mosaic, mosaic.proxy_index, data.patches)] = True
    places = _places(mosaic, data.patches) if mosaic else None
    return Episode(
        sample, prompt, response, mask, boxes, tuple(shares), tuple(extents), withheld, loaded.image, used, places
    )


def _cell_of(mosaic: Mosaic, index: int, patches: int) -> tuple[slice, slice]:
    """Rows and columns of the patches that show a reference."""
    left, top, right, bottom = mosaic.cell(index, patches)
    return slice(top, bottom), slice(left, right)


def _places(mosaic: Mosaic, patches: int) -> Float[np.ndarray, "patches patches 2"]:
    places = np.full((patches, patches, 2), np.nan, dtype=np.float32)
    for index in range(len(mosaic.boxes_xyxy)):
        rows, columns = _cell_of(mosaic, index, patches)
        places[rows, columns] = centres(rows.stop - rows.start, columns.stop - columns.start)
    return places


def _extent(box_xyxy: BoxXYXY | None, frame_px: int, patches: int) -> Float[np.ndarray, "patches patches 4"]:
    box = np.array(box_xyxy or (0, 0, frame_px, frame_px), dtype=np.float32) / frame_px
    return np.broadcast_to(box, (patches, patches, 4)).copy()


def _mosaic_extents(mosaic: Mosaic, patches: int) -> Float[np.ndarray, "patches patches 4"]:
    extents = np.zeros((patches, patches, 4), dtype=np.float32)
    for index, box in enumerate(mosaic.boxes_xyxy):
        extents[_cell_of(mosaic, index, patches)] = np.array(box or (0, 0, 0, 0), dtype=np.float32) / mosaic.canvas_px
    return extents


def _mosaic_coverage(masks: Sequence[Any], mosaic: Mosaic, patches: int) -> Float[np.ndarray, "patches patches"]:
    canvas = np.zeros((patches, patches), dtype=np.float32)
    for index, mask in enumerate(masks):
        rows, columns = _cell_of(mosaic, index, patches)
        if mask is not None:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            canvas[rows, columns] = coverage(mask, height)[:, :width]
    return canvas
