"""EfficientNet-Lite as a vision backbone that SAM 3 can be built on: small eyes that have seen a million photographs.

transformers builds SAM 3's backbone by `AutoModel.from_config`, so that a registered class leaves `Sam3Model` as it is
(`register_eyes`). The trunk is Google's EfficientNet-Lite, batch norms folded into the convolutions, frozen; only the
mixture of its scales into SAM 3's tokens is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

__all__ = ["COMPARED", "STRIDES", "EyeMaps", "Eyes", "EyesConfig", "fold_published_weights", "register_eyes"]

EyeMaps = dict[int, Tensor]
"""Stride in pixels → what the trunk sees at that scale, (batch, channels, height, width)."""

STRIDES = (4, 8, 16, 32)
"""The scales that are looked at: the last map of the trunk at each."""

COMPARED = (8, 16, 32)
"""The scales by which places of one picture are compared with those of another: finer ones tell edges, not things."""

_STEM_CHANNELS = 32
_NORM_EPS = 1e-3


@dataclass(frozen=True)
class _Stage:
    """Some inverted bottlenecks of one width; the first one may halve the picture."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""Table 1 of EfficientNet (arXiv 1905.11946); Lite drops squeeze-and-excitation, uses ReLU6, and scales neither stem
nor the repeats of the first and last stage."""


class EyesConfig(PreTrainedConfig):
    """Sizes of the trunk and of the grid of tokens that SAM 3 gets.

    Args:
        image_size: side of the square input in pixels; a multiple of 32.
        patch_size: pixels per token, as SAM 3 asks a backbone for.
        hidden_size: channels of a token.
        width: multiplier of the trunk's channels (1.0 for Lite0 and Lite1, 1.1 for Lite2).
        depth: multiplier of its repeats (1.0, 1.1, 1.2).
    """

    model_type = "conceptseg_eyes"

    def __init__(
        self,
        image_size: int = 256,
        patch_size: int = 8,
        hidden_size: int = 192,
        width: float = 1.0,
        depth: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.image_size, self.patch_size, self.hidden_size = image_size, patch_size, hidden_size
        self.width, self.depth = width, depth

    def channels(self) -> dict[int, int]:
        """Stride → channels of the trunk's last map there."""
        stride, found = 2, {}
        for stage in _STAGES:
            stride *= stage.stride
            found[stride] = _scaled(stage.channels, self.width)
        return {stride: found[stride] for stride in STRIDES}


