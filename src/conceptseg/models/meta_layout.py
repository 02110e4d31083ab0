"""SAM 3 and SAM 3.1 under the names of Meta's own package, read from tensor names and shapes alone.

Their image part is one and the same detector, `detector.*`, which transformers knows as `Sam3Model` under other names.
SAM 3.1 differs around it: two more necks that serve its tracker, and one level less in the detector's own, the
coarsest, which `Sam3Model` computes and never reads. What serves clicks and videos only is left out by name; a tensor
that has no place in a `Sam3Model` and is not on that list is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conceptseg.errors import CheckpointError

__all__ = ["Place", "is_meta_layout", "is_sam_3_1", "left_out", "never_read", "places_of"]

_DETECTOR = "detector."
_TRACKER = "tracker."
_LISTED = 12

_LEFT_OUT: Mapping[str, str] = {
    r"^tracker\.": "the tracker",
    r"^detector\.backbone\.vision_backbone\.(sam2|interactive|propagation)_convs\.": "the necks of the tracker",
    r"^detector\.geometry_encoder\.points_\w+_project\.": "prompts by points",
    r"\.attn\.freqs_cis$": "rotary tables, which are worked out anew",
}

_NEVER_READ = re.compile(r"^vision_encoder\.neck\.fpn_layers\.3\.|^text_encoder\.text_projection\.")

_TRUNK, _NECK = r"^backbone\.vision_backbone\.trunk\.", r"^backbone\.vision_backbone\.convs\.(\d+)\."
_WORDS = r"^backbone\.language_backbone\.encoder\."
_BLOCK = r"^text_encoder\.text_model\.encoder\.layers\.(\d+)\."
_DECODER = r"^transformer\.decoder\."
_RULES: tuple[tuple[str, str], ...] = (
    # The image encoder and its neck.
    (_TRUNK + r"pos_embed$", "vision_encoder.backbone.embeddings.position_embeddings"),
    (_TRUNK + r"patch_embed\.proj\.", "vision_encoder.backbone.embeddings.patch_embeddings.projection."),
    (_TRUNK + r"ln_pre\.", "vision_encoder.backbone.layer_norm."),
    (_TRUNK + r"blocks\.(\d+)\.norm([12])\.", r"vision_encoder.backbone.layers.\1.layer_norm\2."),
    (_TRUNK + r"blocks\.(\d+)\.attn\.proj\.", r"vision_encoder.backbone.layers.\1.attention.o_proj."),
    (_TRUNK + r"blocks\.(\d+)\.attn\.", r"vision_encoder.backbone.layers.\1.attention."),
    (_TRUNK + r"blocks\.(\d+)\.", r"vision_encoder.backbone.layers.\1."),
    (_NECK + r"dconv_2x2_1\.", r"vision_encoder.neck.fpn_layers.\1.scale_layers.2."),
    (_NECK + r"dconv_2x2(?:_0)?\.", r"vision_encoder.neck.fpn_layers.\1.scale_layers.0."),
    (_NECK + r"conv_1x1\.", r"vision_encoder.neck.fpn_layers.\1.proj1."),
    (_NECK + r"conv_3x3\.", r"vision_encoder.neck.fpn_layers.\1.proj2."),
    # The text encoder.
    (_WORDS + r"token_embedding\.", "text_encoder.text_model.embeddings.token_embedding."),
    (_WORDS + r"positional_embedding$", "text_encoder.text_model.embeddings.position_embedding.weight"),
    (_WORDS + r"ln_final\.", "text_encoder.text_model.final_layer_norm."),
    (_WORDS + r"text_projection$", "text_encoder.text_projection.weight"),
    (_WORDS + r"transformer\.resblocks\.", "text_encoder.text_model.encoder.layers."),
    (_BLOCK + r"attn\.", r"text_encoder.text_model.encoder.layers.\1.self_attn."),
    (_BLOCK + r"ln_([12])\.", r"text_encoder.text_model.encoder.layers.\1.layer_norm\2."),
    (_BLOCK + r"mlp\.c_fc\.", r"text_encoder.text_model.encoder.layers.\1.mlp.fc1."),
    (_BLOCK + r"mlp\.c_proj\.", r"text_encoder.text_model.encoder.layers.\1.mlp.fc2."),
    (r"^backbone\.language_backbone\.resizer\.", "text_projection."),
    # Geometry encoder and fusion encoder, whose layers are of one kind.
    (r"^geometry_encoder\.encode\.", "geometry_encoder.layers."),
    (r"^geometry_encoder\.img_pre_norm\.", "geometry_encoder.vision_layer_norm."),
    (r"^geometry_encoder\.encode_norm\.", "geometry_encoder.output_layer_norm."),
    (r"^geometry_encoder\.norm\.", "geometry_encoder.prompt_layer_norm."),
    (r"^transformer\.encoder\.", "detr_encoder."),
    (r"^((?:geometry|detr)_encoder\.layers\.\d+)\.cross_attn_image\.", r"\1.cross_attn."),
    (r"^((?:geometry|detr)_encoder\.layers\.\d+)\.norm([123])\.", r"\1.layer_norm\2."),
    # The decoder.
    (_DECODER + r"layers\.(\d+)\.ca_text\.", r"detr_decoder.layers.\1.text_cross_attn."),
    (_DECODER + r"layers\.(\d+)\.catext_norm\.", r"detr_decoder.layers.\1.text_cross_attn_layer_norm."),
    (_DECODER + r"layers\.(\d+)\.cross_attn\.", r"detr_decoder.layers.\1.vision_cross_attn."),
    (_DECODER + r"layers\.(\d+)\.norm1\.", r"detr_decoder.layers.\1.vision_cross_attn_layer_norm."),
    (_DECODER + r"layers\.(\d+)\.norm2\.", r"detr_decoder.layers.\1.self_attn_layer_norm."),
    (_DECODER + r"layers\.(\d+)\.norm3\.", r"detr_decoder.layers.\1.mlp_layer_norm."),
    (_DECODER + r"presence_token_head\.", "detr_decoder.presence_head."),
    (_DECODER + r"presence_token_out_norm\.", "detr_decoder.presence_layer_norm."),
    (_DECODER + r"norm\.", "detr_decoder.output_layer_norm."),
    (_DECODER + r"bbox_embed\.", "detr_decoder.box_head."),
    (_DECODER + r"boxRPB_embed_([xy])\.", r"detr_decoder.box_rpb_embed_\1."),
    (_DECODER, "detr_decoder."),
    # Scoring and masks.
    (r"^dot_prod_scoring\.prompt_mlp\.out_norm\.", "dot_product_scoring.text_mlp_out_norm."),
    (r"^dot_prod_scoring\.prompt_(mlp|proj)\.", r"dot_product_scoring.text_\1."),
    (r"^dot_prod_scoring\.hs_proj\.", "dot_product_scoring.query_proj."),
    (r"^segmentation_head\.mask_predictor\.mask_embed\.", "mask_decoder.mask_embedder."),
    (r"^segmentation_head\.instance_seg_head\.", "mask_decoder.instance_projection."),
    (r"^segmentation_head\.semantic_seg_head\.", "mask_decoder.semantic_projection."),
    (r"^segmentation_head\.cross_attend_prompt\.", "mask_decoder.prompt_cross_attn."),
    (r"^segmentation_head\.cross_attn_norm\.", "mask_decoder.prompt_cross_attn_norm."),
    (r"^segmentation_head\.", "mask_decoder."),
    # What is alike everywhere.
    (r"^((?:geometry_encoder|detr_encoder|detr_decoder)\.layers\.\d+)\.linear([12])\.", r"\1.mlp.fc\2."),
    (r"^(detr_decoder\.\w+|dot_product_scoring\.text_mlp)\.layers\.0\.(?=\w+$)", r"\1.layer1."),
    (r"^(detr_decoder\.\w+|dot_product_scoring\.text_mlp)\.layers\.1\.(?=\w+$)", r"\1.layer2."),
    (r"^(detr_decoder\.\w+|dot_product_scoring\.text_mlp)\.layers\.2\.(?=\w+$)", r"\1.layer3."),
    (r"^(?!text_encoder)(.+)\.out_proj\.", r"\1.o_proj."),
)  # fmt: skip
_JOINED = re.compile(r"^(.+\.)(?:qkv\.|in_proj_)(weight|bias)$")


@dataclass(frozen=True)
class Place:
    """Where a tensor of Meta's goes in a `Sam3Model`."""

    source: str
    """Meta's name."""
    thirds: int | None = None
    """0, 1 or 2 where queries, keys and values are one tensor there and three here; None where it is taken whole."""


