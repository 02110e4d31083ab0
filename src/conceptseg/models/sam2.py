"""SAM 2 for single pictures, on transformers' `Sam2Model`: LENS, Seg-Zero and VisionReasoner draw with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import Sam2Config, Sam2Model

from conceptseg.errors import CheckpointError
from conceptseg.geometry import BoxXYXY, scale_box
from conceptseg.images import resize_image
from conceptseg.models.config import CONFIG_FILE, read_json
from conceptseg.models.hub import Hub, Source, require_access, resolve
from conceptseg.models.sharding import whole_weights
from conceptseg.models.tensor_files import read_headers

__all__ = ["draw_with_sam2", "load_sam2", "pixels_for_sam2"]

_PIXEL_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_PIXEL_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
_KINDS = ("sam2", "sam2_video")  # the second as on the hub: the same, and a memory for videos beside it
_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
_LISTED = 12


@whole_weights()
def load_sam2(source: str, *, device: torch.device, hub: Hub | None = None) -> Sam2Model:
    """A SAM 2 from a folder or hub id, e.g. `facebook/sam2.1-hiera-large`; of a video checkpoint what pictures need.

    Args:
        source: in transformers' form.
        device: where to.
        hub: where to ask for repositories.

    Raises:
        CheckpointError: it is another architecture, or tensors are missing, left over or of another shape.
        HubAccessError: the repository cannot be had.
    """
    place = Source(source, "SAM 2", "--option sam2")
    require_access([place], hub=hub)
    folder = resolve(place, hub=hub)
    raw = read_json(folder / CONFIG_FILE)
    if raw.get("model_type") not in _KINDS:
        raise CheckpointError(f"{folder} is not SAM 2 but {raw.get('model_type') or 'of an unnamed type'!r}.")
    read_headers(folder)  # says what is missing or damaged
    config = Sam2Config.from_dict({part: raw[part] for part in _PARTS if part in raw})
    loaded: Any = Sam2Model.from_pretrained(folder, config=config, dtype=torch.float32, output_loading_info=True)
    sam2, report = loaded
    wrong = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"], *report["unexpected_keys"])))
    if wrong:
        raise CheckpointError(
            f"{folder}: {len(wrong)} tensors are missing, not expected or of another shape: "
            f"{', '.join(wrong[:_LISTED])}."
        )
    return sam2.to(device).eval()


def pixels_for_sam2(sam2: Sam2Model, pictures: Sequence[Image.Image]) -> Float[Tensor, "batch 3 side side"]:
    """Pictures of any size as SAM 2's input: stretched to its square, colours normalised as ImageNet's are."""
    vision: Any = sam2.config.vision_config
    size = vision.backbone_config.image_size
    height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
    stacked = np.stack([np.asarray(resize_image(p, (height, width)), dtype=np.float32) for p in pictures])
    return ((torch.from_numpy(stacked).permute(0, 3, 1, 2) - _PIXEL_MEAN) / _PIXEL_STD).to(sam2.device)


@torch.no_grad()
def draw_with_sam2(
    sam2: Sam2Model, features: list[Tensor], box_xyxy: BoxXYXY, points_xy: Sequence[tuple[float, float]]
) -> Float[Tensor, "height width"]:
    """Mask logits of the one object that a box and points in it mean: of SAM 2's three masks the one it scores best.

    Args:
        sam2: the model.
        features: of one picture, from `Sam2Model.get_image_embeddings`.
        box_xyxy: in fractions of the picture.
        points_xy: likewise; all of them lie on the object.
    """
    encoder: Any = sam2.prompt_encoder
    side = float(encoder.input_image_size)
    prompt: dict[str, Tensor] = {
        "input_boxes": torch.tensor([[scale_box(box_xyxy, (1, 1), (side, side))]], device=sam2.device)
    }
    if points_xy:
        prompt["input_points"] = torch.tensor([[points_xy]], device=sam2.device) * side
    output = sam2(image_embeddings=features, multimask_output=True, **prompt)
    return output.pred_masks[0, 0, int(output.iou_scores[0, 0].argmax())]
