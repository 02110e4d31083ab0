"""Tiny random models of the real classes, on disk in the forms that checkpoints come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Sam3Config,
    Sam3LiteTextConfig,
    Sam3LiteTextModel,
    Sam3Model,
)

from conceptseg.models.small_tokenizer import build_tokenizer
from tests.models.interop import old_name, random_translation, write_checkpoint

WIDTH = 32
"""C of the tiny MLLM; 16 heads have to divide it."""

PROMPT = 16
"""Width of the tiny SAM 3's prompt space."""

_TRANSFORMER = {"hidden_size": PROMPT, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}

SAM_CONFIG: dict[str, Any] = {
    "model_type": "sam3",
    "vision_config": {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 56, "pretrain_image_size": 56, "patch_size": 14, "window_size": 4,
            "global_attn_indexes": [0],
        },
        "fpn_hidden_size": PROMPT,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "geometry_encoder_config": _TRANSFORMER,
    "detr_encoder_config": _TRANSFORMER,
    "detr_decoder_config": _TRANSFORMER | {"num_queries": 3},
    "mask_decoder_config": {"hidden_size": PROMPT, "num_attention_heads": 2},
}  # fmt: skip

_CLIP_LIKE = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


def qwen_config(vocabulary: int, kind: str = "qwen2_5_vl") -> dict[str, Any]:
    """A `config.json` as transformers 4.51 wrote it: flat, and under `qwen2_vl` with Qwen2-VL's vision fields."""
    vision: dict[str, Any] = {"num_heads": 2, "window_size": 112, "fullatt_block_indexes": [1], "hidden_act": "silu"}
    if kind == "qwen2_vl":
        vision |= {"hidden_size": WIDTH, "embed_dim": 16, "in_chans": 3, "spatial_patch_size": 14}
    else:
        vision |= {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": WIDTH, "depth": 2, "patch_size": 14}
    return {
        "architectures": ["ConceptModelForConditionalGeneration"],
        "model_type": kind,
        "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": vocabulary, "max_position_embeddings": 4096, "max_window_layers": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "hidden_act": "silu", "use_sliding_window": False, "sliding_window": 4096, "tie_word_embeddings": False,
        "torch_dtype": "float32", "num_of_query": 99, "vision_config": vision,
    }  # fmt: skip


def write_released(
    folder: Path, *, kind: str = "qwen2_5_vl", queries: int = 8, shards: int = 1, new_names: bool = False, seed: int = 0
) -> tuple[Qwen2_5_VLForConditionalGeneration, dict[str, torch.Tensor]]:
    """A tiny checkpoint in the released layout; returns its MLLM and the tensors of its concept translation."""
    tokenizer = build_tokenizer(["find the cat"])
    tokenizer.save_pretrained(folder)
    token_ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")
    } | {"image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"), "video_token_id": 3}
    mllm = tiny_mllm(len(tokenizer), token_ids, seed)
    translation = random_translation(WIDTH, queries, PROMPT, seed)
    tensors = {name if new_names else old_name(name): tensor for name, tensor in mllm.state_dict().items()}
    config = qwen_config(len(tokenizer), kind) | token_ids
    write_checkpoint(folder, tensors | translation, config, shards=shards)
    preprocessor = {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "min_pixels": 3136, "max_pixels": 12845056, "image_mean": _CLIP_LIKE["mean"], "image_std": _CLIP_LIKE["std"],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return mllm, translation


def tiny_mllm(vocabulary: int, token_ids: dict[str, int], seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """A random tiny MLLM, built from a config in today's words."""
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": vocabulary, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": WIDTH, "depth": 2, "patch_size": 14,
            "num_heads": 2, "window_size": 112, "fullatt_block_indexes": [1],
        },
        **token_ids,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config).eval()


def write_sam(folder: Path, *, video: bool = True, seed: int = 0) -> Sam3Model:
    """A tiny SAM 3 as on the hub: the detector inside a video checkpoint, beside a tracker (or alone)."""
    tokenizer = build_tokenizer(["cat"], wrap=True)
    tokenizer.save_pretrained(folder)
    config = SAM_CONFIG | {"text_config": _text_config(tokenizer)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = Sam3Model(Sam3Config.from_dict(dict(config))).eval()
    prefix = "detector_model." if video else ""
    tensors = {prefix + name: tensor.contiguous() for name, tensor in sam.state_dict().items()}
    if video:
        tensors["tracker_model.memory.weight"] = torch.zeros(2)
        config = {"model_type": "sam3_video", "detector_config": config, "tracker_config": {}}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return sam


def write_lite_text(folder: Path, *, seed: int = 0) -> Any:
    """A tiny SAM3-LiteText: `write_sam`'s parts but for its text encoder, whose positions are stretched over a row."""
    tokenizer = build_tokenizer(["find the cat"], wrap=True)
    tokenizer.save_pretrained(folder)
    text = {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": PROMPT, "num_hidden_layers": 3,
        "num_attention_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 77,
    }  # fmt: skip
    config = SAM_CONFIG | {"model_type": "sam3_lite_text", "text_config": text}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = Sam3LiteTextModel(Sam3LiteTextConfig.from_dict(dict(config))).eval()
    sam.save_pretrained(folder)
    return sam


def _text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32,
        "projection_dim": PROMPT, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
        "hidden_act": "gelu", "bos_token_id": tokenizer.convert_tokens_to_ids("<|im_start|>"),
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
