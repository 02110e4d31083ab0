"""The published models at full size, known without the hub: configs, parameter counts, licences.

Used for memory estimates before anything is downloaded, and by the tests that build the full-size geometry without
memory. The configs are those of the hub's `config.json` files; SAM 3's is transformers' default `Sam3Config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import Qwen2_5_VLConfig

from conceptseg.models.sam_files import SAM_REPO
from conceptseg.models.translation import TranslationConfig

__all__ = ["KNOWN_MODELS", "RELEASED_7B", "KnownModel", "qwen2_5_vl_config"]

RELEASED_7B = "zhaoyuan666/ConceptSeg-R1-7B"
"""The released ConceptSeg-R1 on the hub."""

_TEXT_SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "3B": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_window_layers": 70,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        "7B": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_window_layers": 28,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
    }
)


@dataclass(frozen=True)
class KnownModel:
    """What is known of a published model."""

    repo_id: str
    size: str
    """Size of its Qwen2.5-VL: "3B" or "7B"; empty for SAM 3."""
    parameters: int
    """As published on the hub (safetensors metadata); for SAM 3 those of the detector alone."""
    license: str
    num_queries: int = 0
    """L2 of its concept translation; 0 without one."""

    @property
    def translation(self) -> TranslationConfig | None:
        """Sizes of its concept translation."""
        if not self.num_queries:
            return None
        return TranslationConfig(hidden_size=int(_TEXT_SIZES[self.size]["hidden_size"]), num_queries=self.num_queries)


KNOWN_MODELS: Mapping[str, KnownModel] = MappingProxyType(
    {
        model.repo_id: model
        for model in (
            KnownModel("Qwen/Qwen2.5-VL-3B-Instruct", "3B", 3_754_622_976, "Qwen Research License (non-commercial)"),
            KnownModel("Qwen/Qwen2.5-VL-7B-Instruct", "7B", 8_292_166_656, "Apache-2.0"),
            KnownModel(RELEASED_7B, "7B", 8_292_166_656, "Apache-2.0", num_queries=8),
            KnownModel(SAM_REPO, "", 840_376_374, "SAM License (no military use)"),
        )
    }
)
"""By hub id. The released ConceptSeg-R1's count is that of its MLLM; the concept translation comes on top."""


def qwen2_5_vl_config(size: str) -> Qwen2_5_VLConfig:
    """The config of Qwen2.5-VL "3B" or "7B", as the hub's flat `config.json` words it.

    Raises:
        KeyError: another size.
    """
    text = dict(_TEXT_SIZES[size])
    return Qwen2_5_VLConfig.from_dict(
        {
            **text,
            "model_type": "qwen2_5_vl",
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "attention_dropout": 0.0,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "vision_start_token_id": 151652,
            "vision_end_token_id": 151653,
            "vision_token_id": 151654,
            "image_token_id": 151655,
            "video_token_id": 151656,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "sliding_window": 32768,
            "use_sliding_window": False,
            "use_cache": True,
            "vision_config": {
                "model_type": "qwen2_5_vl",
                "depth": 32,
                "hidden_act": "silu",
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "in_channels": 3,
                "out_hidden_size": text["hidden_size"],
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "tokens_per_second": 2,
            },
        }
    )