class Eyes(PreTrainedModel):
    """The trunk, and the mixture of its scales as SAM 3's backbone tokens.

    A token is one cell of the `patch_size` grid: coarser maps are enlarged to the grid, finer ones are folded into it
    (space to depth), so that what SAM 3 enlarges again still knows the outlines.
    """

    config: EyesConfig
    config_class = EyesConfig
    main_input_name = "pixel_values"
    base_model_prefix = "eyes"
    # There is no attention here for an implementation to be chosen for.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: EyesConfig) -> None:
        super().__init__(config)
        self.trunk = _Trunk(config.width, config.depth)
        channels = config.channels()
        folded = {stride: count * _cells_within(config.patch_size, stride) for stride, count in channels.items()}
        self.mixture = nn.Conv2d(sum(folded.values()), config.hidden_size, 1)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def freeze(self) -> Eyes:
        """Keep the trunk as it is published; what mixes its maps still learns."""
        self.trunk.requires_grad_(False)
        return self

    @torch.no_grad()
    def look(self, pixel_values: Float[Tensor, "batch 3 height width"]) -> EyeMaps:
        """The trunk's maps at each of its scales.

        Args:
            pixel_values: in [-1, 1]; sides are multiples of 32.
        """
        return self.trunk(pixel_values)

    def mix(self, maps: EyeMaps) -> Float[Tensor, "batch cells channels"]:
        """SAM 3's tokens from the trunk's maps, row by row of the grid."""
        rows, columns = (maps[STRIDES[-1]].shape[side] * STRIDES[-1] // self.config.patch_size for side in (-2, -1))
        folded = [_fold(maps[stride], rows, columns) for stride in STRIDES]
        return self.norm(self.mixture(torch.cat(folded, dim=1)).flatten(2).transpose(1, 2))

    def forward(self, pixel_values: Float[Tensor, "batch 3 height width"], **_: Any) -> BaseModelOutput:
        """What `Sam3VisionModel` asks of a backbone."""
        return BaseModelOutput(last_hidden_state=self.mix(self.look(pixel_values)))


def register_eyes() -> None:
    """Make `AutoConfig` and `AutoModel` know the eyes, so that `Sam3Model` can be built on them; again is harmless."""
    AutoConfig.register(EyesConfig.model_type, EyesConfig, exist_ok=True)
    AutoModel.register(EyesConfig, Eyes, exist_ok=True)


def fold_published_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trunk's weights from a published state dict of EfficientNet-Lite (names of `efficientnet_lite_pytorch`).

    Batch norms, which are affine maps once training is over, move into the convolutions before them; the classifier is
    left out.
    """
    folded: dict[str, Tensor] = {}
    for name, ours in _convolutions_of(published):
        norm = ours.norm
        scale = published[f"{norm}.weight"].double() / (published[f"{norm}.running_var"].double() + _NORM_EPS).sqrt()
        folded[f"{name}.weight"] = (published[f"{ours.convolution}.weight"].double() * scale.view(-1, 1, 1, 1)).float()
        shift = published[f"{norm}.bias"].double() - published[f"{norm}.running_mean"].double() * scale
        folded[f"{name}.bias"] = shift.float()
    return folded


@dataclass(frozen=True)
class _Published:
    convolution: str
    norm: str


def _convolutions_of(published: Mapping[str, Tensor]) -> list[tuple[str, _Published]]:
    """Our name → theirs, for every convolution of the trunk."""
    pairs = [("stem", _Published("_conv_stem", "_bn0"))]
    blocks = sorted({int(name.split(".")[1]) for name in published if name.startswith("_blocks.")})
    for index in blocks:
        theirs = f"_blocks.{index}"
        norms = {
            "expand": ("_expand_conv", "_bn0"),
            "spread": ("_depthwise_conv", "_bn1"),
            "gather": ("_project_conv", "_bn2"),
        }
        for ours, (convolution, norm) in norms.items():
            if f"{theirs}.{convolution}.weight" in published:
                pairs.append((f"blocks.{index}.{ours}", _Published(f"{theirs}.{convolution}", f"{theirs}.{norm}")))
    return pairs


class _Trunk(nn.Module):
    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self.stem = _SameConv(3, _STEM_CHANNELS, 3, stride=2)
        blocks: list[_Bottleneck] = []
        channels = _STEM_CHANNELS
        for number, stage in enumerate(_STAGES):
            ends = number in (0, len(_STAGES) - 1)
            repeats = stage.repeats if ends else math.ceil(stage.repeats * depth)
            for repeat in range(repeats):
                out = _scaled(stage.channels, width)
                stride = stage.stride if repeat == 0 else 1
                blocks.append(_Bottleneck(channels, out, stage.kernel, stride, stage.expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, pixel_values: Tensor) -> EyeMaps:
        maps: EyeMaps = {}
        seen = F.relu6(self.stem(pixel_values))
        for block in self.blocks:
            seen = block(seen)
            maps[pixel_values.shape[-1] // seen.shape[-1]] = seen
        return {stride: maps[stride] for stride in STRIDES}


class _Bottleneck(nn.Module):
    """MobileNet's inverted bottleneck, with ReLU6 and without squeeze-and-excitation."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = _SameConv(channels, inner, 1) if expansion > 1 else None
        self.spread = _SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.gather = _SameConv(inner, out, 1)
        self.adds = stride == 1 and channels == out

    def forward(self, seen: Tensor) -> Tensor:
        inner = F.relu6(self.expand(seen)) if self.expand is not None else seen
        out = self.gather(F.relu6(self.spread(inner)))
        return out + seen if self.adds else out


class _SameConv(nn.Conv2d):
    """Padded as TensorFlow pads: the odd pixel goes below and to the right."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups)

    def forward(self, seen: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1:
            return super().forward(seen)
        missing = [max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in seen.shape[-2:]]
        top, left = (count // 2 for count in missing)
        return super().forward(F.pad(seen, (left, missing[1] - left, top, missing[0] - top)))


def _scaled(channels: int, width: float) -> int:
    """Channels times the multiplier, to a multiple of eight, never less than nine tenths of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _cells_within(patch_px: int, stride: int) -> int:
    return max(1, patch_px // stride) ** 2


def _fold(seen: Tensor, rows: int, columns: int) -> Tensor:
    """A map brought to the grid without losing anything finer than it."""
    if seen.shape[-1] > columns:
        return F.pixel_unshuffle(seen, seen.shape[-1] // columns)
    if seen.shape[-1] == columns:
        return seen
    return F.interpolate(seen, size=(rows, columns), mode="bilinear", align_corners=False)
