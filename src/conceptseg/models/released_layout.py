"""The layout of the released ConceptSeg-R1 checkpoints, read from tensor names and shapes alone.

They are one state dict: Qwen2.5-VL under the names of transformers 4.51 (`visual.*`, `model.*`, `lm_head.*`) or of
transformers 5 (`model.visual.*`, `model.language_model.*`), and beside it, at top level, the concept translation:
`learnable_query.param.weight`, `connector.*`, `proj_to_sam.*`. SAM 3 is not in the file. `config.json` may call the
model type `qwen2_vl` or `qwen2_5_vl`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch

from conceptseg.errors import CheckpointError
from conceptseg.models.families import QWEN2_5_VL, QWEN3_VL, MllmConfig, mllm_class
from conceptseg.models.tensor_files import TensorInfo
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

__all__ = [
    "check_fit",
    "expected_shapes",
    "is_released_layout",
    "mllm_config",
    "mllm_name",
    "translation_config",
    "translation_name",
]

_QUERY = "learnable_query.param.weight"
_TRANSLATION_PREFIXES = ("learnable_query.", "connector.", "proj_to_sam.")
_HEADS = 16  # no tensor tells the number of attention heads; all released weights have 16
_LISTED = 12


def is_released_layout(names: Mapping[str, Any]) -> bool:
    """Whether a state dict is a released ConceptSeg-R1: an MLLM with the concept translation beside it."""
    return _QUERY in names


def translation_name(name: str) -> str | None:
    """Our name of a concept translation tensor; None if it belongs to the MLLM."""
    if not name.startswith(_TRANSLATION_PREFIXES):
        return None
    return name.replace("learnable_query.param.", "learnable_query.")


def mllm_name(name: str) -> str:
    """transformers 5's name of a Qwen2.5-VL tensor, from either generation of names."""
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model.") and not name.startswith(("model.visual.", "model.language_model.")):
        return f"model.language_model.{name.removeprefix('model.')}"
    return name


