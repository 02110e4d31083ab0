"""The MLLMs that may reason: Qwen2.5-VL, which the paper takes, and Qwen3-VL; what differs between them is told here.

Both have a vision tower, `model.language_model` with a final norm, and positions in three dimensions, so that one
`Reasoner` serves both. Qwen3-VL feeds features of its tower's middle layers to the first layers of the language model
(see `conceptseg.models.opening`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from conceptseg.models.config import ProtocolConfig

__all__ = ["FAMILIES", "QWEN2_5_VL", "QWEN3_VL", "Family", "Mllm", "MllmConfig", "family_of", "mllm_class"]

Mllm: TypeAlias = Qwen2_5_VLForConditionalGeneration | Qwen3VLForConditionalGeneration
"""A model that reasons."""

MllmConfig: TypeAlias = Qwen2_5_VLConfig | Qwen3VLConfig
"""Its config."""

_THOUSANDTHS = 1000


@dataclass(frozen=True)
class Family:
    """One kind of MLLM."""

    name: str
    kind: str
    """`model_type` of its `config.json`."""
    config: type[Any]
    model: type[Any]
    protocol: ProtocolConfig
    """How a checkpoint is asked that says nothing of it."""


QWEN2_5_VL = Family("Qwen2.5-VL", "qwen2_5_vl", Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, ProtocolConfig())

QWEN3_VL = Family(
    "Qwen3-VL",
    "qwen3_vl",
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    # It sees multiples of 32, of which 608 is next to the paper's 600, and speaks of boxes in thousandths.
    ProtocolConfig(frame_px=608, box_units=_THOUSANDTHS),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.kind: family for family in (QWEN2_5_VL, QWEN3_VL)})
"""By `model_type`."""


def family_of(config: MllmConfig) -> Family:
    """The family of an MLLM's config."""
    return FAMILIES[config.model_type]


def mllm_class(config: MllmConfig) -> type[Any]:
    """The class of transformers that a config is of."""
    return family_of(config).model
