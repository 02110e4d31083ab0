"""What turns pictures and words into the MLLM's tensors, without torchvision.

`Qwen2_5_VLProcessor` insists on a video processor, which needs torchvision. This one has the image processor and the
tokenizer only and otherwise behaves alike, also for TRL. What it saves are the files of a Qwen2.5-VL repository:
transformers' `AutoProcessor` makes its own processor of them where torchvision is, and this one where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    BatchEncoding,
    BatchFeature,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import is_torchvision_available

from conceptseg.errors import CheckpointError
from conceptseg.models.chat_template import IMAGE_TOKEN, pick_chat_template

__all__ = [
    "IMAGE_TOKEN",
    "ReasonerProcessor",
    "as_plain_text",
    "knows_capitals",
    "load_reasoner_processor",
    "tokenize",
    "without_control_tokens",
]

_CHAT_FILE = "chat_template.jinja"

_BREAK = "\ufdd0"
"""Stands where a text is tokenised in pieces: a code point that Unicode keeps for a program's own use."""

_CAPITALISED_SHARE = 0.01


def as_plain_text(words: str) -> str:
    """A user's words, marked so that `tokenize` finds no token of a chat or a protocol in them, only text."""
    return words.replace("<", f"<{_BREAK}")


def without_control_tokens(text: str) -> str:
    """A text whose control tokens, `<|im_end|>` and the like, are mere text to `tokenize`; other tags stay tokens."""
    return text.replace("<|", f"<{_BREAK}|")


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: Any) -> BatchEncoding:
    """The tokens of texts, those marked by `as_plain_text` or `without_control_tokens` included.

    A tokenizer finds its control tokens wherever their letters stand. Of a marked one it is given two pieces, in
    neither of which they do; the tokens decode to the letters as they were.

    Args:
        tokenizer: a fast one.
        texts: any number.
        options: of the tokenizer's call.
    """
    if not any(_BREAK in text for text in texts):
        return tokenizer(list(texts), **options)
    pieces = [[piece for piece in text.split(_BREAK) if piece] or [""] for text in texts]
    return tokenizer(pieces, is_split_into_words=True, **options)


def knows_capitals(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer was made for text with capitals: more than one in a hundred of its pieces holds one.

    To a model whose tokenizer was not, a capital is a letter it has hardly seen. Tokenizers that lower the case
    themselves (CLIP's) may give either answer; it makes no difference.
    """
    pieces = [piece for piece in tokenizer.get_vocab() if len(piece) > 1]
    capitalised = sum(any("A" <= letter <= "Z" for letter in piece) for piece in pieces)
    return capitalised > _CAPITALISED_SHARE * len(pieces)


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
        self.notes: tuple[str, ...] = ()
        """What a person should know of how the processor came about."""

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
        tokens = tokenize(self.tokenizer, texts, return_tensors=return_tensors, **kwargs)
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

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Write the files that a Qwen2.5-VL repository has for its processor, under no name of a class of ours.

        Args:
            save_directory: created if needed.
            push_to_hub: passed on to both parts.
            kwargs: for tokenizer and image processor.

        Returns:
            The files that are a processor's own.
        """
        folder = Path(save_directory)
        self.tokenizer._set_processor_class(None)  # as it may have been read
        self.tokenizer.save_pretrained(folder, push_to_hub=push_to_hub, **kwargs)
        written = self.image_processor.save_pretrained(folder, push_to_hub=push_to_hub, **kwargs)
        (folder / _CHAT_FILE).write_text(
            str(self.chat_template), encoding="utf-8"
        )  # the tokenizer's may be for text alone
        return [*written, str(folder / _CHAT_FILE)]

    @property
    def frame_multiple_px(self) -> int:
        """Sides that are multiples of this (patch × merge) are seen as they are; others are resized to the nearest."""
        return int(self.image_processor.patch_size * self.image_processor.merge_size)

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything `__call__` may return."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]


def load_reasoner_processor(folder: str | Path) -> ReasonerProcessor:
    """The processor stored with a Qwen2.5-VL checkpoint, with the chat template that shows images.

    Raises:
        OSError: files are missing.
        ValueError: files are damaged.
        CheckpointError: the tokenizer has no token for images, so that it is of another model.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # never asks to run code
    if len(tokenizer(IMAGE_TOKEN, add_special_tokens=False).input_ids) != 1:
        raise CheckpointError(
            f"{folder}: its tokenizer has no {IMAGE_TOKEN}, which stands for pictures. The tokenizer files of its base "
            "model (tokenizer.json, tokenizer_config.json) fit."
        )
    template = pick_chat_template(Path(folder), tokenizer)
    processor = ReasonerProcessor(Qwen2VLImageProcessorPil.from_pretrained(folder), tokenizer, template.text)
    processor.notes = (template.note,) if template.note else ()
    return processor


if not is_torchvision_available():  # where it is, transformers' own processor opens what is saved here
    for _kind in (Qwen2_5_VLConfig, Qwen3VLConfig):
        AutoProcessor.register(_kind, ReasonerProcessor, exist_ok=True)
