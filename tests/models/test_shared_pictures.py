"""Equal pictures of a batch go through the vision tower once."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from conceptseg.models.shared_pictures import first_places, share_pictures
from tests.models.tiny import tiny_mllm

SIDE = 12
"""Patches along a picture's side."""


@pytest.fixture
def mllm():
    return tiny_mllm(32, {"image_token_id": 3, "vision_start_token_id": 4, "vision_end_token_id": 5})


def batch(order: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures by number: their patches, one after another, and their grids."""
    rng = torch.Generator().manual_seed(0)
    different = torch.randn(max(order) + 1, SIDE * SIDE, 3 * 2 * 14 * 14, generator=rng)
    return torch.cat([different[number] for number in order]), torch.tensor([[1, SIDE, SIDE]] * len(order))


def counted(visual: torch.nn.Module) -> list[int]:
    """How many patches each pass really encodes."""
    sizes: list[int] = []
    visual.patch_embed.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    return sizes


def test_the_first_equal_picture_stands_for_the_others():
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])  # of one sum, and not equal
    longer = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    grids = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 2], [1, 1, 1]])
    assert first_places([a, b, a.clone(), longer, b.clone()], grids) == [0, 1, 0, 3, 1]


def test_equal_rows_on_another_grid_are_another_picture():
    """A bug once: dark above bright and dark beside bright can be the same rows."""
    rows = torch.cat([torch.zeros(8, 4), torch.ones(8, 4)])
    assert first_places([rows, rows, rows], torch.tensor([[1, 8, 2], [1, 2, 8], [1, 8, 2]])) == [0, 1, 0]


def test_a_copy_uses_its_own_tower(mllm):
    share_pictures(mllm)
    copied = copy.deepcopy(mllm)
    for parameter in copied.model.visual.parameters():
        torch.nn.init.zeros_(parameter)
    pixels, grids = batch([0, 0])
    assert torch.cat(mllm.model.get_image_features(pixels, grids).pooler_output).any()
    assert not torch.cat(copied.model.get_image_features(pixels, grids).pooler_output).any()


def test_positions_worked_out_for_every_picture_are_kept(mllm):
    share_pictures(mllm)
    sizes = counted(mllm.model.visual)
    pixels, grids = batch([0, 0])
    visual = mllm.model.visual
    visual(pixels, grid_thw=grids, position_ids=torch.zeros(2 * SIDE * SIDE, 2, dtype=torch.long))
    assert sizes == [2 * SIDE * SIDE]


def test_features_and_gradients_are_those_of_every_picture_alone(mllm):
    pixels, grids = batch([0, 1, 0, 1, 0, 2])
    weights = torch.linspace(-1, 1, 6 * 36)[:, None]
    results = []
    sizes = counted(mllm.model.visual)
    for shared in (False, True):
        if shared:
            share_pictures(mllm)
        mllm.zero_grad()
        features = torch.cat(mllm.model.get_image_features(pixels, grids).pooler_output)
        (features * weights).sum().backward()
        results.append((features.detach(), mllm.model.visual.patch_embed.proj.weight.grad.clone()))
    assert sizes == [6 * SIDE * SIDE, 3 * SIDE * SIDE]
    for alone, together in zip(*results, strict=True):
        assert torch.allclose(alone, together, rtol=1e-4, atol=1e-4)


def test_different_pictures_are_left_as_they_are(mllm):
    share_pictures(mllm)
    sizes = counted(mllm.model.visual)
    pixels, grids = batch([0, 1])
    mllm.model.get_image_features(pixels, grids)
    assert sizes == [2 * SIDE * SIDE]


def test_pictures_of_other_sizes_keep_their_tokens(mllm):
    share_pictures(mllm)
    pixels, _ = batch([0, 1])
    half = pixels[: SIDE * SIDE // 2]
    grids = torch.tensor([[1, SIDE // 2, SIDE], [1, SIDE, SIDE], [1, SIDE // 2, SIDE]])
    rows = torch.cat([half, pixels[SIDE * SIDE :], half])
    features = mllm.model.get_image_features(rows, grids).pooler_output
    assert [len(tokens) for tokens in features] == [18, 36, 18]
    assert torch.equal(features[0], features[2])


def test_features_of_middle_layers_stand_for_equal_pictures_too():
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
        "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16,
        "num_key_value_heads": 1, "vocab_size": 32,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
    }  # fmt: skip
    config = Qwen3VLConfig(text_config=text, vision_config=vision, image_token_id=3, vision_start_token_id=4)
    mllm = Qwen3VLForConditionalGeneration(config).eval()
    visual = mllm.model.visual
    pixels, grids = batch([0, 1, 0, 0, 1])
    with torch.no_grad():
        whole = visual(pixels, grids)
        share_pictures(mllm)
        sizes = counted(visual)
        shared = visual(pixels, grids)
    assert sizes == [2 * SIDE * SIDE]
    for mine, theirs in zip((shared.pooler_output, *shared.deepstack_features),
                            (whole.pooler_output, *whole.deepstack_features), strict=True):  # fmt: skip
        assert torch.allclose(mine, theirs, atol=1e-5)
