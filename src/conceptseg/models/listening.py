"""Hearing what the MLLM writes while it writes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from conceptseg.models.reasoner import Reasoner

__all__ = ["overheard"]


@contextmanager
def overheard(reasoner: Reasoner, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell the response so far whenever the MLLM has read a further token of it, while the block runs.

    Heard are generations of the calling thread for one prompt; what `tell` raises ends the generation. It is told ""
    when a prompt is read, and of a response that is begun (`Reasoner.generate`) what comes behind the beginning.
    The MLLM is read if it has not been.

    Args:
        reasoner: to listen to.
        tell: called in the thread that generates.
    """
    thread, written = threading.get_ident(), list[int]()

    def hear(_module: nn.Module, _inputs: object, named: dict[str, Any]) -> None:
        ids: Tensor | None = named.get("input_ids")
        if threading.get_ident() != thread or ids is None or len(ids) != 1:
            return
        if ids.shape[1] > 1:
            written.clear()
        else:
            written.append(int(ids[0, -1]))
        tell(reasoner.processor.tokenizer.decode(written, skip_special_tokens=True))

    mllm: Any = reasoner.mllm
    hook = mllm.model.register_forward_pre_hook(hear, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
