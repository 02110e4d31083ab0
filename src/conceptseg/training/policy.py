"""The policy of stage II: an MLLM that, in the pass that gives its log-probabilities, also gives concept tokens.

The concept translation becomes a part of the MLLM module while it trains: one optimizer, one wrapper (DDP, ZeRO, FSDP)
and one gradient synchronisation hold both, and its tokens leave through the module's own output, where wrappers look
for what gradients will come back through.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, make_dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from conceptseg.models.translation import ConceptTranslation
from conceptseg.training.config import PolicySection

__all__ = [
    "TokenReader",
    "hidden_translation",
    "join_translation",
    "set_trainable",
    "split_state",
    "take_translation",
]

_PART = "concept_translation"
_TOKENS = "concept_tokens"


class TokenReader:
    """Makes a policy's forward pass give concept tokens (Eq. 3) when somebody is reading.

        with reader.reading(wrapped_policy, response_mask) as tokens:
            ...  # one forward pass of `wrapped_policy`, e.g. the trainer's own
        tokens[-1]  # batch × queries × prompt

    Without a reader the policy behaves as before; generation is not touched. Build it after everything that patches
    the policy's `forward` itself, such as TRL's fused head.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        self._policy = policy
        self._mask: Tensor | None = None
        self._detach = False
        self._forward = policy.forward

        @functools.wraps(policy.forward)  # `generate` looks at the signature
        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._run(*args, **kwargs)

        policy.forward = forward

    @contextmanager
    def reading(
        self, wrapped: nn.Module, mask: Bool[Tensor, "batch tokens"], *, detach: bool = False
    ) -> Iterator[list[Tensor]]:
        """Collect the concept tokens of every pass of `wrapped` inside the block.

        Args:
            wrapped: the policy, or whatever it is wrapped in.
            mask: true on the response's tokens, which are the last columns of the pass's input.
            detach: keep gradients of the tokens from the MLLM.
        """
        collected: list[Tensor] = []
        hook = wrapped.register_forward_hook(lambda _module, _inputs, output: collected.append(output[_TOKENS]))
        self._mask, self._detach = mask, detach
        try:
            yield collected
        finally:
            self._mask = None
            hook.remove()

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if self._mask is None:
            return self._forward(*args, **kwargs)
        with _final_states(self._policy) as states:
            output = self._forward(*args, **kwargs)
        read = states[-1][:, -self._mask.shape[1] :]
        tokens = getattr(self._policy, _PART)(read.detach() if self._detach else read, self._mask)
        return _with_tokens(output, tokens)


def join_translation(mllm: PreTrainedModel, translation: ConceptTranslation) -> None:
    """Make a concept translation a part of the MLLM module."""
    mllm.add_module(_PART, translation)


def take_translation(mllm: nn.Module) -> ConceptTranslation | None:
    """Part a joined translation from the MLLM again; None where there is none."""
    part = mllm._modules.pop(_PART, None)
    return part if isinstance(part, ConceptTranslation) else None


@contextmanager
def hidden_translation(mllm: nn.Module) -> Iterator[None]:
    """Hide the joined translation from who walks over the MLLM's parameters, e.g. to send them to vLLM."""
    part = mllm._modules.pop(_PART, None)
    try:
        yield
    finally:
        if part is not None:
            mllm.add_module(_PART, part)


def split_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A joined policy's tensors as those of the MLLM and those of the translation, each under its own names."""
    prefix = f"{_PART}."
    mllm = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return mllm, own


def set_trainable(mllm: PreTrainedModel, section: PolicySection, *, translation: bool) -> None:
    """Which parameters of a policy learn; with LoRA the adapter decides for the MLLM.

    Args:
        mllm: the policy, its translation joined or not.
        section: what of the MLLM learns.
        translation: whether the joined translation does.
    """
    mllm.requires_grad_(section.mllm == "full")
    if not section.vision:
        mllm.model.visual.requires_grad_(False)
    if hasattr(mllm, _PART):
        getattr(mllm, _PART).requires_grad_(translation)


@contextmanager
def _final_states(policy: PreTrainedModel) -> Iterator[list[Tensor]]:
    """The states after the language model's final norm, of each pass inside the block."""
    states: list[Tensor] = []
    norm = policy.model.language_model.norm
    hook = norm.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    try:
        yield states
    finally:
        hook.remove()


def _with_tokens(output: ModelOutput, tokens: Tensor) -> ModelOutput:
    """The output with one field more, as a type that wrappers can take apart and put together again."""
    kept = {field.name: getattr(output, field.name) for field in fields(output)}  # type: ignore[arg-type]
    return _extended(type(output))(**kept, **{_TOKENS: tokens})


@functools.cache
def _extended(kind: type[ModelOutput]) -> type[ModelOutput]:
    return make_dataclass(f"{kind.__name__}WithTokens", [(_TOKENS, torch.Tensor | None, None)], bases=(kind,))
