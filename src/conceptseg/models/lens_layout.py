"""The layout of LENS checkpoints (hub `OuyBin/LENS…`), read from names and shapes alone.

One state dict holds a Qwen2.5-VL, latent queries with a connector, and under `sam.` a SAM 2 by the names of Meta's own
package. What belongs to tracking in videos takes no part in a picture and is left out by name.
"""

from __future__ import annotations

import re

from transformers import Sam2Config

__all__ = ["SAM_PREFIX", "hiera_large", "is_head_name", "is_tracking", "sam2_name"]

SAM_PREFIX = "sam."
_HEAD = ("learnable_query", "connector.", "conv_1d.", "proj_to_sam.")
_TRACKING = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
)
_RULES: tuple[tuple[str, str], ...] = (
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"(\.blocks\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
    (r"^sam_prompt_encoder\.pe_layer\.\w+$", "shared_image_embedding.positional_embedding"),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"(\.transformer\.layers\.\d+)\.norm([1-4])\.", r"\1.layer_norm\2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    # Two layers of an MLP inside a transformer, three of a head.
    (r"(\.(?:blocks|transformer\.layers)\.\d+)\.mlp\.layers\.0\.", r"\1.mlp.proj_in."),
    (r"(\.(?:blocks|transformer\.layers)\.\d+)\.mlp\.layers\.1\.", r"\1.mlp.proj_out."),
    (r"(hypernetworks_mlps\.\d+|prediction_head|score_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(hypernetworks_mlps\.\d+|prediction_head|score_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(hypernetworks_mlps\.\d+|prediction_head|score_head)\.layers\.2\.", r"\1.proj_out."),
)  # fmt: skip


def is_head_name(name: str) -> bool:
    """Whether a tensor belongs to what stands between the MLLM and SAM 2."""
    return name.startswith(_HEAD)


def is_tracking(name: str) -> bool:
    """Whether a tensor of SAM 2, by Meta's name without `sam.`, serves videos only."""
    return name.startswith(_TRACKING)


def sam2_name(name: str) -> str:
    """transformers' name of a SAM 2 tensor, from Meta's without `sam.`.

    The four `point_embeddings.N.weight` stay apart: they are rows of one tensor in transformers.
    """
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def hiera_large() -> Sam2Config:
    """SAM 2 hiera-large, without the second look that Meta's demo takes at unstable masks."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    }
    return Sam2Config(
        vision_config={"backbone_config": backbone, "backbone_channel_list": [1152, 576, 288, 144]},
        mask_decoder_config={"dynamic_multimask_via_stability": False},
    )
