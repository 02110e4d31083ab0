"""The released ConceptSeg-R1: run as it is, or brought into our format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.checkpoints import Checkpoint, Layout, open_checkpoint
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.config import CONFIG_FILE, CTM_FILE
from conceptseg.models.hub import Hub
from conceptseg.models.loading import read_processor, read_translation_tensors
from conceptseg.models.released_layout import mllm_name, translation_name
from conceptseg.models.sam_files import SAM_REPO
from conceptseg.models.tensor_files import INDEX_FILE, WEIGHTS_FILE

__all__ = ["import_checkpoint", "load_released"]

_GENERATION_FILE = "generation_config.json"


def load_released(
    source: str | Path,
    *,
    sam: str | Path | None = SAM_REPO,
    device: str = "cpu",
    dtype: torch.dtype | str | None = None,
    **options: Any,
) -> ConceptSegModel:
    """The released ConceptSeg-R1 from a folder or hub id, asked in its own frame and words.

    Its canvas and target are 600 pixels wide, its boxes live in that frame, its question is the template "released".
    The shortcut router follows the paper (Eq. 9), where the released scripts do not clamp the limit.

    Args:
        source: e.g. `zhaoyuan666/ConceptSeg-R1-7B`.
        sam: folder or hub id of SAM 3, which is not in the file; `CONCEPTSEG_SAM` names another place for the default.
            None leaves SAM 3 out.
        device: see `conceptseg.models.loading.pick_device`.
        dtype: of the MLLM's weights; the concept translation and SAM 3 are float32.
        options: more of `conceptseg.models.loading.LoadOptions`.

    Raises:
        HubAccessError: a repository is gated, unknown or out of reach.
        CheckpointError: tensors are missing, extra or of another shape (all are listed), or it is another kind of file.
    """
    named = None if sam is None or str(sam) == SAM_REPO else str(sam)
    return ConceptSegModel.from_pretrained(
        source, sam=named, with_sam=sam is not None, device=device, dtype=dtype, **options
    )


def import_checkpoint(
    source: str | Path,
    destination: str | Path,
    *,
    sam: str = SAM_REPO,
    dtype: torch.dtype | None = None,
    hub: Hub | None = None,
) -> Path:
    """Write a released ConceptSeg-R1 in our format, a shard at a time, so that any machine can do it.

    SAM 3 is referred to, not copied: its licence is not ours to pass on.

    Args:
        source: folder or hub id in the released layout.
        destination: a folder that is empty or not there yet; `config.json` is written last.
        sam: what the result names as its SAM 3.
        dtype: storage type; None keeps theirs.
        hub: where to ask for repositories; the Hugging Face hub by default.

    Returns:
        The destination.

    Raises:
        InputError: the destination holds something.
        CheckpointError: the source is not of the released layout, or damaged.
    """
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} is not empty: name a new folder to import into.")
    checkpoint = open_checkpoint(str(source), with_sam=False, hub=hub)
    if checkpoint.layout is not Layout.RELEASED:
        raise CheckpointError(f"{source} is in our format already, or has no concept translation: nothing to import.")
    mllm_folder = destination / "mllm"
    mllm_folder.mkdir(parents=True)
    _write_mllm(checkpoint, mllm_folder, dtype)
    translation = {name: _stored(tensor, dtype) for name, tensor in read_translation_tensors(checkpoint).items()}
    save_file(translation, destination / CTM_FILE, metadata={"format": "pt"})
    config = checkpoint.config.model_copy(update={"mllm": "mllm", "sam": sam})
    (destination / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return destination


def _write_mllm(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype | None) -> None:
    """The MLLM as transformers 5 stores it: tensors under today's names, config, processor."""
    by_file: dict[Path, list[str]] = {}
    for name, info in checkpoint.mllm_tensors.items():
        tied_copy = checkpoint.mllm_config.tie_word_embeddings and name == "lm_head.weight"
        if translation_name(name) is None and not tied_copy:
            by_file.setdefault(info.file, []).append(name)
    weight_map: dict[str, str] = {}
    total = 0
    for file_name, (file, names) in zip(_shard_names(len(by_file)), sorted(by_file.items()), strict=True):
        tensors = dict(_renamed(file, names, dtype))
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file_name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if len(by_file) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    checkpoint.mllm_config.save_pretrained(folder)
    read_processor(checkpoint.mllm_folder, checkpoint.mllm_config).save_pretrained(folder)
    if (checkpoint.mllm_folder / _GENERATION_FILE).is_file():
        shutil.copyfile(checkpoint.mllm_folder / _GENERATION_FILE, folder / _GENERATION_FILE)


def _renamed(file: Path, names: Sequence[str], dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
    with safe_open(file, framework="pt") as content:
        for name in names:
            yield mllm_name(name), _stored(content.get_tensor(name), dtype)


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return (tensor if dtype is None else tensor.to(dtype)).contiguous()


def _shard_names(count: int) -> list[str]:
    """transformers' names for the files of a state dict in `count` parts."""
    if count == 1:
        return [WEIGHTS_FILE]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
