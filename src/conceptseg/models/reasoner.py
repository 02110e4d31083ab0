"""The MLLM (Qwen2.5-VL or Qwen3-VL) as reasoner: from prompts to responses and the hidden states of their tokens."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import BatchFeature, GenerationConfig

from conceptseg.models.families import Mllm
from conceptseg.models.locks import SharedLock
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


class Reasoner(nn.Module):
    """An MLLM with its processor: batched, left-padded prompts; generation that keeps the hidden states.

    The MLLM may be given as a function that reads it: it is then read by the first call that needs it, and `release`
    gives its memory back until the next.

    Any number of threads may call it: they take turns, since a generation leaves traces in the MLLM (rotary offsets,
    the hook that keeps the states) and in the tokenizer. Whoever runs `mllm` by hand meanwhile holds `lock`.
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
            gc.collect()
            torch.cuda.empty_cache()

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
    ) -> Generation:
        """Responses to a batch of prompts, greedy unless `temperature` > 0.

        The states come out of the generation itself: each step's state is caught at the final norm, and the last
        token, which generation never feeds back, costs one cached step. No second pass over the prompt.

        Args:
            prompts: any number.
            max_new_tokens: longest response, what is begun not counted.
            temperature: of sampling.
            top_p: share of the likeliest tokens that are drawn from.
            begun: how each response begins, to be gone on with; it is part of the response, its states included, but
                read in one pass with the prompt instead of being written token by token.
            seed: of the sampling; None takes torch's own state.
        """
        config = self._generation_config(max_new_tokens, temperature, top_p)
        with self.lock:
            inputs = self.encode(prompts, begun, ended=False) if begun else self.encode(prompts)
            lengths = self.count_tokens(begun) if begun else [0] * len(prompts)
            mllm: Any = self.mllm
            with _states_of_steps(mllm, max(lengths, default=0)) as steps, _drawn_by(seed, mllm.device):
                output = mllm.generate(**inputs, generation_config=config)
                self._feed_last_token(output, inputs)
        return self._as_generation(output.sequences, inputs.input_ids.shape[1], lengths, steps)

    def _as_generation(
        self, sequences: Tensor, width: int, begun: Sequence[int], steps: Sequence[Tensor]
    ) -> Generation:
        """What is response in a batch whose first `width` columns end with the `begun` tokens of each row."""
        longest = max(begun, default=0)
        written, ended = self._response_mask(sequences[:, width:])
        position = torch.arange(longest, device=sequences.device)
        given = position >= longest - torch.tensor(begun, device=sequences.device)[:, None]
        token_ids, mask = sequences[:, width - longest :], torch.cat([given, written], dim=1)
        texts = self.processor.tokenizer.batch_decode(
            [row[keep] for row, keep in zip(token_ids, mask, strict=True)], skip_special_tokens=True
        )
        # The first call is the prompt's own pass; its last states belong to what is begun, if that is nothing to none.
        states = torch.cat([steps[0][:, steps[0].shape[1] - longest :], *steps[1:]], dim=1)
        return Generation(texts, token_ids, states, mask, _ended=ended)

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

    def _generation_config(self, max_new_tokens: int, temperature: float, top_p: float) -> GenerationConfig:
        # All are named, because what is not is taken from the checkpoint (Qwen2.5-VL: 0.1, 0.001, 1), or, of top_k, is
        # 50. Greedily they are at transformers' neutral values, at which it does not warn of them.
        chance: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        greedy: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50}
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            eos_token_id=list(self.end_token_ids),
            pad_token_id=self.pad_token_id,
            return_dict_in_generate=True,
            use_cache=True,
            # Named, because a checkpoint's own 1.05 (Qwen2.5-VL) would punish coordinates that occur twice.
            repetition_penalty=1.0,
            **(chance if temperature > 0 else greedy),
        )

    def _feed_last_token(self, output: Any, inputs: BatchFeature) -> None:
        width = output.sequences.shape[1]
        attention_mask = torch.ones_like(output.sequences)
        attention_mask[:, : inputs.attention_mask.shape[1]] = inputs.attention_mask
        positions = attention_mask.cumsum(dim=1)[:, -1:] - 1 + self.mllm.model.rope_deltas
        self.mllm.model(
            input_ids=output.sequences[:, width - 1 :],
            attention_mask=attention_mask,
            position_ids=positions[None].expand(3, -1, -1),
            past_key_values=output.past_key_values,
            use_cache=True,
        )

    def _response_mask(self, token_ids: Tensor) -> tuple[Tensor, tuple[bool, ...]]:
        is_end = torch.isin(token_ids, torch.tensor(self.end_token_ids, device=token_ids.device))
        ends_before = is_end.cumsum(dim=1) - is_end.long()
        return ends_before == 0, tuple(is_end.any(dim=1).tolist())


@contextmanager
def _drawn_by(seed: int | None, device: torch.device) -> Iterator[None]:
    """Chance as a seed has it, torch's own state left as it was; nothing is changed without a seed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _states_of_steps(mllm: Mllm, begun: int = 0) -> Iterator[list[Tensor]]:
    """Collect the states of every pass through the language model's final norm: the last position's, and of the first
    pass, which reads the prompt, as many as there are begun."""
    steps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, states: Tensor) -> None:
        steps.append(states[:, -(1 if steps else max(1, begun)) :].detach())

    hook = mllm.model.language_model.norm.register_forward_hook(keep)
    try:
        yield steps
    finally:
        hook.remove()
