"""The nano architecture: transformers' Qwen2.5-VL and SAM 3 classes at laptop size, one word a token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Sam3Config,
    Sam3Model,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel, ProtocolConfig
from conceptseg.models.eyes import EyesConfig, register_eyes
from conceptseg.models.prior import PriorConfig, ReferencePrior
from conceptseg.models.processing import IMAGE_TOKEN, ReasonerProcessor
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.small_tokenizer import build_tokenizer
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

__all__ = ["FRAME_PX", "PATCH_PX", "SEGMENTER_PX", "build_nano", "place_object_queries"]

FRAME_PX = 168
"""Side of every picture the reasoner sees; boxes are integers 0…168."""

PATCH_PX = 14
"""Side of a patch in the MLLM's vision tower, which merges two by two."""

SEGMENTER_PX = 256
"""Side of every picture the segmenter sees."""

_LM_WIDTH = 256
_PROMPT_WIDTH = 96
_CELL_PX = 8
_TOKEN_WIDTH = 192
_ANCHOR = 0.25
"""Side of the boxes that object queries start from, as a share of the picture."""
_LOCALITY = 15.0
"""How much a query's attention falls from the edge of its box outwards, in SAM 3's logarithmic steps."""


def build_nano(texts: Sequence[str], names: Sequence[str], *, seed: int = 0) -> ConceptSegModel:
    """An untrained nano model.

    Args:
        texts: every kind of text it should read and write in few tokens; others still work, in more tokens.
        names: objects the segmenter will be taught; recorded as the checkpoint's vocabulary.
        seed: of the initial weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reasoner = _build_reasoner(build_tokenizer(texts, FRAME_PX))
        segmenter = _build_segmenter(build_tokenizer(texts, FRAME_PX, wrap=True))
        translation = TranslationConfig(
            hidden_size=_LM_WIDTH, prompt_size=_PROMPT_WIDTH, num_queries=8, depth=2, num_heads=8, mlp_ratio=2
        )
        config = ConceptSegConfig(
            name="nano",
            license="Apache-2.0",
            translation=translation,
            prior=PriorConfig(width=_TOKEN_WIDTH),
            protocol=ProtocolConfig(
                frame_px=FRAME_PX, template="compact", layout="target_last", system_prompt="", max_new_tokens=96
            ),
            vocabulary=tuple(names),
        )
        return ConceptSegModel(config, reasoner, ConceptTranslation(translation), segmenter)


def _build_reasoner(tokenizer: PreTrainedTokenizerFast) -> Reasoner:
    token = _ids_of(tokenizer)
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 6, "hidden_size": 192, "intermediate_size": 512, "num_heads": 6, "patch_size": PATCH_PX,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": FRAME_PX,
            "fullatt_block_indexes": list(range(6)), "out_hidden_size": _LM_WIDTH, "initializer_range": _spread(192),
        },
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": _LM_WIDTH, "intermediate_size": 704,
            "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4,
            "max_position_embeddings": 2048, "initializer_range": _spread(_LM_WIDTH),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token("<|im_start|>"), "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        image_token_id=token(IMAGE_TOKEN),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        video_token_id=len(tokenizer),
        tie_word_embeddings=True,
    )  # fmt: skip
    mllm = Qwen2_5_VLForConditionalGeneration(config)
    _smooth_numbers(cast(Tensor, mllm.get_input_embeddings().weight), tokenizer)
    side = FRAME_PX * FRAME_PX
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH_PX, merge_size=2, temporal_patch_size=2, size={"shortest_edge": side, "longest_edge": side}
    )
    return Reasoner(mllm, ReasonerProcessor(image_processor, tokenizer))


def _build_segmenter(tokenizer: PreTrainedTokenizerFast) -> PromptSegmenter:
    common = {"hidden_size": _PROMPT_WIDTH, "num_attention_heads": 4, "initializer_range": _spread(_PROMPT_WIDTH)}
    transformer = {**common, "intermediate_size": 384, "dropout": 0.0}
    register_eyes()
    eyes = EyesConfig(image_size=SEGMENTER_PX, patch_size=_CELL_PX, hidden_size=_TOKEN_WIDTH)
    grid = SEGMENTER_PX // _CELL_PX
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, projection_dim=_PROMPT_WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, hidden_act="gelu",
        initializer_range=_spread(128),
        bos_token_id=_ids_of(tokenizer)("<|im_start|>"), eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config = Sam3Config(
        vision_config={
            "backbone_config": eyes.to_dict(),
            "initializer_range": _spread(_PROMPT_WIDTH),
            "fpn_hidden_size": _PROMPT_WIDTH,
            "backbone_feature_sizes": [[grid * 4, grid * 4], [grid * 2, grid * 2], [grid, grid]],
        },
        text_config=text,
        geometry_encoder_config={**transformer, "num_layers": 1},
        detr_encoder_config={**transformer, "num_layers": 3},
        detr_decoder_config={**transformer, "num_layers": 2, "num_queries": 20},
        mask_decoder_config=common,
        initializer_range=_spread(_PROMPT_WIDTH),
    )  # fmt: skip
    sam = Sam3Model(config)
    _smooth_numbers(cast(Tensor, sam.text_encoder.get_input_embeddings().weight), tokenizer)
    place_object_queries(sam)
    return PromptSegmenter(sam, tokenizer, prior=ReferencePrior(PriorConfig(width=_TOKEN_WIDTH)))


@torch.no_grad()
def place_object_queries(sam: Sam3Model) -> None:
    """Give SAM 3's object queries places of their own: anchors on a grid, each looking around itself.

    Queries that begin in one place see one thing, and stay copies of one another for hours of training.
    """
    decoder: Any = sam.detr_decoder
    count = decoder.reference_points.weight.shape[0]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    places = [((k % columns + 0.5) / columns, (k // columns + 0.5) / rows) for k in range(count)]
    decoder.reference_points.weight.copy_(torch.logit(torch.tensor([(x, y, _ANCHOR, _ANCHOR) for x, y in places])))
    decoder.box_head.layer3.weight.zero_()
    decoder.box_head.layer3.bias.zero_()
    for beside in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
        for head in range(beside.layer2.weight.shape[0] - 1):  # the last one goes on looking everywhere
            for unit, outwards in ((2 * head, (-1.0, 0.0)), (2 * head + 1, (0.0, 1.0))):
                beside.layer1.weight[unit] = torch.tensor(outwards)
                beside.layer1.bias[unit] = 0.0
                beside.layer2.weight[:, unit] = 0.0
                beside.layer2.weight[head, unit] = -_LOCALITY


def _spread(width: int) -> float:
    """Standard deviation of initial weights: the usual 0.02 suits widths of thousands and all but mutes small ones."""
    return width**-0.5


def _ids_of(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], int]:
    return lambda token: int(tokenizer.vocab[token])


@torch.no_grad()
def _smooth_numbers(weight: Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start coordinates as sines of their value, so that neighbours begin as neighbours."""
    numbers = torch.arange(FRAME_PX + 1)
    rows = torch.tensor(tokenizer.convert_tokens_to_ids([str(int(n)) for n in numbers]))
    half = weight.shape[1] // 2
    periods = FRAME_PX * 4 * torch.exp(-math.log(200.0) * torch.arange(half) / half)
    angles = 2 * math.pi * numbers[:, None] / periods
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    weight[rows] = waves * weight.std()
