"""The memory estimate of SAM 3's activations against what autograd saves."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import Sam3Config, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from conceptseg.training.activations import segmenter_activations


def sam_config(grid: int, encoder: int, decoder: int, inner: int) -> Sam3Config:
    transformer = {"hidden_size": 256, "num_attention_heads": 8, "intermediate_size": inner}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2, "image_size": 14 * grid, "pretrain_image_size": 14 * grid,
                "patch_size": 14, "window_size": grid, "global_attn_indexes": [0],
            },
            "fpn_hidden_size": 256,
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        },
        text_config={
            "model_type": "clip_text_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "vocab_size": 49408, "projection_dim": 256,
        },
        geometry_encoder_config=transformer | {"num_layers": 1},
        detr_encoder_config=transformer | {"num_layers": encoder},
        detr_decoder_config=transformer | {"num_layers": decoder},
        mask_decoder_config={"hidden_size": 256, "num_attention_heads": 8},
    )  # fmt: skip


def saved_values(config: Sam3Config) -> float:
    sam = Sam3Model(config).requires_grad_(False).eval()
    weights = {weight.untyped_storage().data_ptr() for weight in sam.parameters()}
    side = config.image_size
    with torch.no_grad():
        vision = sam.get_vision_features(pixel_values=torch.zeros(1, 3, side, side))
    kept: dict[int, torch.Tensor] = {}
    with saved_tensors_hooks(lambda tensor: kept.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda t: t):
        tokens = BaseModelOutputWithPooling(pooler_output=torch.randn(1, 40, 256, requires_grad=True))
        sam(vision_embeds=vision, text_embeds=tokens, attention_mask=torch.ones(1, 40, dtype=torch.long))
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights) / 4


@pytest.mark.parametrize(("grid", "encoder", "decoder", "inner"), [(8, 3, 6, 1024), (16, 1, 1, 1024), (12, 2, 2, 512)])
def test_the_estimate_is_what_autograd_keeps(grid: int, encoder: int, decoder: int, inner: int):
    config = sam_config(grid, encoder, decoder, inner)
    assert segmenter_activations(config) == pytest.approx(saved_values(config), rel=0.2)


def test_at_full_size_an_image_takes_more_than_a_gigabyte():
    assert 1.0e9 < 4 * segmenter_activations(Sam3Config()) < 1.6e9
