"""The released checkpoint layout written a second time, from INTEROP §1 alone and in plain torch functions.

Nothing here uses the package: what it writes and computes is what the package has to agree with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

HEADS = 16


def translation_table(width: int, queries: int, prompt: int) -> dict[str, tuple[int, ...]]:
    """Key → shape of everything that stands beside the MLLM."""
    table: dict[str, tuple[int, ...]] = {
        "learnable_query.param.weight": (queries, width),
        "connector.pos_embed": (1, queries, width),
        "proj_to_sam.0.weight": (width, width),
        "proj_to_sam.0.bias": (width,),
        "proj_to_sam.2.weight": (prompt, width),
        "proj_to_sam.2.bias": (prompt,),
    }
    rows_columns = {
        "attn.q": (width, width),
        "attn.kv": (2 * width, width),
        "attn.proj": (width, width),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
    }
    for block in range(4):
        prefix = f"connector.blocks.{block}."
        for norm in ("norm0", "norm1", "norm2"):
            table |= {prefix + f"{norm}.weight": (width,), prefix + f"{norm}.bias": (width,)}
        for layer, (rows, columns) in rows_columns.items():
            table |= {prefix + f"{layer}.weight": (rows, columns), prefix + f"{layer}.bias": (rows,)}
    return table


def random_translation(width: int, queries: int, prompt: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = translation_table(width, queries, prompt)
    return {key: torch.randn(shape, generator=generator) / math.sqrt(shape[-1]) for key, shape in table.items()}


def translate(weights: Mapping[str, Tensor], states: Tensor) -> Tensor:
    """Concept tokens (L2 × prompt) of one response's hidden states (tokens × C)."""
    x = weights["learnable_query.param.weight"] + weights["connector.pos_embed"][0]
    for block in range(4):
        at = f"connector.blocks.{block}."
        x = x + _attend(weights, at + "attn.", _norm(weights, at + "norm0", x), _norm(weights, at + "norm1", states))
        inner = _linear(weights, at + "mlp.fc1", _norm(weights, at + "norm2", x))
        x = x + _linear(weights, at + "mlp.fc2", inner / (1 + torch.exp(-1.702 * inner)))
    x = _linear(weights, "proj_to_sam.0", x)
    return _linear(weights, "proj_to_sam.2", x * 0.5 * (1 + torch.erf(x / math.sqrt(2))))


def _attend(weights: Mapping[str, Tensor], at: str, queries: Tensor, context: Tensor) -> Tensor:
    width = queries.shape[-1]
    q = _linear(weights, at + "q", queries).view(len(queries), HEADS, width // HEADS)
    kv = _linear(weights, at + "kv", context).view(len(context), 2, HEADS, width // HEADS)
    mixed = []
    for head in range(HEADS):
        scores = q[:, head] @ kv[:, 0, head].T / math.sqrt(width // HEADS)
        mixed.append(torch.softmax(scores, dim=-1) @ kv[:, 1, head])
    return _linear(weights, at + "proj", torch.cat(mixed, dim=-1))


def _linear(weights: Mapping[str, Tensor], key: str, x: Tensor) -> Tensor:
    return x @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]


def _norm(weights: Mapping[str, Tensor], key: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
    return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]


def old_name(name: str) -> str:
    """transformers 4.51's name of a Qwen2.5-VL tensor, from today's."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def qwen_7b_table() -> dict[str, tuple[int, ...]]:
    """Key → shape of Qwen2.5-VL-7B as published, under the names of transformers 4.51."""
    width, inner, kv, vision, vision_inner = 3584, 18944, 512, 1280, 3420
    table: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (152064, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (152064, width),
        "visual.patch_embed.proj.weight": (vision, 3, 2, 14, 14),
        "visual.merger.ln_q.weight": (vision,),
        "visual.merger.mlp.0.weight": (4 * vision, 4 * vision),
        "visual.merger.mlp.0.bias": (4 * vision,),
        "visual.merger.mlp.2.weight": (width, 4 * vision),
        "visual.merger.mlp.2.bias": (width,),
    }
    for layer in range(28):
        at = f"model.layers.{layer}."
        table |= {at + f"{norm}.weight": (width,) for norm in ("input_layernorm", "post_attention_layernorm")}
        for name, rows in (("q", width), ("k", kv), ("v", kv)):
            table |= {at + f"self_attn.{name}_proj.weight": (rows, width), at + f"self_attn.{name}_proj.bias": (rows,)}
        table[at + "self_attn.o_proj.weight"] = (width, width)
        table |= {at + f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        table[at + "mlp.down_proj.weight"] = (width, inner)
    for block in range(32):
        at = f"visual.blocks.{block}."
        table |= {at + "norm1.weight": (vision,), at + "norm2.weight": (vision,)}
        for name, rows, columns in (
            ("attn.qkv", 3 * vision, vision),
            ("attn.proj", vision, vision),
            ("mlp.gate_proj", vision_inner, vision),
            ("mlp.up_proj", vision_inner, vision),
            ("mlp.down_proj", vision, vision_inner),
        ):
            table |= {at + f"{name}.weight": (rows, columns), at + f"{name}.bias": (rows,)}
    return table


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, shards: int = 1
) -> None:
    """A state dict in one file, or dealt out to several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    files = {name: f"model-{1 + i % shards:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        part = {name: tensors[name] for name in tensors if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
