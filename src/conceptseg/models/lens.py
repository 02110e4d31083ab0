"""LENS, a rival's model, on transformers' own classes: Qwen2.5-VL, latent queries with a connector, SAM 2.

The queries are fed behind prompt and response; their last states become one sparse prompt of SAM 2. Written from the
layout and the way it runs as published, without code of theirs; their weights have not been run with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2Config, Sam2Model

from conceptseg.errors import CheckpointError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.config import CONFIG_FILE, ConceptSegConfig, read_json
from conceptseg.models.hub import Hub, Source, require_access, resolve
from conceptseg.models.lens_layout import SAM_PREFIX, hiera_large, is_head_name, is_tracking, sam2_name
from conceptseg.models.loading import pick_device, read_mllm, read_processor
from conceptseg.models.reasoner import Prompt, Reasoner
from conceptseg.models.released_layout import check_fit, mllm_config
from conceptseg.models.sam2 import pixels_for_sam2
from conceptseg.models.sharding import whole_weights
from conceptseg.models.tensor_files import TensorInfo, read_headers

__all__ = ["LensHead", "LensModel", "lens_folder", "load_lens"]

_HEADS, _NORM_EPS = 16, 1e-6
_LISTED = 12


class LensHead(nn.Module):
    """Latent queries, and what makes one token of SAM 2's prompt space of their states."""

    def __init__(self, width: int, queries: int, prompt: int, depth: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.learnable_query = nn.Parameter(torch.zeros(1, queries, width))
        self.connector = _Connector(width, queries, depth, mlp_ratio)
        self.conv_1d = nn.Conv1d(width, width, queries)
        self.proj_to_sam = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, prompt))

    def forward(self, states: Float[Tensor, "batch queries width"]) -> Float[Tensor, "batch 1 prompt"]:
        """One sparse prompt embedding a row, from the states of the queries."""
        mixed = self.conv_1d(self.connector(states).transpose(1, 2))
        return self.proj_to_sam(mixed.transpose(1, 2))


class _Connector(nn.Module):
    def __init__(self, width: int, queries: int, depth: int, mlp_ratio: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, queries, width))
        self.blocks = nn.ModuleList(_Block(width, mlp_ratio) for _ in range(depth))

    def forward(self, states: Tensor) -> Tensor:
        tokens = states + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class _Block(nn.Module):
    def __init__(self, width: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS), nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        inner = mlp_ratio * width
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.attn["qkv"](self.norm1(tokens)).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.attn["proj"](mixed)
        inner = self.mlp["fc1"](self.norm2(tokens))
        return tokens + self.mlp["fc2"](inner * torch.sigmoid(1.702 * inner))  # quick GELU


