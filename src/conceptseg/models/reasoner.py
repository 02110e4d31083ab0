"""The MLLM (Qwen2.5-VL or Qwen3-VL) as reasoner: from prompts to responses and the hidden states of their tokens."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import BatchFeature

from conceptseg.data.fingerprints import fingerprint_picture
from conceptseg.errors import InputError
from conceptseg.models.beginnings import Beginnings, weights_version
from conceptseg.models.drafting import Drafts, Echo, TagDraft, TokenTexts
from conceptseg.models.families import Mllm
from conceptseg.models.generating import Row, Writer, chooser
from conceptseg.models.locks import SharedLock
from conceptseg.models.opening import SharedStart, common_start, opening_of, read_start
from conceptseg.models.processing import (
    ReasonerProcessor,
    as_plain_text,
    knows_capitals,
    tokenize,
    without_control_tokens,
)

__all__ = ["Generation", "Prompt", "Reasoner"]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One question to the MLLM: its images in order (mosaic, target), the user's text, the system's text."""

    images: tuple[Image.Image, ...]
    text: str
    system: str = ""
    text_first: bool = False
    """Whether the text stands before the images."""
    parts: tuple[str, ...] = ()
    """The parts that its response should have, in order, where that is known."""

    def messages(self) -> list[dict[str, Any]]:
        """The prompt in transformers' chat format (images as placeholders); control tokens in its text are text."""
        images: list[dict[str, Any]] = [{"type": "image"} for _ in self.images]
        text = [{"type": "text", "text": without_control_tokens(self.text)}]
        user = {"role": "user", "content": text + images if self.text_first else images + text}
        if not self.system:
            return [user]
        return [{"role": "system", "content": [{"type": "text", "text": self.system}]}, user]


@dataclass(frozen=True, eq=False)
class Generation:
    """Responses of a batch with what the CTM reads."""

    texts: list[str]
    token_ids: Int[Tensor, "batch tokens"]
    hidden_states: Float[Tensor, "batch tokens width"]
    """Last-layer states, after the final norm, of the response tokens fed as input (the end token included)."""
    mask: Bool[Tensor, "batch tokens"]
    """True on response tokens up to and including the first end token."""

    @property
    def truncated(self) -> list[bool]:
        """Whether a response ran into the token limit: it fills its row and does not end."""
        return [not text_ended for text_ended in self._ended]

    _ended: tuple[bool, ...] = ()

    passes: int = 0
    """Passes through the MLLM that writing took, the one over the prompt included; 0 where nothing was written."""


