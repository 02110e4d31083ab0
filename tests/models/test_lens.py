"""The layout of LENS written a second time in plain torch functions, tiny: what the package has to agree with."""

from __future__ import annotations

import math

import pytest
import torch

from conceptseg.errors import CheckpointError
from conceptseg.evaluation.baselines.lens import framed_hw
from conceptseg.models.lens import LensHead, lens_folder
from conceptseg.models.lens_layout import is_tracking, sam2_name

C, Q, PROMPT, HEADS = 32, 5, 8, 16


def norm(w, name, x):
    spread = torch.sqrt(x.var(dim=-1, unbiased=False, keepdim=True) + 1e-6)
    return (x - x.mean(dim=-1, keepdim=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def token_of(w, states):
    """One sparse prompt of the queries' states (Q × C), head by head and tap by tap."""
    x = states + w["connector.pos_embed"][0]
    size = C // HEADS
    for block in range(4):
        at = f"connector.blocks.{block}."
        qkv = linear(w, at + "attn.qkv", norm(w, at + "norm1", x))
        mixed = []
        for head in range(HEADS):
            q, k, v = (qkv[:, part * C + head * size : part * C + (head + 1) * size] for part in range(3))
            mixed.append(torch.softmax(q @ k.T / math.sqrt(size), dim=-1) @ v)
        x = x + linear(w, at + "attn.proj", torch.cat(mixed, dim=1))
        inner = linear(w, at + "mlp.fc1", norm(w, at + "norm2", x))
        x = x + linear(w, at + "mlp.fc2", inner / (1 + torch.exp(-1.702 * inner)))
    one = w["conv_1d.bias"] + sum(w["conv_1d.weight"][:, :, place] @ x[place] for place in range(len(x)))
    inner = linear(w, "proj_to_sam.0", one)
    return linear(w, "proj_to_sam.2", inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2))))


def test_the_head_is_that_of_the_table():
    generator = torch.Generator().manual_seed(0)
    head = LensHead(C, Q, PROMPT, depth=4)
    state = head.state_dict()
    w = {k: torch.randn(v.shape, generator=generator) / math.sqrt(v.shape[-1]) for k, v in state.items()}
    head.load_state_dict(w)
    states = torch.randn(2, Q, C, generator=generator)
    with torch.no_grad():
        tokens = head(states)
    assert tokens.shape == (2, 1, PROMPT)
    for row in range(2):
        assert torch.allclose(tokens[row, 0], token_of(w, states[row]), atol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("no_mem_embed", "no_memory_embedding"),
        ("image_encoder.trunk.pos_embed_window", "vision_encoder.backbone.pos_embed_window"),
        ("image_encoder.trunk.patch_embed.proj.weight", "vision_encoder.backbone.patch_embed.projection.weight"),
        ("image_encoder.trunk.blocks.3.norm2.bias", "vision_encoder.backbone.blocks.3.layer_norm2.bias"),
        ("image_encoder.trunk.blocks.3.mlp.layers.1.bias", "vision_encoder.backbone.blocks.3.mlp.proj_out.bias"),
        ("image_encoder.trunk.blocks.2.attn.proj.weight", "vision_encoder.backbone.blocks.2.attn.proj.weight"),
        ("image_encoder.neck.convs.1.conv.weight", "vision_encoder.neck.convs.1.weight"),
        ("sam_prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
        ("sam_prompt_encoder.mask_downscaling.4.bias", "prompt_encoder.mask_embed.layer_norm2.bias"),
        (
            "sam_mask_decoder.transformer.layers.1.cross_attn_image_to_token.out_proj.bias",
            "mask_decoder.transformer.layers.1.cross_attn_image_to_token.o_proj.bias",
        ),
        ("sam_mask_decoder.transformer.layers.0.mlp.layers.0.bias",
         "mask_decoder.transformer.layers.0.mlp.proj_in.bias"),
        ("sam_mask_decoder.transformer.norm_final_attn.bias", "mask_decoder.transformer.layer_norm_final_attn.bias"),
        ("sam_mask_decoder.output_upscaling.1.weight", "mask_decoder.upscale_layer_norm.weight"),
        (
            "sam_mask_decoder.output_hypernetworks_mlps.2.layers.1.bias",
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.bias",
        ),
        ("sam_mask_decoder.iou_prediction_head.layers.2.bias", "mask_decoder.iou_prediction_head.proj_out.bias"),
        ("sam_mask_decoder.conv_s0.bias", "mask_decoder.conv_s0.bias"),
    ],
)  # fmt: skip
def test_tensors_of_sam_2_by_their_other_names(theirs, ours):
    assert sam2_name(theirs) == ours
    assert not is_tracking(theirs)


def test_tracking_is_left_out():
    assert all(map(is_tracking, ["memory_attention.norm.bias", "maskmem_tpos_enc", "no_mem_pos_enc", "obj_ptr_proj.x"]))


def test_another_checkpoint_is_no_lens():
    from conceptseg.models.checkpoints import bundled_folder

    with pytest.raises(CheckpointError, match="is no LENS checkpoint: it lacks learnable_query"):
        lens_folder(str(bundled_folder() / "mllm"))


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((480, 640), (476, 644)), ((10, 10), (28, 28)), ((2000, 1000), (1400, 700))]
)
def test_the_frame_has_multiples_of_28_and_few_pixels(size_hw, expected):
    assert framed_hw(size_hw, 1_000_000) == expected