def translation_config(tensors: Mapping[str, TensorInfo]) -> TranslationConfig:
    """The concept translation's sizes, read from its tensors: L2 (`num_of_query` of the released config), C, depth.

    Raises:
        CheckpointError: a tensor that tells a size is missing or not two-dimensional.
    """
    num_queries, width = _matrix(tensors, _QUERY)
    inner, _ = _matrix(tensors, "connector.blocks.0.mlp.fc1.weight")
    prompt_size, _ = _matrix(tensors, "proj_to_sam.2.weight")
    depth = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"connector\.blocks\.(\d+)\.", name)))
    if width % _HEADS:
        raise CheckpointError(f"{_QUERY} is {width} wide, which does not divide into the {_HEADS} attention heads.")
    return TranslationConfig(
        hidden_size=width,
        prompt_size=prompt_size,
        num_queries=num_queries,
        depth=depth,
        num_heads=_HEADS,
        mlp_ratio=max(1, inner // width),
    )


def mllm_config(raw: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> MllmConfig:
    """The MLLM's config from a `config.json` of any age.

    Under the type `qwen2_vl` the vision part's `hidden_size` may mean the output's width, as it did for Qwen2-VL;
    there the sizes are read from the tensors.

    Raises:
        CheckpointError: it is another kind of model, Qwen2-VL itself included, or its weights are quantised.
    """
    kind = raw.get("model_type")
    _refuse_quantised(raw)
    if kind == QWEN3_VL.kind:
        return QWEN3_VL.config.from_dict(dict(raw))
    if kind not in ("qwen2_vl", "qwen2_5_vl"):
        raise CheckpointError(f"Expected a Qwen2.5-VL or Qwen3-VL (model_type qwen2_5_vl, qwen3_vl), got {kind!r}.")
    names = {mllm_name(name): info for name, info in tensors.items()}
    if "model.visual.blocks.0.mlp.fc1.weight" in names:
        raise CheckpointError("This is a Qwen2-VL; ConceptSeg-R1 is built on Qwen2.5-VL, whose vision tower differs.")
    config = {key: value for key, value in raw.items() if key not in ("architectures", "num_of_query")}
    vision = dict(config.get("vision_config") or {})
    if kind == "qwen2_vl":
        vision |= _vision_sizes(names)
    config["model_type"] = "qwen2_5_vl"
    config["vision_config"] = vision | {"model_type": "qwen2_5_vl"}
    return QWEN2_5_VL.config.from_dict(config)


def _refuse_quantised(raw: Mapping[str, Any]) -> None:
    """Weights that are stored quantised have other names and shapes, and each method its own package to read them."""
    quantised = raw.get("quantization_config") or raw.get("compression_config")
    if quantised:
        method = quantised.get("quant_method", "an unnamed method") if isinstance(quantised, Mapping) else quantised
        raise CheckpointError(
            f"Its weights are stored quantised ({method}), which is not read. Take the repository with the weights in "
            "16 bits (its name without -FP8, -AWQ, -GPTQ, -bnb-4bit); --bits 8 and --bits 4 quantise while loading."
        )


def expected_shapes(config: MllmConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that a checkpoint of an MLLM must hold, tied copies excluded; nothing is allocated."""
    with torch.device("meta"):
        mllm = mllm_class(config)(config)
    tied = mllm.all_tied_weights_keys if config.tie_word_embeddings else {}
    return {name: tuple(tensor.shape) for name, tensor in mllm.state_dict().items() if name not in tied}


def check_fit(tensors: Mapping[str, TensorInfo], config: MllmConfig, translation: TranslationConfig | None) -> None:
    """Hold the tensors of a checkpoint against what its sizes call for, in either generation of names.

    Raises:
        CheckpointError: some are missing, extra or of another shape; all three are listed.
    """
    expected = expected_shapes(config)
    found: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        ours = translation_name(name)
        found[f"translation {ours}" if ours else mllm_name(name)] = info
    if config.tie_word_embeddings:
        found.pop("lm_head.weight", None)
    if translation is not None:
        with torch.device("meta"):
            state = ConceptTranslation(translation).state_dict()
        expected |= {f"translation {name}": tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [
        f"{name} is {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    complaints = {
        "missing": sorted(expected.keys() - found.keys()),
        "not expected": sorted(found.keys() - expected.keys()),
        "of another shape": wrong,
    }
    if any(complaints.values()):
        listed = "; ".join(f"{len(names)} {what}: {_listed(names)}" for what, names in complaints.items() if names)
        raise CheckpointError(f"The tensors do not make up the model that config.json describes. {listed}.")


def _vision_sizes(names: Mapping[str, TensorInfo]) -> dict[str, int]:
    """The vision tower's sizes as its tensors tell them."""
    patches = _shape(names, "model.visual.patch_embed.proj.weight", 5)
    inner, width = _matrix(names, "model.visual.blocks.0.mlp.gate_proj.weight")
    out_width, merged = _matrix(names, "model.visual.merger.mlp.2.weight")
    blocks = (re.match(r"model\.visual\.blocks\.(\d+)\.", name) for name in names)
    return {
        "depth": 1 + max(int(found[1]) for found in blocks if found),
        "hidden_size": width,
        "intermediate_size": inner,
        "out_hidden_size": out_width,
        "in_channels": patches[1],
        "temporal_patch_size": patches[2],
        "patch_size": patches[3],
        "spatial_merge_size": math.isqrt(merged // width),
    }


def _matrix(tensors: Mapping[str, TensorInfo], name: str) -> tuple[int, int]:
    rows, columns = _shape(tensors, name, 2)
    return rows, columns


def _shape(tensors: Mapping[str, TensorInfo], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"The tensor {name} is missing, which tells a size of the model.")
    shape = tensors[name].shape
    if len(shape) != dimensions:
        raise CheckpointError(f"The tensor {name} should have {dimensions} dimensions, got {list(shape)}.")
    return shape


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