class Reasoner(nn.Module):
    """An MLLM with its processor: batched, left-padded prompts; generation that keeps the hidden states.

    The MLLM may be given as a function that reads it: it is then read by the first call that needs it, and `release`
    gives its memory back until the next.

    Any number of threads may call it: they take turns, since the tokenizer and what is kept of prompts are shared.
    Whoever runs `mllm` by hand meanwhile holds `lock`.
    """

    def __init__(
        self,
        mllm: Mllm | Callable[[], Mllm],
        processor: ReasonerProcessor,
    ) -> None:
        super().__init__()
        self._mllm = mllm if isinstance(mllm, Mllm) else None
        self._read_mllm = None if isinstance(mllm, Mllm) else mllm
        self.processor = processor
        self.lock = SharedLock()
        self._beginnings = Beginnings()

    @property
    def mllm(self) -> Mllm:
        """The MLLM, read now if it has not been."""
        with self.lock:
            if self._mllm is None and self._read_mllm is not None:
                self._mllm = self._read_mllm()
            return cast(Mllm, self._mllm)

    @property
    def is_loaded(self) -> bool:
        """Whether the MLLM is in memory."""
        return self._mllm is not None

    def release(self) -> None:
        """Give the MLLM's memory back, if it can be read again when needed."""
        if self._read_mllm is None:
            return
        with self.lock:
            self._mllm = None
            self.forget()
            gc.collect()
            torch.cuda.empty_cache()

    def forget(self) -> None:
        """Let go what is kept of prompts for others that begin alike."""
        with self.lock:
            self._beginnings.clear()

    @property
    def hidden_size(self) -> int:
        """C, the width of the hidden states."""
        text_config: Any = self.mllm.config.text_config
        return int(text_config.hidden_size)

    @property
    def end_token_id(self) -> int:
        """The token that ends a response that is written for the MLLM."""
        return int(self.processor.tokenizer.eos_token_id)

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """All tokens that end what the MLLM writes: the tokenizer's, then others of its `generation_config.json`
        (Qwen2.5-VL: `<|im_end|>` and `<|endoftext|>`)."""
        others: Any = self.mllm.generation_config.eos_token_id
        listed = [] if others is None else others if isinstance(others, (list, tuple)) else [others]
        return tuple(dict.fromkeys([self.end_token_id, *map(int, listed)]))

    @property
    def pad_token_id(self) -> int:
        """The token that fills rows."""
        tokenizer = self.processor.tokenizer
        return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)

    @cached_property
    def _knows_capitals(self) -> bool:
        return knows_capitals(self.processor.tokenizer)

    def words(self, concept: str) -> str:
        """A concept as it goes into a prompt: mere text, whatever tokens it spells, in lower case where the MLLM was
        trained on nothing else.
        """
        return as_plain_text(concept if self._knows_capitals else concept.lower())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has by itself, control tokens in it read as text."""
        return [len(ids) for ids in self.response_ids(texts, ended=False)]

    def render(self, prompt: Prompt) -> str:
        """The chat text of a prompt, ready for the response to follow."""
        return self.processor.apply_chat_template(prompt.messages(), tokenize=False, add_generation_prompt=True)

    def encode(
        self, prompts: Sequence[Prompt], responses: Sequence[str] | None = None, *, ended: bool = True
    ) -> BatchFeature:
        """Model inputs of a batch, left-padded; with `responses`, each followed by its response and the end token.

        Control tokens that a response spells are text. Without `ended` there is no end token: the response goes on.
        """
        texts = [self.render(prompt) for prompt in prompts]
        images = [list(prompt.images) for prompt in prompts]
        with self.lock:
            inputs = self.processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt")
            if responses is not None:
                inputs = self._followed_by(inputs, self.response_ids(responses, ended=ended))
            return inputs.to(self.mllm.device)

    def response_ids(self, responses: Sequence[str], *, ended: bool = True) -> list[list[int]]:
        """Tokens of responses as the MLLM would have written them: by themselves, control tokens in them
        read as text, and with the end token unless they are not `ended`.

        Tokenised behind its prompt, a response that begins with a line end would share a token with the prompt's last.
        """
        said = [without_control_tokens(response) for response in responses]
        with self.lock:
            rows = tokenize(self.processor.tokenizer, said, add_special_tokens=False).input_ids
        return [[*row, self.end_token_id] if ended else list(row) for row in rows]

    def _followed_by(self, prompts: BatchFeature, responses: Sequence[Sequence[int]]) -> BatchFeature:
        """The inputs of left-padded prompts with tokens after each, left-padded again."""
        kept = prompts.attention_mask.bool()
        fills = {"input_ids": self.pad_token_id, "attention_mask": 0, "mm_token_type_ids": 0}
        more = {
            "input_ids": [torch.tensor(row, dtype=torch.long) for row in responses],
            "attention_mask": [torch.ones(len(row), dtype=torch.long) for row in responses],
            "mm_token_type_ids": [torch.zeros(len(row), dtype=torch.long) for row in responses],
        }
        joined = {
            name: nn.utils.rnn.pad_sequence(
                [torch.cat([row[keep], tail]) for row, keep, tail in zip(prompts[name], kept, more[name], strict=True)],
                batch_first=True,
                padding_value=fill,
                padding_side="left",
            )
            for name, fill in fills.items()
        }
        return BatchFeature({**prompts, **joined})

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        begun: Sequence[str] = (),
        seed: int | None = None,
        remember: bool = False,
    ) -> Generation:
        """Responses to a batch of prompts, greedy unless `temperature` > 0.

        The states come out of the generation itself: each pass's are kept, and the last token, which no further one
        follows, is read as well. No second pass over the prompt. Of prompts that say what parts their responses have,
        the tags are drafted rather than written (`conceptseg.models.drafting`).

        Args:
            prompts: any number.
            max_new_tokens: longest response, what is begun not counted.
            temperature: of sampling.
            top_p: share of the likeliest tokens that are drawn from.
            begun: how each response begins, to be gone on with; it is part of the response, its states included, but
                read in one pass with the prompt instead of being written token by token.
            seed: of the sampling; None takes torch's own state.
            remember: whether what is read before the last picture is kept for prompts that begin alike, where all of
                these do. Greedily, what was said to them is then expected to be said again, and confirmed or not.
        """
        if not prompts:
            raise InputError("There is nothing to respond to: give at least one prompt.")
        with self.lock:
            begun_ids = self.response_ids(begun, ended=False) if begun else [[] for _ in prompts]
            inputs = self.encode(prompts, begun, ended=False) if begun else self.encode(prompts)
            start = self._shared_beginning(prompts, inputs) if remember else None
            earlier = start.kept.responses if start is not None and temperature <= 0 and not any(begun) else ()
            rows = [self._row(*one, earlier) for one in zip(prompts, begun_ids, strict=True)]
            writer = Writer(self.mllm, chooser(temperature, top_p), self.end_token_ids, max_new_tokens)
            with _drawn_by(seed, self.mllm.device):
                writer.write(opening_of(self.mllm, inputs, start), rows)
            if start is not None and not any(begun):
                start.kept.responses.extend(row.tokens for row in rows)
            return self._as_generation(rows, begun_ids, writer.passes)

    def _row(self, prompt: Prompt, begun: list[int], earlier: Iterable[Sequence[int]]) -> Row:
        tags = TagDraft(prompt.parts, self._token_texts, self.end_token_id)
        drafts = Drafts(Echo(earlier), tags)
        drafts.see(begun)
        return Row(drafts, list(begun))

    @cached_property
    def _token_texts(self) -> TokenTexts:
        return TokenTexts(self.processor.tokenizer)

    def _shared_beginning(self, prompts: Sequence[Prompt], inputs: BatchFeature) -> SharedStart | None:
        """What all prompts begin with, read now if it has not been; None where they begin differently, or hardly."""
        image_token: Any = self.processor.image_token_id
        start = common_start(inputs, [len(prompt.images) for prompt in prompts], int(image_token))
        if start is None:
            return None
        pictures = [[fingerprint_picture(one) for one in p.images[: start.pictures]] for p in prompts]
        if any(others != pictures[0] for others in pictures):
            return None
        key = (start.tokens, tuple(pictures[0]), weights_version(self.mllm))
        kept = self._beginnings.find(key)
        return SharedStart(start, kept or self._beginnings.keep(key, read_start(self.mllm, inputs, start)))

    def _as_generation(self, rows: Sequence[Row], begun: Sequence[Sequence[int]], passes: int) -> Generation:
        """Rows side by side: what is begun ends where what is written begins, padded to the left and to the right."""
        longest = max(map(len, begun))
        places = [range(longest - len(given), longest + row.written) for row, given in zip(rows, begun, strict=True)]
        states = [torch.cat(row.states) for row in rows]
        shape = (len(rows), max(place.stop for place in places))
        token_ids = torch.full(shape, self.pad_token_id, device=states[0].device)
        mask = torch.zeros(shape, dtype=torch.bool, device=states[0].device)
        hidden = states[0].new_zeros(*shape, states[0].shape[-1])
        for number, (row, place) in enumerate(zip(rows, places, strict=True)):
            token_ids[number, place.start : place.stop] = torch.tensor(row.tokens, device=token_ids.device)
            mask[number, place.start : place.stop] = True
            hidden[number, place.start : place.stop] = states[number]
        texts = self.processor.tokenizer.batch_decode([row.tokens for row in rows], skip_special_tokens=True)
        return Generation(texts, token_ids, hidden, mask, tuple(row.ended for row in rows), passes)

    def hidden_states_of(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Generation:
        """The same states for responses that are already written, by one full pass over prompt and response."""
        with self.lock:
            inputs = self.encode(prompts, responses)
            states = self.mllm.model(**inputs, use_cache=False).last_hidden_state
            lengths = torch.tensor([len(row) for row in self.response_ids(responses)], device=states.device)
        longest = int(lengths.max())
        position = torch.arange(longest, device=lengths.device)
        mask = position >= longest - lengths[:, None]
        token_ids = inputs.input_ids[:, -longest:]
        return Generation(list(responses), token_ids, states[:, -longest:], mask, _ended=(True,) * len(responses))


@contextmanager
def _drawn_by(seed: int | None, device: torch.device) -> Iterator[None]:
    """Chance as a seed has it, torch's own state left as it was; nothing is changed without a seed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
