"""Models of any size with random weights that nevertheless answer in the form of the protocol, for `stages.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Sam3Config, Sam3Model
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel, ProtocolConfig
from conceptseg.models.processing import ReasonerProcessor
from conceptseg.models.reasoner import Prompt, Reasoner
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.small_tokenizer import build_tokenizer
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

_VOCABULARY = 151_936
_WORDS = [*("dark", "bright", "small", "large", "round", "thin", "near", "far"), *("upper", "lower", "left", "right")]
_RULE = "the one thing that stands out from all that is around it in every picture"
_THOUGHT = 12  # words of the <think> part, free as those of boxes and answer are


def build_mid(frame_px: int, sam_px: int, device: str = "cpu") -> ConceptSegModel:
    """About 300 M parameters in the MLLM and 100 M in SAM 3, float32; the vocabulary is as large as Qwen2.5's."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        words = build_tokenizer([*_WORDS, _RULE], frame_px)
        translation = TranslationConfig(hidden_size=768, prompt_size=256, depth=2, num_heads=12)
        protocol = ProtocolConfig(frame_px=frame_px, max_new_tokens=96)
        config = ConceptSegConfig(name="mid", translation=translation, protocol=protocol)
        reasoner = Reasoner(
            _mllm(words).eval(), ReasonerProcessor(Qwen2VLImageProcessorPil(patch_size=14, merge_size=2), words)
        )
        names = build_tokenizer(["cat"], wrap=True)
        segmenter = PromptSegmenter(Sam3Model(_sam_config(sam_px, names)).eval(), names)
        model = ConceptSegModel(config, reasoner, ConceptTranslation(translation), segmenter).eval()
    reasoner.mllm.lm_head = ProtocolHead(model)
    return model


class ProtocolHead(nn.Module):
    """The MLLM's own head, of whose tokens only those are left that the protocol allows at a place.

    What is said there is the random weights' choice, so that it depends on the pictures; where the protocol, or a rule
    shared by all pictures, leaves no choice there is none. `begin` says where responses begin.
    """

    def __init__(self, model: ConceptSegModel) -> None:
        super().__init__()
        mllm: Any = model.reasoner.mllm
        self.head = mllm.lm_head
        self._reasoner = [model.reasoner]  # in a list, so that it is no part of this one
        self._allowed = _script(model)
        self._start = 0
        self._places = torch.zeros(1, 1)
        mllm.model.language_model.register_forward_pre_hook(self._look, with_kwargs=True)

    def begin(self, prompt: Prompt) -> None:
        """Responses follow prompts of this one's length."""
        inputs = {name: one for name, one in self._reasoner[0].encode([prompt]).items() if name != "pixel_values"}
        mllm: Any = self._reasoner[0].mllm
        self._start = int(mllm.model.get_rope_index(**inputs)[0].max())

    def _look(self, _module: nn.Module, _given: object, kwargs: dict[str, Tensor]) -> None:
        self._places = kwargs["position_ids"][-1]

    def forward(self, states: Tensor) -> Tensor:
        """Logits."""
        logits = self.head(states)
        places = (self._places[:, -logits.shape[1] :] - self._start).clamp(0, len(self._allowed) - 1)
        left = torch.full_like(logits, -torch.inf)
        for row, columns in enumerate(places.tolist()):
            for column, place in enumerate(columns):
                allowed = self._allowed[place]
                left[row, column, allowed] = logits[row, column, allowed]
        return left


def _script(model: ConceptSegModel) -> list[list[int]]:
    """The tokens that are allowed at each place of a response."""
    reasoner, side = model.reasoner, model.config.protocol.frame_px

    def fixed(text: str) -> list[list[int]]:
        return [[token] for token in reasoner.response_ids([text], ended=False)[0]]

    def single(texts: Sequence[str]) -> list[list[int]]:
        rows = reasoner.response_ids(texts, ended=False)
        return [[row[0] for row in rows if len(row) == 1]]

    low, high = (single([str(n) for n in range(*edges)]) for edges in ((1, side // 2), (side // 2, side)))
    comma = fixed(", ")
    box = low + comma + low + comma + high + comma + high
    word = single([f" {one}" for one in _WORDS])
    said = [fixed("<think>"), word * _THOUGHT, fixed("</think>\n<rule>"), fixed(_RULE), fixed("</rule>\n<check>[")]
    said += [box, fixed("]</check>\n<bbox>["), box, fixed("]</bbox>\n<answer>"), word, fixed("</answer>")]
    return [*(allowed for part in said for allowed in part), [reasoner.end_token_id]]


def _mllm(tokenizer: Any) -> Qwen2_5_VLForConditionalGeneration:
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 12, "hidden_size": 512, "intermediate_size": 1408, "num_heads": 8, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [3, 7, 11], "out_hidden_size": 768,
        },
        text_config={
            "vocab_size": _VOCABULARY, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16,
            "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
            "bos_token_id": token("<|im_start|>"), "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"), video_token_id=_VOCABULARY - 1,
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip
    mllm = Qwen2_5_VLForConditionalGeneration(config)
    mllm.generation_config.eos_token_id = token("<|im_end|>")
    return mllm


def _sam_config(side: int, tokenizer: Any) -> Sam3Config:
    cells = side // 14
    layers = {"hidden_size": 256, "num_attention_heads": 8, "intermediate_size": 1024, "num_layers": 3}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                "num_attention_heads": 12, "image_size": side, "pretrain_image_size": 336, "patch_size": 14,
                "window_size": min(24, cells), "global_attn_indexes": [5, 11],
            },
            "fpn_hidden_size": 256,
            "backbone_feature_sizes": [[cells * scale] * 2 for scale in (4, 2, 1)],
        },
        text_config={
            "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
            "num_attention_heads": 8, "max_position_embeddings": 32, "projection_dim": 256,
            "bos_token_id": tokenizer.convert_tokens_to_ids("<|im_start|>"), "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        geometry_encoder_config=layers, detr_encoder_config=layers, detr_decoder_config=layers | {"num_queries": 50},
        mask_decoder_config={"hidden_size": 256, "num_attention_heads": 8},
    )  # fmt: skip
