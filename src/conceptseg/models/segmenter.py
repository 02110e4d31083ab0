"""SAM 3 behind three verbs: encode an image once, embed a text (or a box), decode a mask from any prompt tokens.

transformers' `Sam3Model` is used with its weights and methods; only the pooling of box prompts is ours. Preprocessing
is a resize and a normalisation, done here, because `Sam3ImageProcessor` needs torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Sam3Config
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY
from conceptseg.images import resize_image
from conceptseg.models.box_encoder import pool_without_torchvision
from conceptseg.models.eyes import COMPARED, Eyes
from conceptseg.models.locks import SharedLock
from conceptseg.models.matching import Evidence, SeenReferences, Sight, cover_cells
from conceptseg.models.prior import ReferencePrior
from conceptseg.models.processing import as_plain_text, knows_capitals, tokenize
from conceptseg.models.sam_files import SamModel
from conceptseg.words import tidy_words, usable_words

__all__ = [
    "Glance",
    "ImageFeatures",
    "Instances",
    "PromptSegmenter",
    "PromptTokens",
    "SegmentationLogits",
    "upsample_logits",
]

_PIXEL_MEAN = 0.5
_PIXEL_STD = 0.5
_LITE_TEXT_TOKENS = 32  # as transformers' processor of SAM 3 pads


@dataclass(frozen=True, eq=False)
class Glance:
    """What the vision backbone sees of a batch of images, before SAM 3's neck; all that is costly about an image."""

    tokens: Float[Tensor, "batch cells channels"]
    sight: Sight
    """The same for comparing places of one image with those of another."""

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, indices: Sequence[int]) -> Glance:
        """Some of the images, in the order given."""
        rows = torch.as_tensor(list(indices), dtype=torch.long, device=self.tokens.device)
        return Glance(self.tokens[rows], self.sight.select(indices))


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What SAM 3 keeps of a batch of images; computed once, used by router and decoder."""

    vision: Sam3VisionEncoderOutput
    vote: Float[Tensor, "batch rows columns"] | None = None
    """What the reference prior adds to mask logits, on its own grid; None without one, or without references."""

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
            ),
            None if self.vote is None else self.vote[rows],
        )


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Tokens in SAM 3's prompt space, padded to one length."""

    embeds: Float[Tensor, "batch tokens prompt"]
    mask: Bool[Tensor, "batch tokens"]

    def prepend(self, tokens: Float[Tensor, "batch more prompt"]) -> PromptTokens:
        """P = [Z ; E_text] of Eq. 4: these tokens with others (all of them valid) before them."""
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return PromptTokens(tokens.to(self.embeds.dtype), valid).append(self)

    def append(self, more: PromptTokens) -> PromptTokens:
        """These tokens with others after them."""
        embeds = torch.cat([self.embeds, more.embeds.to(self.embeds.dtype)], dim=1)
        return PromptTokens(embeds, torch.cat([self.mask, more.mask], dim=1))


@dataclass(frozen=True, eq=False)
class SegmentationLogits:
    """SAM 3's answer to a batch of prompts."""

    semantic: Float[Tensor, "batch height width"]
    """Logits of the semantic head at the mask decoder's resolution; the mask is where they exceed 0."""
    presence: Float[Tensor, " batch"]
    """Logits that the concept is in the image at all."""


@dataclass(frozen=True, eq=False)
class Instances:
    """The single objects that SAM 3 finds for a batch of prompts, in no order."""

    masks: Float[Tensor, "batch objects height width"]
    """Logits at the mask decoder's resolution."""
    logits: Float[Tensor, "batch objects"]
    """That the object is one of the concept, given that the concept is in the image."""
    presence: Float[Tensor, " batch"]
    """Logits that it is."""
    boxes_xyxy: Float[Tensor, "batch objects 4"]
    """In fractions of the image."""

    @property
    def scores(self) -> Float[Tensor, "batch objects"]:
        """In [0, 1]: that the object is one of the concept, times that the concept is in the image."""
        return self.logits.sigmoid() * self.presence.sigmoid()[:, None]

    def select(self, indices: Sequence[int]) -> Instances:
        """Those of some of the prompts, in the order given."""
        rows = torch.as_tensor(list(indices), dtype=torch.long, device=self.logits.device)
        return Instances(self.masks[rows], self.logits[rows], self.presence[rows], self.boxes_xyxy[rows])


