"""What SAM 3 sees of targets in training: the same as at inference, what the references mark included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from conceptseg.data.loading import load_reference
from conceptseg.data.samples import Reference
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import ImageFeatures
from conceptseg.training.episodes import Episode

__all__ = ["encode_beside", "encode_episodes"]


@torch.no_grad()
def encode_beside(
    model: ConceptSegModel, images: Sequence[Image.Image], references: Sequence[Sequence[Reference]]
) -> ImageFeatures:
    """Features of targets, each told what its references mark where the model has a prior; else these are not read.

    Args:
        model: its segmenter looks.
        images: targets.
        references: of each.

    Raises:
        ImageError: a reference cannot be read.
    """
    segmenter = model.segmenter
    if not model.has_prior:
        return segmenter.encode(segmenter.preprocess(images))
    seen = [model.see_references([load_reference(reference) for reference in those]) for those in references]
    return segmenter.encode_beside(images, seen)


def encode_episodes(model: ConceptSegModel, episodes: Sequence[Episode]) -> ImageFeatures:
    """Features of episodes' targets, beside the references that they are shown with."""
    return encode_beside(model, [episode.image for episode in episodes], [episode.references for episode in episodes])
