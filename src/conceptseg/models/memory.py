"""How much memory a model needs, told before it is loaded, and out-of-memory errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from conceptseg.errors import ResourceError
from conceptseg.models.families import MllmConfig, mllm_class
from conceptseg.models.sam_files import SamConfig, sam_model
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

__all__ = ["BITS", "MemoryEstimate", "check_memory", "device_memory", "explain_out_of_memory", "required_memory"]

BITS = (16, 8, 4)
"""Weight sizes of the MLLM that estimates are given for."""

_GIB = 2**30
_IN_PYTHON = "(In Python: batch_size, bits, device_map.)"
_FLOAT32_BYTES = 4
_NF4_BITS = 4.127  # 4 bits, plus scales for blocks of 64, themselves quantised in blocks of 256 (double quantisation)
_INT8_BITS = 8.0
_PROMPT_TOKENS = 2 * (588 // 28) ** 2 + 400  # mosaic and target of 588 pixels, and the instruction
_RESPONSE_TOKENS = 768
_WORKING_BYTES = {"mllm": 1.0 * _GIB, "sam": 1.5 * _GIB}  # activations, allocator and CUDA context: an allowance


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes a model takes with its MLLM's weights at a number of bits; SAM 3 and the CTM are float32 throughout."""

    bits: int
    mllm: int
    """Weights of the MLLM: linear layers of the language model at `bits`, the rest at 16 (or all at 32)."""
    translation: int
    sam: int
    cache: int
    """Keys and values of a full prompt and response, for a batch."""
    working: int
    """An allowance for activations."""

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.mllm + self.translation + self.sam + self.cache + self.working


def required_memory(
    mllm: MllmConfig,
    sam: SamConfig | None,
    translation: TranslationConfig | None,
    *,
    bits: Sequence[int] = BITS,
    batch_size: int = 1,
) -> tuple[MemoryEstimate, ...]:
    """What a model would need at each weight size, counted on its architecture; nothing is allocated.

    Args:
        mllm: config of the MLLM.
        sam: config of SAM 3, None without it.
        translation: sizes of the concept translation, None without one.
        bits: any of 32, 16, 8 and 4.
        batch_size: images reasoned about at a time.
    """
    with torch.device("meta"):
        model = mllm_class(mllm)(mllm)
        model.tie_weights()
        sam_bytes = _FLOAT32_BYTES * _count(sam_model(sam)) if sam else 0
        translation_bytes = _FLOAT32_BYTES * _count(ConceptTranslation(translation)) if translation else 0
    total = _count(model)
    layers = (module for module in model.model.language_model.modules() if isinstance(module, nn.Linear))
    quantised = sum(layer.weight.numel() for layer in layers)
    working = _WORKING_BYTES["mllm"] * batch_size**0.5 + (_WORKING_BYTES["sam"] if sam else 0)
    return tuple(
        MemoryEstimate(
            bits=width,
            mllm=_weight_bytes(total, quantised, width),
            translation=translation_bytes,
            sam=sam_bytes,
            cache=_cache_bytes(mllm, width) * batch_size,
            working=int(working),
        )
        for width in bits
    )


def device_memory(device: torch.device) -> int | None:
    """All the memory a device has, in bytes; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def check_memory(device: torch.device, estimates: Sequence[MemoryEstimate], bits: int) -> None:
    """Refuse a model whose weights alone are more than the whole device, and say which would fit.

    Raises:
        ResourceError: it cannot fit.
    """
    available = device_memory(device)
    by_bits = {estimate.bits: estimate for estimate in estimates}
    wanted = by_bits[bits]
    weights = wanted.mllm + wanted.translation + wanted.sam
    if available is None or weights <= available:
        return
    fitting = [e for e in estimates if e.bits < bits and e.total <= available]
    advice = "".join(f" With --bits {e.bits} it needs {_gib(e.total)}." for e in fitting[:1])
    raise ResourceError(
        f"This model needs about {_gib(wanted.total)} with {bits}-bit weights, but {device} has {_gib(available)} in "
        f"all.{advice} --device-map auto spreads the MLLM over several GPUs and main memory (slow). {_IN_PYTHON}"
    )


@contextmanager
def explain_out_of_memory(what: str) -> Iterator[None]:
    """Turn running out of memory while doing `what` into a sentence with a way out.

    Raises:
        ResourceError: memory ran out inside the block.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(
            f"Out of memory while {what}. Use a smaller --batch-size, smaller weights (--bits 8, --bits 4), or "
            f"--device-map auto; `conceptseg doctor --model M` estimates what each needs. {_IN_PYTHON}"
        ) from error


def _weight_bytes(total: int, quantised: int, bits: int) -> int:
    if bits >= 16:
        return total * bits // 8
    width = _INT8_BITS if bits == 8 else _NF4_BITS
    return int(2 * (total - quantised) + quantised * width / 8)


def _cache_bytes(config: MllmConfig, bits: int) -> int:
    text: Any = config.text_config
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    values = 2 * text.num_hidden_layers * text.num_key_value_heads * head_width
    return values * max(bits, 16) // 8 * (_PROMPT_TOKENS + _RESPONSE_TOKENS)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
