"""Stage (a), second half: SAM 3-nano's box prompts, so that "MLLM + box" is a rival and not a straw man.

SAM 3 takes a box around an example of the concept through an encoder of its own. It learns here, alone: the trained
segmenter it speaks to stays as it is, and with it every other kind of prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from conceptseg.geometry import BoxXYXY, scale_box
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.training.losses import segmentation_loss, shrink_truth
from conceptseg.training.nano.dense import batch_iou
from conceptseg.training.nano.segmenter_stage import SegmenterData, rough_box

__all__ = ["BoxData", "BoxItem", "BoxLearner"]


@dataclass(frozen=True, eq=False)
class BoxItem:
    """A picture with something in it, its words, and a box that is off by as much as an MLLM's."""

    image: UInt8[np.ndarray, "h w 3"]
    text: str
    box: BoxXYXY
    """In fractions of the picture."""
    mask: Bool[np.ndarray, "h w"]


class BoxData(Dataset[BoxItem]):
    """The segmenter's pictures, each with a box around what its first question asks for."""

    def __init__(self, pictures: SegmenterData) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> BoxItem:
        item = self.pictures[index]
        rng = np.random.default_rng([self.pictures.seed, 4, index])
        words = item.texts[0].rpartition("]")[2].strip()
        mask = item.masks[0]
        box = scale_box(rough_box(mask, rng), (mask.shape[0], mask.shape[1]), (1, 1))
        return BoxItem(item.image, words or "object", box, mask)


class BoxLearner(nn.Module):
    """The box encoder as a trainable module, with the frozen rest at hand."""

    def __init__(self, segmenter: PromptSegmenter) -> None:
        super().__init__()
        segmenter.sam.eval().requires_grad_(False)
        self.box_encoder = segmenter.sam.geometry_encoder
        self.requires_grad_(True)
        self._segmenter = [segmenter]  # in a list, so that the frozen parts are not registered

    def loss(self, items: Sequence[BoxItem]) -> tuple[Tensor, dict[str, float], int]:
        """L_seg (Eq. 5, with cross-entropy for its focal half) of a batch through the frozen segmenter."""
        segmenter = self._segmenter[0]
        with torch.no_grad():
            features = segmenter.encode(segmenter.preprocess([Image.fromarray(item.image) for item in items]))
        logits = segmenter.decode_box(features, [item.box for item in items], [item.text for item in items])
        semantic = logits.semantic.float()
        masks = torch.stack([torch.from_numpy(item.mask).float() for item in items]).to(semantic.device)
        truth = shrink_truth(masks, (semantic.shape[-2], semantic.shape[-1]))
        iou = batch_iou(semantic.detach() > 0, truth > 0.5).mean()
        return segmentation_loss(semantic, truth, pixel_loss="bce").mean(), {"iou_box": float(iou)}, len(items)
