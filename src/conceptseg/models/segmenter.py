"""SAM 3 behind three verbs: encode an image once, embed a text, decode a mask from any prompt tokens.

transformers' `Sam3Model` is used unmodified. Preprocessing is a resize and a normalisation, done here, because
`Sam3ImageProcessor` needs torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from conceptseg.errors import InputError
from conceptseg.images import resize_image

__all__ = ["ImageFeatures", "PromptSegmenter", "PromptTokens", "SegmentationLogits", "upsample_logits"]

_PIXEL_MEAN = 0.5
_PIXEL_STD = 0.5


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What SAM 3 keeps of a batch of images; computed once, used by router and decoder."""

    vision: Sam3VisionEncoderOutput

    def __len__(self) -> int:
        return len(self.vision.fpn_hidden_states[0])

    def select(self, indices: Sequence[int]) -> ImageFeatures:
        """The features of some of the images, in the order given."""
        rows = torch.as_tensor(list(indices), dtype=torch.long, device=self.vision.fpn_hidden_states[0].device)
        return ImageFeatures(
            Sam3VisionEncoderOutput(
                fpn_hidden_states=tuple(level[rows] for level in self.vision.fpn_hidden_states),
                # The position encoding may be stored once for the whole batch.
                fpn_position_encoding=tuple(
                    level if len(level) == 1 else level[rows] for level in self.vision.fpn_position_encoding
                ),
            )
        )


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Tokens in SAM 3's prompt space, padded to one length."""

    embeds: Float[Tensor, "batch tokens prompt"]
    mask: Bool[Tensor, "batch tokens"]

    def prepend(self, tokens: Float[Tensor, "batch more prompt"]) -> PromptTokens:
        """P = [Z ; E_text] of Eq. 4: these tokens with others (all of them valid) before them."""
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return replace(self, embeds=torch.cat([tokens, self.embeds], dim=1), mask=torch.cat([valid, self.mask], dim=1))


@dataclass(frozen=True, eq=False)
class SegmentationLogits:
    """SAM 3's answer to a batch of prompts."""

    semantic: Float[Tensor, "batch height width"]
    """Logits of the semantic head at the mask decoder's resolution; the mask is where they exceed 0."""
    presence: Float[Tensor, " batch"]
    """Logits that the concept is in the image at all."""


class PromptSegmenter(nn.Module):
    """SAM 3 as a function of prompt tokens."""

    def __init__(self, sam: Sam3Model, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.sam = sam
        self.tokenizer = tokenizer

    @property
    def image_px(self) -> int:
        """Side of the square that images are stretched to before encoding (1008 at full size)."""
        size = self.sam.config.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def prompt_size(self) -> int:
        """Width of the prompt space."""
        return int(self.sam.config.detr_encoder_config.hidden_size)

    @property
    def max_text_tokens(self) -> int:
        """Longest text the text encoder takes, in tokens, start and end included (32 at full size)."""
        return int(self.sam.config.text_config.max_position_embeddings)

    def preprocess(self, images: Sequence[Image.Image]) -> Float[Tensor, "batch 3 side side"]:
        """Images of any size as SAM 3's input: stretched to a square, scaled to [-1, 1]."""
        side = self.image_px
        stacked = np.stack([np.asarray(resize_image(image, (side, side)), dtype=np.float32) for image in images])
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255.0
        return ((pixels - _PIXEL_MEAN) / _PIXEL_STD).to(self.sam.device)

    def encode(self, pixel_values: Float[Tensor, "batch 3 side side"]) -> ImageFeatures:
        """Image features; the only time the vision encoder runs for these images."""
        return ImageFeatures(self.sam.get_vision_features(pixel_values=pixel_values))

    def embed_text(self, texts: Sequence[str]) -> PromptTokens:
        """E_text of Eq. 4. Texts beyond `max_text_tokens` lose their end: the text encoder has no positions for it.

        Raises:
            InputError: no text was given, or one is blank.
        """
        if not texts or any(not text.strip() for text in texts):
            raise InputError(f"SAM 3 needs a non-empty text for every image, got {list(texts)!r}.")
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
        ).to(self.sam.device)
        features = self.sam.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return PromptTokens(features.pooler_output, tokens.attention_mask.bool())

    def decode(self, features: ImageFeatures, prompt: PromptTokens) -> SegmentationLogits:
        """One mask an image from one row of prompt tokens an image.

        Raises:
            InputError: the numbers of images and prompts differ.
        """
        if len(features) != len(prompt.embeds):
            raise InputError(
                f"Expected one prompt per image, got {len(prompt.embeds)} prompts, {len(features)} images."
            )
        output = self.sam(
            vision_embeds=features.vision,
            text_embeds=BaseModelOutputWithPooling(pooler_output=prompt.embeds),
            attention_mask=prompt.mask.long(),
        )
        return SegmentationLogits(output.semantic_seg.squeeze(1), output.presence_logits.squeeze(-1))


def upsample_logits(
    logits: Float[Tensor, "height width"], size_hw: tuple[int, int]
) -> Float[Tensor, "full_height full_width"]:
    """Mask logits brought to an image's own size (bilinear), before thresholding at 0."""
    return F.interpolate(logits[None, None].float(), size=size_hw, mode="bilinear", align_corners=False)[0, 0]
