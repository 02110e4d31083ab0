"""The Concept Translation Module (CTM): from the MLLM's hidden states to latent concept tokens (§3.3, Eq. 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from conceptseg.errors import InputError

__all__ = ["ConceptTranslation", "TranslationConfig"]

_NORM_EPS = 1e-6


class TranslationConfig(BaseModel):
    """Sizes of a CTM. The defaults are those of the released weights; the paper fixes only `num_queries` (Table 7)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(gt=0)
    """C, the width of the MLLM's hidden states."""
    prompt_size: int = Field(default=256, gt=0)
    """Width of SAM 3's prompt space."""
    num_queries: int = Field(default=8, gt=0)
    """L2, the number of concept tokens."""
    depth: int = Field(default=4, gt=0)
    """Cross-attention blocks."""
    num_heads: int = Field(default=16, gt=0)
    """Attention heads of each block."""
    mlp_ratio: int = Field(default=4, gt=0)
    """Inner width of a block's MLP as a multiple of `hidden_size`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TranslationConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and {self.num_heads}"
            )
        return self


class ConceptTranslation(nn.Module):
    """Learnable queries read a response's hidden states and become concept tokens in SAM 3's prompt space.

        Z = proj(CrossAttn(C, H, H))                                              (Eq. 3)

    H (L1 × C): last-layer hidden states of the response's tokens, after the final norm. C (L2 × C): learnable queries
    plus a learned position. CrossAttn: `depth` pre-norm blocks x ← x + attn(norm0(x), norm1(H)); x ← x + mlp(norm2(x)).

    Relative to the paper: it gives one attention and no projection; depth, heads, MLP and the two-layer projection to
    SAM 3's width follow the released weights, whose parameter names these are. Padded positions of H are masked, so a
    batch gives what its members give alone.
    """

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.learnable_query = nn.Embedding(config.num_queries, width)
        self.connector = _Connector(config)
        self.proj_to_sam = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.prompt_size))
        nn.init.normal_(self.learnable_query.weight, std=0.02)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch queries prompt"]:
        """Concept tokens Z of a batch of responses.

        Args:
            hidden_states: states of the response tokens, padded to one length; any float dtype.
            mask: True where a position holds a token. A row without any token gives tokens that ignore the response.

        Raises:
            InputError: the states have another width than `config.hidden_size`.
        """
        if hidden_states.shape[-1] != self.config.hidden_size:
            raise InputError(
                f"The concept translation expects hidden states of width {self.config.hidden_size}, "
                f"got {hidden_states.shape[-1]}: this CTM belongs to another MLLM."
            )
        queries = self.learnable_query.weight.expand(len(hidden_states), -1, -1)
        return self.proj_to_sam(self.connector(queries, hidden_states.to(queries.dtype), mask))


class _Connector(nn.Module):
    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, config.num_queries, config.hidden_size))
        nn.init.normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        tokens = queries + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, context, mask)
        return tokens


class _Block(nn.Module):
    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm0 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = _CrossAttention(width, config.num_heads)
        self.mlp = _Mlp(width, config.mlp_ratio)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm0(tokens), self.norm1(context), mask)
        return tokens + self.mlp(self.norm2(tokens))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        query = self.q(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.kv(context).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # A row with no token at all would make softmax divide 0 by 0; let it see its (zero-padded) context instead.
        visible = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        inner = self.fc1(tokens)
        return self.fc2(inner * torch.sigmoid(1.702 * inner))  # quick GELU, as released
