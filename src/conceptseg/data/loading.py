"""From sources to pixels: the one definition of what a sample and a reference look like once loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import ImageError, SampleError
from conceptseg.geometry import BoxXYXY, box_area, box_from_mask, clip_box, fill_box
from conceptseg.images import MaskReading, read_image, read_mask
from conceptseg.protocol import Mosaic, build_mosaic

__all__ = [
    "LoadedReference",
    "LoadedSample",
    "lay_out",
    "load_reference",
    "load_sample",
    "marked_region",
    "mask_with_ignore",
]


@dataclass(frozen=True, eq=False)
class LoadedReference:
    """A reference in memory."""

    image: Image.Image
    """The picture, RGB, upright."""
    mask: Bool[np.ndarray, "h w"] | None
    """The target's mask at the picture's size, where the reference has one."""
    box: BoxXYXY | None
    """The reference's own box, cut to the picture, else its mask's; None with neither, or an empty mask."""
    notes: tuple[str, ...] = ()
    """What was guessed, scaled or left out in reading picture and mask."""
    unlike: bool = False
    """Whether the mark is on what the concept is not."""
    ignore: Bool[np.ndarray, "h w"] | None = None
    """Where the mask says neither target nor background; None where it is plain everywhere."""

    @property
    def region(self) -> Bool[np.ndarray, "h w"] | None:
        """What is marked: the mask, or all of the box where there is no mask; None where nothing is."""
        return marked_region(self.image, self.mask, self.box)

    def as_reference(self) -> Reference:
        """The same, to be shown to a model again."""
        mask = mask_with_ignore(self.mask, self.ignore)
        return Reference(self.image, mask=mask, box=self.box, unlike=self.unlike and self.box is not None)


@dataclass(frozen=True, eq=False)
class LoadedSample:
    """A sample's pixels in memory; its words stay in the `ConceptSample`."""

    image: Image.Image
    """The target picture, RGB, upright."""
    mask: Bool[np.ndarray, "h w"] | None
    """The true mask at the picture's size, where known."""
    ignore: Bool[np.ndarray, "h w"] | None
    """Pixels that no score may count, where there is a mask."""
    references: tuple[LoadedReference, ...]
    """The references in order."""
    notes: tuple[str, ...] = ()
    """What was guessed, scaled or left out in reading the target's picture and mask."""


def marked_region(
    image: Image.Image, mask: Bool[np.ndarray, "h w"] | None, box: BoxXYXY | None
) -> Bool[np.ndarray, "h w"] | None:
    """What is marked in a picture: its mask, or all of its box where the mask marks nothing; None where nothing is."""
    if mask is not None and mask.any():
        return mask
    return None if box is None else fill_box(box, (image.height, image.width))


def mask_with_ignore(
    mask: Bool[np.ndarray, "h w"] | None, ignore: Bool[np.ndarray, "h w"] | None
) -> Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"] | None:
    """A mask as `Reference` takes it: booleans, or levels where some pixels are not judged."""
    return mask if mask is None or ignore is None else MaskReading(mask, ignore).levels()


def load_reference(reference: Reference) -> LoadedReference:
    """Read a reference's picture and mark.

    Raises:
        ImageError: a source cannot be read, or picture and mask differ in size.
        SampleError: the box lies outside the picture, or is in fractions of it rather than in pixels.
    """
    image, notes = (read := read_image(reference.image)).image, read.notes
    size_hw = (image.height, image.width)
    mask, ignore = None, None
    if reference.mask is not None:
        reading = read_mask(reference.mask, size_hw, label=reference.label, ignore=reference.ignore)
        mask, notes = reading.target, notes + reading.notes
        ignore = reading.ignore if reading.ignore.any() else None
    if reference.box is None:
        own = None if mask is None else box_from_mask(mask)
        return LoadedReference(image, mask, own, notes, reference.unlike, ignore)
    box = clip_box(reference.box, size_hw)
    if max(reference.box) <= 1 and min(reference.box) >= 0 and max(size_hw) > 1:
        width, height = image.size
        pixels = tuple(round(value * side, 1) for value, side in zip(reference.box, (width, height) * 2, strict=True))
        raise SampleError(
            f"The box {reference.box} is a speck in its picture of {width}×{height} pixels (width × height). "
            f"Boxes are in pixels: fractions of the picture would be {pixels}."
        )
    if box_area(box) == 0:
        raise SampleError(
            f"The box {reference.box} lies outside its picture of {image.width}×{image.height} pixels (width × height)."
        )
    return LoadedReference(image, mask, box, notes, reference.unlike, ignore)


def lay_out(
    references: Sequence[LoadedReference], *, canvas_px: int, proxy: bool = True, show_masks: bool = False
) -> Mosaic:
    """References as one picture; those of what the concept is not come last, whatever their place.

    Args:
        references: at least one.
        canvas_px: as for `conceptseg.protocol.build_mosaic`.
        proxy: whether the first one's mark may be withheld.
        show_masks: tint what masks cover, beside the boxes.

    Raises:
        InputError: there are none, or as for `conceptseg.protocol.build_mosaic`.
    """
    ordered = sorted(references, key=lambda one: one.unlike)
    unlike = [place for place, one in enumerate(ordered) if one.unlike]
    boxes = [one.box for one in ordered]
    images, masks = [one.image for one in ordered], [one.mask for one in ordered] if show_masks else ()
    return build_mosaic(images, boxes, canvas_px=canvas_px, proxy=proxy, unlike=unlike, masks=masks)


def load_sample(sample: ConceptSample) -> LoadedSample:
    """Read all pictures and masks of a sample.

    Raises:
        ImageError: a source cannot be read, or a picture and its mask differ in size; the message names the sample.
        SampleError: a reference's box lies outside its picture.
    """
    try:
        image, notes = (read := read_image(sample.image)).image, read.notes
        mask, ignore = None, None
        if sample.mask is not None:
            reading = read_mask(sample.mask, (image.height, image.width))
            mask, ignore, notes = reading.target, reading.ignore, notes + reading.notes
        references = tuple(load_reference(reference) for reference in sample.references)
        return LoadedSample(image, mask, ignore, references, notes)
    except (ImageError, SampleError) as error:
        raise type(error)(f"Sample {sample.id!r}: {error}") from error