def is_meta_layout(names: Iterable[str]) -> bool:
    """Whether tensors are a SAM 3 or SAM 3.1 by the names of Meta's package."""
    return any(name.startswith(f"{_DETECTOR}backbone.") for name in names)


def is_sam_3_1(names: Iterable[str]) -> bool:
    """Of Meta's layout, whether it is SAM 3.1: its neck is threefold."""
    return any(".propagation_convs." in name for name in names)


def left_out(names: Iterable[str]) -> dict[str, int]:
    """How many tensors are left out, by what they serve."""
    counted: dict[str, int] = {}
    for name in names:
        if purpose := _purpose_elsewhere(name):
            counted[purpose] = counted.get(purpose, 0) + 1
    return counted


def never_read(name: str) -> bool:
    """Whether what a tensor of a `Sam3Model` makes is never read: the coarsest level of its neck, which SAM 3.1 lacks,
    and the pooled text, whose projection some copies lack."""
    return _NEVER_READ.match(name) is not None


def places_of(names: Iterable[str]) -> dict[str, Place]:
    """transformers' name of every tensor of the detector → where it comes from.

    Raises:
        CheckpointError: two tensors have one place.
    """
    places: dict[str, Place] = {}
    for name in names:
        if _purpose_elsewhere(name):
            continue
        for ours, place in _places(name):
            if ours in places:
                raise CheckpointError(f"{name} and {places[ours].source} both belong at {ours} of a Sam3Model.")
            places[ours] = place
    return places


def _purpose_elsewhere(name: str) -> str | None:
    return next((purpose for pattern, purpose in _LEFT_OUT.items() if re.search(pattern, name)), None)


def _places(name: str) -> Iterable[tuple[str, Place]]:
    ours = name.removeprefix(_DETECTOR)
    for pattern, replacement in _RULES:
        ours = re.sub(pattern, replacement, ours)
    joined = _JOINED.match(ours)
    if joined is None:
        return [(ours, Place(name))]
    return [(f"{joined[1]}{part}_proj.{joined[2]}", Place(name, third)) for third, part in enumerate("qkv")]
