"""The smallest model of the real classes that can be trained in a test, and samples for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Sam3Config, Sam3Model
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from conceptseg.data import ConceptSample, Reference
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel, ProtocolConfig
from conceptseg.models.processing import IMAGE_TOKEN, ReasonerProcessor
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.small_tokenizer import build_tokenizer
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

WORDS = (
    *("upper", "middle", "lower", "left", "centre", "right", "small", "medium", "large", "target"),
    "find : boxes . none check user assistant [ ] [[ ]]",
)
"""What prompts and responses are made of."""

FRAME_PX = 56
WIDTH, PROMPT_WIDTH = 48, 32


def tiny_model(seed=0, max_new_tokens=12):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        words = [*WORDS, "bright square", "dark square", "red disc", "a rule"]
        translation = TranslationConfig(
            hidden_size=WIDTH, prompt_size=PROMPT_WIDTH, num_queries=2, depth=1, num_heads=4, mlp_ratio=2
        )
        config = ConceptSegConfig(
            name="tiny",
            translation=translation,
            protocol=ProtocolConfig(
                frame_px=FRAME_PX, template="compact", system_prompt="", max_new_tokens=max_new_tokens
            ),
        )
        return ConceptSegModel(
            config,
            _reasoner(build_tokenizer(words)),
            ConceptTranslation(translation),
            _segmenter(build_tokenizer(words, wrap=True)),
        ).eval()


def _reasoner(tokenizer):
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": FRAME_PX, "fullatt_block_indexes": [0],
            "out_hidden_size": WIDTH,
        },
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 4, 4]},
            "bos_token_id": token("<|im_start|>"), "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        image_token_id=token(IMAGE_TOKEN), vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"), video_token_id=len(tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    side = FRAME_PX * FRAME_PX
    images = Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, temporal_patch_size=2, size={"shortest_edge": side, "longest_edge": side}
    )
    return Reasoner(Qwen2_5_VLForConditionalGeneration(config), ReasonerProcessor(images, tokenizer))


def _segmenter(tokenizer):
    transformer = {"hidden_size": PROMPT_WIDTH, "num_attention_heads": 2, "intermediate_size": 48, "dropout": 0.0}
    grid = FRAME_PX // 14
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                "num_attention_heads": 2, "image_size": FRAME_PX, "pretrain_image_size": FRAME_PX, "patch_size": 14,
                "window_size": grid, "global_attn_indexes": [0],
            },
            "fpn_hidden_size": PROMPT_WIDTH,
            "backbone_feature_sizes": [[grid * 4, grid * 4], [grid * 2, grid * 2], [grid, grid]],
        },
        text_config=CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, projection_dim=PROMPT_WIDTH,
            num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32, hidden_act="gelu",
            bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"), eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        geometry_encoder_config={**transformer, "num_layers": 1},
        detr_encoder_config={**transformer, "num_layers": 1},
        detr_decoder_config={**transformer, "num_layers": 1, "num_queries": 2},
        mask_decoder_config={"hidden_size": PROMPT_WIDTH, "num_attention_heads": 2},
    )  # fmt: skip
    return PromptSegmenter(Sam3Model(config), tokenizer)


def square_sample(number, references=2, split="train"):
    """A bright square somewhere on noise, and references with squares elsewhere."""
    rng = np.random.default_rng(number)
    image, mask = _square(rng)
    shown = [Reference(*_square(rng)) for _ in range(references)]
    return ConceptSample(
        id=f"square/{number:03d}",
        task="saliency",
        concept="bright square",
        image=image,
        mask=mask,
        references=tuple(shown),
        rule="a rule",
        answer="bright square",
        split=split,
    )


def _square(rng):
    image = rng.integers(0, 90, (40, 48, 3), dtype=np.uint8)
    mask = np.zeros((40, 48), dtype=bool)
    top, left, side = int(rng.integers(2, 20)), int(rng.integers(2, 26)), int(rng.integers(10, 18))
    mask[top : top + side, left : left + side] = True
    image[mask] = rng.integers(200, 255, 3)
    return image, mask


def square_folder(folder: Path, count, **options):
    from conceptseg.data import write_samples

    write_samples((square_sample(number, **options) for number in range(count)), folder)
    return folder
