"""What a model would need, told from the configs of its parts: nothing large is downloaded or read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import Sam3Config

from conceptseg.models.checkpoints import parts_of
from conceptseg.models.config import CONFIG_FILE, ConceptSegConfig, read_json
from conceptseg.models.families import MllmConfig
from conceptseg.models.full_size import KNOWN_MODELS, qwen2_5_vl_config
from conceptseg.models.hub import Hub, Source, hub_settings, resolve
from conceptseg.models.memory import BITS, MemoryEstimate, required_memory
from conceptseg.models.released_layout import is_released_layout, mllm_config, translation_config
from conceptseg.models.sam_files import SAM_REPO, SamConfig, sam_config
from conceptseg.models.tensor_files import read_headers
from conceptseg.models.translation import TranslationConfig

__all__ = ["estimate_memory"]


def estimate_memory(
    source: str, *, sam: str | None = None, batch_size: int = 1, hub: Hub | None = None
) -> tuple[MemoryEstimate, ...]:
    """Memory a model would take with 16-, 8- and 4-bit weights in its MLLM.

    A published model is estimated from its known sizes, without the hub. Of any other that is not here only the
    `config.json` of each part is fetched.

    Args:
        source: see `conceptseg.models.checkpoints`.
        sam: where SAM 3 would come from.
        batch_size: images reasoned about at a time.
        hub: where to ask for repositories; the Hugging Face hub by default.

    Raises:
        InputError: the source is neither a folder nor a hub id.
        HubAccessError: a repository is gated, unknown or out of reach.
        CheckpointError: a config is missing, damaged, or of another architecture.
    """
    home, *others = parts_of(source, sam)
    known = KNOWN_MODELS.get(home.repo_id)
    if known is not None and known.size:
        config = qwen2_5_vl_config(known.size)
        return required_memory(config, Sam3Config(), known.translation, bits=BITS, batch_size=batch_size)
    return required_memory(*_sizes(home, others, sam, hub), bits=BITS, batch_size=batch_size)


def _sizes(
    home: Source, others: Sequence[Source], sam: str | None, hub: Hub | None
) -> tuple[MllmConfig, SamConfig, TranslationConfig | None]:
    folder = resolve(home, hub=hub, only=CONFIG_FILE)
    if read_json(folder / CONFIG_FILE).get("format") != "conceptseg":
        mllm, translation = _mllm_sizes(home, hub)
        return mllm, _sam_sizes(others[0], hub), translation
    config = ConceptSegConfig.read(folder)
    mllm, _ = _mllm_sizes(_part(home, config.mllm, hub), hub)
    elsewhere = sam or (hub_settings().sam if "/" in config.sam else None)
    segmenter = Source(elsewhere, "SAM 3", "--sam") if elsewhere else _part(home, config.sam, hub)
    return mllm, _sam_sizes(segmenter, hub), config.translation


def _part(home: Source, name: str, hub: Hub | None) -> Source:
    """A part of a checkpoint of ours: what its name refers to, or its sub-folder with the config in it."""
    if "/" in name:
        return Source(name)
    return Source(str(resolve(home, hub=hub, only=f"{name}/{CONFIG_FILE}") / name))


def _mllm_sizes(source: Source, hub: Hub | None) -> tuple[MllmConfig, TranslationConfig | None]:
    """Sizes of an MLLM and of the concept translation beside it: from its tensors' headers if they are here."""
    folder = resolve(source, hub=hub, only=CONFIG_FILE)
    raw = read_json(folder / CONFIG_FILE)
    if any(folder.glob("*.safetensors")):
        tensors = read_headers(folder)
        return mllm_config(raw, tensors), translation_config(tensors) if is_released_layout(tensors) else None
    if raw.get("model_type") == "qwen2_vl":  # its vision sizes mean something else; every Qwen2.5-VL has this tower
        tower: Any = qwen2_5_vl_config("7B").vision_config
        raw = raw | {"model_type": "qwen2_5_vl", "vision_config": tower.to_dict()}
    config = mllm_config(raw, {})
    text_config: Any = config.text_config
    queries = raw.get("num_of_query")
    return config, TranslationConfig(hidden_size=text_config.hidden_size, num_queries=queries) if queries else None


def _sam_sizes(source: Source, hub: Hub | None) -> SamConfig:
    if source.repo_id == SAM_REPO:
        return Sam3Config()  # published, and gated
    folder = resolve(source, hub=hub, only=CONFIG_FILE)
    return sam_config(read_json(folder / CONFIG_FILE), folder)
