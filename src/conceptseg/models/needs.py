"""What a model would need, by its name: known for the published ones before anything is downloaded."""

from __future__ import annotations

from transformers import Sam3Config

from conceptseg.models.checkpoints import open_checkpoint, parts_of
from conceptseg.models.full_size import KNOWN_MODELS, qwen2_5_vl_config
from conceptseg.models.hub import Hub
from conceptseg.models.memory import BITS, MemoryEstimate, required_memory

__all__ = ["estimate_memory"]


def estimate_memory(
    source: str, *, sam: str | None = None, batch_size: int = 1, hub: Hub | None = None
) -> tuple[MemoryEstimate, ...]:
    """Memory a model would take with 16-, 8- and 4-bit weights in its MLLM.

    A published model is estimated from its known sizes, without the hub; any other has to be here or is downloaded.

    Args:
        source: see `conceptseg.models.checkpoints`.
        sam: where SAM 3 would come from.
        batch_size: images reasoned about at a time.
        hub: where to ask for repositories; the Hugging Face hub by default.

    Raises:
        InputError, HubAccessError, CheckpointError: as from `open_checkpoint`.
    """
    mllm = parts_of(source, sam)[0]
    known = KNOWN_MODELS.get(mllm.name)
    if known is not None and known.size:
        config = qwen2_5_vl_config(known.size)
        return required_memory(config, Sam3Config(), known.translation, bits=BITS, batch_size=batch_size)
    checkpoint = open_checkpoint(source, sam=sam, hub=hub)
    sizes = (checkpoint.mllm_config, checkpoint.sam_config, checkpoint.config.translation)
    return required_memory(*sizes, bits=BITS, batch_size=batch_size)