class PromptSegmenter(nn.Module):
    """SAM 3 as a function of prompt tokens.

    Its weights should be float32: bfloat16 ones degrade it. `autocast` names a dtype to compute in instead. Any number
    of threads may call it: they take turns.
    """

    def __init__(
        self,
        sam: SamModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prior: ReferencePrior | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.sam: Any = sam
        pool_without_torchvision(self.sam.geometry_encoder)
        self.tokenizer = tokenizer
        self.prior = prior
        self.autocast = autocast
        self.notes: tuple[str, ...] = ()
        """What a person should know of this SAM 3."""
        self.lock = SharedLock()

    @property
    def image_px(self) -> int:
        """Side of the square that images are stretched to before encoding (1008 at full size)."""
        size = self.sam.config.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def prompt_size(self) -> int:
        """Width of the prompt space."""
        config: Any = self.sam.config.detr_encoder_config
        return int(config.hidden_size)

    @property
    def max_text_tokens(self) -> int:
        """Longest text the text encoder takes, in tokens, start and end included (32 at full size)."""
        if self._reads_whole_rows:
            return _LITE_TEXT_TOKENS
        config: Any = self.sam.config.text_config
        return int(config.max_position_embeddings)

    @property
    def _reads_whole_rows(self) -> bool:
        """Whether the text encoder looks at padding too, as SAM3-LiteText's does: it convolves over the whole row and
        stretches its positions over it, so that every text has to come in a row of the one length it was trained on."""
        return not isinstance(self.sam.config, Sam3Config)

    def preprocess(self, images: Sequence[Image.Image]) -> Float[Tensor, "batch 3 side side"]:
        """Images of any size as SAM 3's input: stretched to a square, scaled to [-1, 1]."""
        side = self.image_px
        stacked = np.stack([np.asarray(resize_image(image, (side, side)), dtype=np.float32) for image in images])
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255.0
        return ((pixels - _PIXEL_MEAN) / _PIXEL_STD).to(self.sam.device)

    def encode(self, pixel_values: Float[Tensor, "batch 3 side side"]) -> ImageFeatures:
        """Image features; the only time the vision encoder runs for these images."""
        return self.features_of(self.glance(pixel_values))

    def glance(self, pixel_values: Float[Tensor, "batch 3 side side"]) -> Glance:
        """What the vision backbone sees; `features_of` makes SAM 3's features of it, with or without evidence."""
        backbone: Any = self.sam.vision_encoder.backbone
        with self.lock, self._precision():
            if isinstance(backbone, Eyes):
                maps = backbone.look(pixel_values)
                return Glance(backbone.mix(maps), Sight.of([maps[stride] for stride in COMPARED]))
            tokens = backbone(pixel_values).last_hidden_state
        return Glance(tokens, Sight.of([self._as_grid(tokens)]))

    def features_of(self, glance: Glance, evidence: Sequence[Evidence | None] = ()) -> ImageFeatures:
        """SAM 3's features of images that were looked at.

        Args:
            glance: of the images.
            evidence: what references say of each of them, if there is a prior to make something of it; None for an
                image without references, nothing at all for none with any.

        Raises:
            InputError: there is evidence, but not one entry an image, or no prior.
        """
        tokens, vote = glance.tokens, None
        with self.lock, self._precision():
            if any(entry is not None for entry in evidence):
                said, vote = self._said_by(evidence, len(glance))
                tokens = tokens + said.to(tokens.dtype)
            levels, places = self.sam.vision_encoder.neck(self._as_grid(tokens))
        return ImageFeatures(Sam3VisionEncoderOutput(fpn_hidden_states=levels, fpn_position_encoding=places), vote)

    def see_references(
        self,
        images: Sequence[Image.Image],
        regions: Sequence[Bool[np.ndarray, "h w"]],
        ignored: Sequence[Bool[np.ndarray, "h w"] | None] | None = None,
    ) -> SeenReferences:
        """References for comparing targets with.

        Args:
            images: at least one, of any sizes.
            regions: what is marked in each, at its own size.
            ignored: what is not judged in each, if anything.

        Raises:
            InputError: there are none, or not one region an image.
        """
        if not images or len(images) != len(regions):
            raise InputError(
                f"Expected a region for each of at least one image, got {len(images)} images, {len(regions)} regions."
            )
        sight = self.glance(self.preprocess(images)).sight
        neither = [None] * len(images) if ignored is None else ignored
        covers = torch.stack(
            [cover_cells(region, sight.grid_hw, void) for region, void in zip(regions, neither, strict=True)]
        )
        return SeenReferences(sight, covers.to(self.sam.device))

    def encode_beside(self, images: Sequence[Image.Image], seen: Sequence[SeenReferences | None]) -> ImageFeatures:
        """Features of images, each told what its references say of it; nothing is, where there are none.

        Raises:
            InputError: not one entry an image, or there are references and no prior.
        """
        glance = self.glance(self.preprocess(images))
        return self.features_of(glance, self.evidence_for(glance, seen))

    def evidence_for(self, glance: Glance, seen: Sequence[SeenReferences | None]) -> list[Evidence | None]:
        """What each image's references say of it."""
        return [
            None if references is None else references.evidence_for(glance.sight.select([place]))
            for place, references in enumerate(seen)
        ]

    def _said_by(
        self, evidence: Sequence[Evidence | None], count: int
    ) -> tuple[Float[Tensor, "batch cells channels"], Float[Tensor, "batch rows columns"]]:
        if self.prior is None or len(evidence) != count:
            raise InputError(
                f"Expected evidence for each of {count} images and a segmenter with a reference prior, got "
                f"{len(evidence)} entries{'' if self.prior else ' and no prior'}."
            )
        known = next(entry for entry in evidence if entry is not None)
        maps = torch.stack([torch.zeros_like(known.maps) if entry is None else entry.maps for entry in evidence])
        there = torch.tensor([entry is not None for entry in evidence], device=maps.device)[:, None, None]
        said, vote = self.prior(maps)
        return said * there, vote * there

    def _as_grid(self, tokens: Float[Tensor, "batch cells channels"]) -> Float[Tensor, "batch channels rows columns"]:
        backbone: Any = self.sam.vision_encoder.backbone
        side = self.image_px // int(backbone.config.patch_size)
        return tokens.transpose(1, 2).unflatten(2, (side, side))

    def cuts(self, text: str) -> bool:
        """Whether a text is longer than `max_text_tokens`, so that `embed_text` drops its end."""
        with self.lock:
            encoded = tokenize(self.tokenizer, [self._as_read(text)], verbose=False)
        return len(encoded.input_ids[0]) > self.max_text_tokens

    def embed_text(self, texts: Sequence[str]) -> PromptTokens:
        """E_text of Eq. 4. Texts beyond `max_text_tokens` lose their end: the text encoder has no positions for it.

        Blanks are put in order; capitals are lowered where the text encoder was trained on none; control tokens that a
        text spells are letters.

        Raises:
            InputError: no text was given, or one says nothing or cannot be read.
        """
        if not texts or any(usable_words(text) is None for text in texts):
            raise InputError(f"SAM 3 needs a non-empty text for every image, got {list(texts)!r}.")
        with self.lock, self._precision():
            tokens = tokenize(
                self.tokenizer,
                [self._as_read(text) for text in texts],
                padding="max_length" if self._reads_whole_rows else True,
                truncation=True,
                max_length=self.max_text_tokens,
                return_tensors="pt",
            ).to(self.sam.device)
            features = self.sam.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return PromptTokens(features.pooler_output, tokens.attention_mask.bool())

    def embed_boxes(self, features: ImageFeatures, boxes_xyxy: Sequence[BoxXYXY | None]) -> PromptTokens:
        """SAM 3's own tokens for a box around the concept, one row an image; they go after a text's tokens.

        Args:
            features: of the images, in the order of the boxes.
            boxes_xyxy: corners in fractions of the image (0…1); None masks the image's row out.

        Raises:
            InputError: the numbers of images and boxes differ.
        """
        if len(features) != len(boxes_xyxy):
            raise InputError(f"Expected one box per image, got {len(boxes_xyxy)} boxes, {len(features)} images.")
        device = self.sam.device
        known = torch.tensor([box is not None for box in boxes_xyxy], device=device)
        corners = torch.tensor([box or (0.0, 0.0, 1.0, 1.0) for box in boxes_xyxy], device=device)
        low, high = corners[:, :2], corners[:, 2:]
        with self.lock, self._precision():
            encoded = self.sam.geometry_encoder(
                box_embeddings=torch.cat([(low + high) / 2, high - low], dim=-1)[:, None],
                box_mask=torch.ones(len(boxes_xyxy), 1, dtype=torch.bool, device=device),
                box_labels=torch.ones(len(boxes_xyxy), 1, dtype=torch.long, device=device),
                img_feats=features.vision.fpn_hidden_states[:-1],
                img_pos_embeds=features.vision.fpn_position_encoding[:-1],
            )
        return PromptTokens(encoded.last_hidden_state, encoded.attention_mask & known[:, None])

    def decode_box(
        self, features: ImageFeatures, boxes_xyxy: Sequence[BoxXYXY | None], texts: Sequence[str]
    ) -> SegmentationLogits:
        """One mask an image from a text and a box around an example of it; see `embed_text` and `embed_boxes`."""
        return self.decode(features, self.embed_text_and_boxes(features, boxes_xyxy, texts))

    def embed_text_and_boxes(
        self, features: ImageFeatures, boxes_xyxy: Sequence[BoxXYXY | None], texts: Sequence[str]
    ) -> PromptTokens:
        """A text and a box around an example of it, as one prompt an image."""
        return self.embed_text(texts).append(self.embed_boxes(features, boxes_xyxy))

    def decode(self, features: ImageFeatures, prompt: PromptTokens) -> SegmentationLogits:
        """One mask an image from one row of prompt tokens an image.

        Raises:
            InputError: the numbers of images and prompts differ.
        """
        return self.decode_with_instances(features, prompt)[0]

    def find_instances(self, features: ImageFeatures, prompt: PromptTokens) -> Instances:
        """The objects of one row of prompt tokens an image, one by one; for methods that choose among them.

        Raises:
            InputError: the numbers of images and prompts differ.
        """
        return self.decode_with_instances(features, prompt)[1]

    def decode_with_instances(
        self, features: ImageFeatures, prompt: PromptTokens
    ) -> tuple[SegmentationLogits, Instances]:
        """The mask and the single objects of one row of prompt tokens an image, in one pass.

        Raises:
            InputError: the numbers of images and prompts differ.
        """
        output = self._run(features, prompt)
        presence = output.presence_logits.squeeze(-1)
        found = Instances(output.pred_masks, output.pred_logits, presence, output.pred_boxes)
        return SegmentationLogits(_with_vote(output.semantic_seg.squeeze(1), features.vote), presence), found

    def _run(self, features: ImageFeatures, prompt: PromptTokens) -> Any:
        if len(features) != len(prompt.embeds):
            raise InputError(
                f"Expected one prompt per image, got {len(prompt.embeds)} prompts, {len(features)} images."
            )
        with self.lock, self._precision():
            return self.sam(
                vision_embeds=features.vision,
                text_embeds=BaseModelOutputWithPooling(pooler_output=prompt.embeds),
                attention_mask=prompt.mask.long(),
            )

    @cached_property
    def _knows_capitals(self) -> bool:
        return knows_capitals(self.tokenizer)

    def _as_read(self, text: str) -> str:
        words = tidy_words(text)
        return as_plain_text(words if self._knows_capitals else words.lower())

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.sam.device.type, self.autocast) if self.autocast else nullcontext()


def _with_vote(
    semantic: Float[Tensor, "batch height width"], vote: Float[Tensor, "batch rows columns"] | None
) -> Float[Tensor, "batch height width"]:
    if vote is None:
        return semantic
    return semantic + F.interpolate(vote[:, None], size=semantic.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def upsample_logits(
    logits: Float[Tensor, "height width"], size_hw: tuple[int, int]
) -> Float[Tensor, "full_height full_width"]:
    """Mask logits brought to an image's own size (bilinear), before thresholding at 0."""
    return F.interpolate(logits[None, None].float(), size=size_hw, mode="bilinear", align_corners=False)[0, 0]
