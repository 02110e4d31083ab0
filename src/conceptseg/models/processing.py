"""What turns pictures and words into the MLLM's tensors, without torchvision.

`Qwen2_5_VLProcessor` insists on a video processor, which needs torchvision. This one has the image processor and the
tokenizer only and otherwise behaves alike, also for TRL.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

__all__ = ["IMAGE_TOKEN", "ReasonerProcessor", "load_reasoner_processor"]

IMAGE_TOKEN = "<|image_pad|>"


class ReasonerProcessor(ProcessorMixin):
    """Qwen2.5-VL's image processor and tokenizer as one callable: images and chat text in, model inputs out."""

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessorPil,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    def __call__(
        self,
        images: Sequence[Image.Image] | Sequence[Sequence[Image.Image]] | None = None,
        text: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Model inputs for texts whose image placeholders stand in the order of `images` (flat or nested by text).

        Returns:
            `input_ids`, `attention_mask`, `mm_token_type_ids` (1 on image tokens), and with images `pixel_values`
            (patches of all images, patch width) and `image_grid_thw` (images, 3), in patches.
        """
        texts = [text] if isinstance(text, str) else list(text or [])
        kwargs.pop("return_mm_token_type_ids", None)
        return_tensors = kwargs.pop("return_tensors", None)
        visual = self._visual_inputs(images, return_tensors)
        if visual:
            texts = self._expand_placeholders(texts, visual["image_grid_thw"])
        tokens = self.tokenizer(texts, return_tensors=return_tensors, **kwargs)
        return BatchFeature({**tokens, **visual, "mm_token_type_ids": self._token_types(tokens["input_ids"])})

    def _visual_inputs(self, images: Any, return_tensors: str | None) -> dict[str, Any]:
        flat = [image for entry in images or [] for image in (entry if isinstance(entry, (list, tuple)) else [entry])]
        if not flat:
            return {}
        return dict(self.image_processor(images=flat, return_tensors=return_tensors))

    def _expand_placeholders(self, texts: list[str], grids_thw: Any) -> list[str]:
        merged = self.image_processor.merge_size**2
        counts = iter(int(t) * int(h) * int(w) // merged for t, h, w in grids_thw)
        expanded = []
        for text in texts:
            head, *rest = text.split(self.image_token)
            expanded.append(head + "".join(self.image_token * next(counts) + part for part in rest))
        return expanded

    def _token_types(self, input_ids: Any) -> Any:
        if hasattr(input_ids, "new_zeros"):
            return (input_ids == self.image_token_id).to(input_ids.dtype)
        return [[int(token == self.image_token_id) for token in row] for row in input_ids]

    @property
    def frame_multiple_px(self) -> int:
        """Sides that are multiples of this (patch × merge) are seen as they are; others are resized to the nearest."""
        return int(self.image_processor.patch_size * self.image_processor.merge_size)

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything `__call__` may return."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]


def load_reasoner_processor(source: str | Path, **hub: Any) -> ReasonerProcessor:
    """The processor stored with a Qwen2.5-VL checkpoint (folder or hub id)."""
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **hub)  # never asks to run code
    return ReasonerProcessor(Qwen2VLImageProcessorPil.from_pretrained(source, **hub), tokenizer)
