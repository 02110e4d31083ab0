"""Hearing what the MLLM writes while it writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conceptseg.models.reasoner import Reasoner

__all__ = ["overheard", "tell_listener"]

_LISTENER: ContextVar[Callable[[Sequence[int]], None] | None] = ContextVar("listener", default=None)
"""Who hears what the running thread generates."""


@contextmanager
def overheard(reasoner: Reasoner, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell the response so far whenever there is more of it, what was begun included, while the block runs.

    Heard are generations of the running thread for one prompt; what `tell` raises ends the generation.

    Args:
        reasoner: whose words they are.
        tell: called in the thread that generates.
    """
    tokenizer = reasoner.processor.tokenizer
    before = _LISTENER.set(lambda tokens: tell(str(tokenizer.decode(list(tokens), skip_special_tokens=True))))
    try:
        yield
    finally:
        _LISTENER.reset(before)


def tell_listener(responses: Sequence[Sequence[int]]) -> None:
    """Called by the loop that writes, after each pass, with the tokens of all responses so far."""
    hear = _LISTENER.get()
    if hear is not None and len(responses) == 1:
        hear(responses[0])
