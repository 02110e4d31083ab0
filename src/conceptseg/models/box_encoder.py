"""SAM 3's box prompts without torchvision: its box encoder, pooling with `roi_align` of this package."""

from __future__ import annotations

from types import MethodType
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy

from conceptseg.models.roi_align import roi_align

__all__ = ["pool_without_torchvision"]


def pool_without_torchvision(encoder: Any) -> None:
    """Replace the one step of a box encoder that calls torchvision; weights and results stay what they are.

    The same step is used where torchvision is installed, so that a mask does not depend on it.
    """
    encoder._encode_boxes = MethodType(_encode_boxes, encoder)


def _encode_boxes(
    encoder: Any,
    boxes: Float[Tensor, "batch boxes 4"],
    boxes_mask: Bool[Tensor, "batch boxes"],
    boxes_labels: Int[Tensor, "batch boxes"],
    vision_features: Float[Tensor, "batch width rows columns"],
) -> tuple[Float[Tensor, "batch boxes width"], Bool[Tensor, "batch boxes"]]:
    """A token a box: its numbers, the features inside it, its place, its label, added up.

    `boxes` are (centre x, centre y, width, height) in fractions of the image.
    """
    rows, columns = vision_features.shape[-2:]
    cells = box_cxcywh_to_xyxy(boxes) * boxes.new_tensor([columns, rows, columns, rows])
    pooled = encoder.boxes_pool_project(roi_align(vision_features, cells, encoder.roi_size))
    places = encoder._encode_box_coordinates(*boxes.flatten(0, 1).unbind(-1))
    tokens = (
        encoder.boxes_direct_project(boxes)
        + pooled.view(*boxes.shape[:2], -1)
        + encoder.boxes_pos_enc_project(places).view(*boxes.shape[:2], -1)
        + encoder.label_embed(boxes_labels.long())
    )
    return tokens, boxes_mask
