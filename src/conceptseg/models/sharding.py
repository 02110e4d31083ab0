"""Whole models in a process that otherwise shares one with others.

Under ZeRO-3, transformers builds every model in pieces, a part on each process, from the moment a `TrainingArguments`
is made; under FSDP it may read weights on the first process only. Both suit the model that is trained, and no other:
SAM 3, a frozen MLLM, a model built to see which tensors it has, and the final model that one process alone puts
together would be empty, or wait for processes that never come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.integrations import deepspeed

__all__ = ["whole_weights"]

_READ_ONCE = "FSDP_CPU_RAM_EFFICIENT_LOADING"


@contextmanager
def whole_weights() -> Iterator[None]:
    """Models that are built, read or run inside the block are this process's own, whatever is sharded outside.

    It may be nested and serves as a decorator too.
    """
    reference = deepspeed._hf_deepspeed_config_weak_ref
    sharding = None if reference is None else reference()
    read_once = os.environ.pop(_READ_ONCE, None)
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if sharding is not None:
            deepspeed.set_hf_deepspeed_config(sharding)
        if read_once is not None:
            os.environ[_READ_ONCE] = read_once
