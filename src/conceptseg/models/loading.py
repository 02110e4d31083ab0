"""Finding and loading checkpoints: one call for every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Sam3Model

from conceptseg.errors import CheckpointError, InputError, ResourceError
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel, load_translation
from conceptseg.models.processing import load_reasoner_processor
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.segmenter import PromptSegmenter

__all__ = ["BUNDLED", "bundled_folder", "load_model", "pick_device"]

BUNDLED = "nano"
"""Name of the checkpoint inside the package."""


def bundled_folder() -> Path:
    """Where the package keeps its bundled checkpoint."""
    return Path(__file__).resolve().parent.parent / "weights" / BUNDLED


def pick_device(name: str = "auto") -> torch.device:
    """A torch device from its name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        InputError: torch knows no device of that name.
        ResourceError: the device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Unknown device {name!r}: use auto, cpu, mps, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError(f"Device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device here.")
    return device


def load_model(
    source: str | Path = BUNDLED, *, device: str = "cpu", dtype: torch.dtype | None = None
) -> ConceptSegModel:
    """A model from a checkpoint.

    Args:
        source: `"nano"` (bundled) or a folder written by `ConceptSegModel.save_pretrained`.
        device: see `pick_device`.
        dtype: of the MLLM's weights; None is float32 on a CPU and bfloat16 elsewhere. SAM 3 and the concept
            translation stay in float32: bfloat16 weights degrade SAM 3.

    Raises:
        CheckpointError: there is no such checkpoint, or it is incomplete or of another kind.
    """
    folder = bundled_folder() if source == BUNDLED else Path(source)
    place = pick_device(device)
    config = ConceptSegConfig.read(folder)
    dtype = dtype or (torch.float32 if place.type == "cpu" else torch.bfloat16)
    reasoner = Reasoner(
        Qwen2_5_VLForConditionalGeneration.from_pretrained(_part(folder, config.mllm), dtype=dtype),
        load_reasoner_processor(_part(folder, config.mllm)),
    )
    sam_source = _part(folder, config.sam)
    segmenter = PromptSegmenter(
        Sam3Model.from_pretrained(sam_source, dtype=torch.float32), AutoTokenizer.from_pretrained(sam_source)
    )
    translation = load_translation(folder, config.translation) if config.translation else None
    return ConceptSegModel(config, reasoner, translation, segmenter).to(place).eval()


def _part(folder: Path, name: str) -> str:
    """A part's sub-folder, or the hub id that stands in its place."""
    inside = folder / name
    if inside.is_dir():
        if not any(inside.glob("*.safetensors")):
            raise CheckpointError(f"{inside} holds no .safetensors weights (pickle files are never loaded).")
        return str(inside)
    if "/" in name:
        return name
    raise CheckpointError(f"{folder} is incomplete: its {name}/ folder is missing.")