class LensModel(ConceptSegModel):
    """LENS beside our own model: its MLLM as the reasoner, no concept translation, no SAM 3, but a head and SAM 2."""

    def __init__(self, config: ConceptSegConfig, reasoner: Reasoner, head: LensHead, sam2: Sam2Model) -> None:
        super().__init__(config, reasoner, None, None)
        self.head = head
        self.sam2 = sam2

    @torch.no_grad()
    def draw(
        self, prompt: Prompt, response_ids: Int[Tensor, " tokens"], picture: Image.Image
    ) -> Float[Tensor, "height width"]:
        """Mask logits at SAM 2's resolution; above 0 is the target.

        Args:
            prompt: the question as it was asked.
            response_ids: the response's tokens.
            picture: the target, of any size.
        """
        device = self.sam2.device
        token = self.head(self.states_of_queries(prompt, response_ids).to(device, torch.float32))
        *fine, coarse = self.sam2.get_image_embeddings(pixels_for_sam2(self.sam2, [picture]))
        decoder: Any = self.sam2.prompt_encoder
        dense = decoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(coarse)
        masks, *_ = self.sam2.mask_decoder(
            image_embeddings=coarse,
            image_positional_embeddings=self.sam2.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=token[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=False,
            high_resolution_features=fine,
        )
        return masks[0, 0, 0]

    @torch.no_grad()
    def states_of_queries(
        self, prompt: Prompt, response_ids: Int[Tensor, " tokens"]
    ) -> Float[Tensor, "1 queries width"]:
        """Last-layer states of the queries, fed behind prompt and response in one pass."""
        mllm: Any = self.reasoner.mllm
        inputs = self.reasoner.encode([prompt])
        count = self.head.learnable_query.shape[1]
        # Ids in the queries' places tell transformers that they are words; what is embedded there is replaced.
        places = torch.full((1, count), self.reasoner.end_token_id, device=inputs.input_ids.device)
        behind = torch.cat([response_ids[None].to(places), places], dim=1)
        inputs["input_ids"] = torch.cat([inputs.input_ids, behind], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs.input_ids)
        inputs["mm_token_type_ids"] = torch.cat([inputs.mm_token_type_ids, torch.zeros_like(behind)], dim=1)
        queries = self.head.learnable_query

        def replaced(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
            return torch.cat([embedded[:, :-count], queries.to(embedded)], dim=1)

        hook = mllm.get_input_embeddings().register_forward_hook(replaced)
        try:
            return mllm.model(**inputs, use_cache=False).last_hidden_state[:, -count:]
        finally:
            hook.remove()


def lens_folder(source: str, *, hub: Hub | None = None) -> Path:
    """Where a LENS checkpoint lies on this machine, fetched if need be.

    Raises:
        CheckpointError: it is no LENS.
        HubAccessError: the repository is unknown or out of reach.
    """
    place = Source(source)
    require_access([place], hub=hub)
    folder = resolve(place, hub=hub)
    names = read_headers(folder)
    if "learnable_query" not in names or "conv_1d.weight" not in names:
        raise CheckpointError(
            f"{source} is no LENS checkpoint: it lacks learnable_query or conv_1d. Those of the hub are OuyBin/LENS, "
            "OuyBin/LENS_ReasonSeg, with _FT and _CoT."
        )
    return folder


@whole_weights()
def load_lens(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    sam2_config: Sam2Config | None = None,
    hub: Hub | None = None,
) -> LensModel:
    """A LENS model from its checkpoint.

    Args:
        source: folder or hub id, e.g. `OuyBin/LENS`.
        device: see `conceptseg.models.loading.pick_device`.
        dtype: of the MLLM's weights; None is float32 on a CPU and bfloat16 elsewhere. The rest is float32.
        sam2_config: of its SAM 2; hiera-large by default.
        hub: where to ask for repositories.

    Raises:
        CheckpointError: it is no LENS, or tensors are missing, left over or of another shape; all are named.
        HubAccessError: the repository is unknown or out of reach.
    """
    folder, place = lens_folder(str(source), hub=hub), pick_device(device)
    tensors = read_headers(folder)
    mllm_tensors = {k: v for k, v in tensors.items() if not (is_head_name(k) or k.startswith(SAM_PREFIX))}
    config = mllm_config(read_json(folder / CONFIG_FILE), mllm_tensors)
    check_fit(mllm_tensors, config, None)
    head = _fill(_empty_head(tensors), _read(tensors, {k: k for k in tensors if is_head_name(k)}), "head")
    sam2 = _fill(Sam2Model(sam2_config or hiera_large()), _sam2_state(tensors), "SAM 2")
    reasoner = Reasoner(read_mllm(folder, config, place, dtype=dtype), read_processor(folder, config))
    ours = ConceptSegConfig(name=Path(str(source)).name, translation=None)
    return LensModel(ours, reasoner, head.to(place), sam2.to(place)).eval()


def _empty_head(tensors: Mapping[str, TensorInfo]) -> LensHead:
    try:
        _, queries, width = tensors["learnable_query"].shape
        prompt, _ = tensors["proj_to_sam.2.weight"].shape
        inner, _ = tensors["connector.blocks.0.mlp.fc1.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"A tensor that tells a size of LENS's head is missing or misshapen: {error}.") from error
    depth = len({name.split(".")[2] for name in tensors if name.startswith("connector.blocks.")})
    return LensHead(width, queries, prompt, depth, inner // width)


def _sam2_state(tensors: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    """SAM 2's tensors by transformers' names, tracking left out."""
    wanted = {}
    for name in tensors:
        if name.startswith(SAM_PREFIX) and not is_tracking(bare := name.removeprefix(SAM_PREFIX)):
            wanted[name] = sam2_name(bare)
    state = _read(tensors, wanted)
    shared = state.get("shared_image_embedding.positional_embedding")
    if shared is not None:
        state["prompt_encoder.shared_embedding.positional_embedding"] = shared
    points = sorted(name for name in state if name.startswith("prompt_encoder.point_embed."))
    if points:
        state["prompt_encoder.point_embed.weight"] = torch.cat([state.pop(name) for name in points])
    return state


def _read(tensors: Mapping[str, TensorInfo], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors in float32 under new names."""
    read: dict[str, Tensor] = {}
    for file in sorted({tensors[name].file for name in names}):
        with safe_open(file, framework="pt") as content:
            here = (name for name in names if tensors[name].file == file)
            read |= {names[name]: content.get_tensor(name).float() for name in here}
    return read


def _fill(part: Any, state: Mapping[str, Tensor], what: str) -> Any:
    """A part with its tensors, every one of them placed."""
    own = part.state_dict()
    misshapen = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    wrong = sorted([*(own.keys() ^ state.keys()), *misshapen])
    if wrong:
        raise CheckpointError(
            f"LENS's {what}: {len(wrong)} tensors are missing, not expected or of another shape: "
            f"{', '.join(wrong[:_LISTED])}."
        )
    part.load_state_dict(state)
    return part
