"""What makes a sample unusable to learn from or to show."""

from __future__ import annotations

from collections.abc import Iterator

from conceptseg.data.loading import load_reference, load_sample
from conceptseg.data.references import is_same_picture
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ImageError, InputError, SampleError
from conceptseg.geometry import clip_box

__all__ = ["why_unusable"]


def why_unusable(sample: ConceptSample) -> str | None:
    """What is wrong with a sample, or None.

    Looked at are: pictures and masks that cannot be read or differ in size, no mask, an empty mask, a reference's box
    that leaves its picture, an empty reference mask, and a reference that is the target itself.
    """
    try:
        loaded = load_sample(sample)
        if loaded.mask is None:
            return "it has no mask"
        if not loaded.mask.any():
            return "; ".join(["its mask is empty", *loaded.notes])
        return next(_reference_faults(sample), None)
    except (ImageError, SampleError, InputError) as error:
        return str(error)


def _reference_faults(sample: ConceptSample) -> Iterator[str]:
    for number, reference in enumerate(sample.references):
        if is_same_picture(reference.image, sample.image):
            yield f"reference {number} is the target itself"
        loaded = load_reference(reference)
        if loaded.mask is not None and not loaded.mask.any():
            yield f"reference {number} has an empty mask"
        size_hw = (loaded.image.height, loaded.image.width)
        if reference.box is not None and clip_box(reference.box, size_hw) != tuple(reference.box):
            yield (
                f"reference {number}: the box {reference.box} reaches outside its picture of "
                f"{loaded.image.width}×{loaded.image.height} pixels (width × height)"
            )
