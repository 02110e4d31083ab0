"""A tokenizer for small models of the real classes: every word, tag and coordinate is one token."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from conceptseg.models.processing import IMAGE_TOKEN

__all__ = ["build_tokenizer"]

_CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN)
_TAGS = tuple(f"<{slash}{tag}>" for tag in ("think", "rule", "check", "bbox", "answer") for slash in ("", "/"))
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|>" + IMAGE_TOKEN + "<|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(
    texts: Iterable[str], largest_coordinate: int = 168, *, wrap: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every word of `texts`, every tag and every coordinate is one token.

    Args:
        texts: what to learn merges from.
        largest_coordinate: the numbers 0 to this one are one token each, pixels.
        wrap: put start and end tokens around every text, as SAM 3's text encoder expects.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        special_tokens=list(_CHAT_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = sorted({word for text in texts for word in text.split()})
    tokenizer.train_from_iterator((form for word in words for form in (word, " " + word)), trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in (*_TAGS, ", ")])
    numbers = range(largest_coordinate + 1)
    tokenizer.add_tokens([AddedToken(str(number), normalized=False, single_word=True) for number in numbers])
    if wrap:
        start, end = "<|im_start|>", "<|endoftext|>"
        pair = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=pair)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>" if wrap else "<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_CHAT_TOKENS[1:]),
        padding_side="right" if wrap else "left",
        chat_template=None if wrap else _CHAT_TEMPLATE,
        model_max_length=32 if wrap else 2048,
    )
