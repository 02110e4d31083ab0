"""SAM 3.1, or SAM 3 by the names of Meta's package, brought into the form that transformers stores SAM 3 in.

Only the detector: it finds and draws in single images. The tracker is left out, and said so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import Sam3Config

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.config import CONFIG_FILE, read_json
from conceptseg.models.hub import Hub, Source, require_access, resolve
from conceptseg.models.meta_layout import Place, is_meta_layout, is_sam_3_1, left_out, never_read, places_of
from conceptseg.models.sam_files import (
    CONVERTED_FROM,
    SAM_REPO,
    SamConfig,
    read_sam_tokenizer,
    sam_config,
    sam_model,
)
from conceptseg.models.sharding import whole_weights
from conceptseg.models.tensor_files import WEIGHTS_FILE, TensorInfo, read_header

__all__ = ["ImportedSam", "import_sam", "metas_tensors"]

_LISTED = 12
_POSITIONS = "vision_encoder.backbone.embeddings.position_embeddings"
_TRANSPOSED = "text_encoder.text_projection.weight"


@dataclass(frozen=True)
class ImportedSam:
    """A detector as it was written."""

    folder: Path
    version: str
    """ "SAM 3" or "SAM 3.1"."""
    left_out: Mapping[str, int]
    """How many tensors were left out, by what they serve."""
    empty: tuple[str, ...]
    """Tensors whose result is never read and that the source lacks; they are zeros."""

    def __str__(self) -> str:
        parts = ", ".join(f"{purpose} ({count} tensors)" for purpose, count in self.left_out.items())
        lacking = f" {len(self.empty)} tensors whose result is never read are not in it, and are zeros." * bool(
            self.empty
        )
        return (
            f"{self.folder} is the detector of {self.version}: use it with --sam {self.folder}. Left out: "
            f"{parts or 'nothing'}.{lacking}"
        )


def metas_tensors(source: Path) -> dict[str, TensorInfo]:
    """The tensors of a file or a folder of safetensors if they are a SAM 3 by Meta's names; empty if not."""
    files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
    tensors: dict[str, TensorInfo] = {}
    for file in files if all(file.suffix == ".safetensors" for file in files) else ():
        tensors |= read_header(file)
    return tensors if is_meta_layout(tensors) else {}


@whole_weights()
def import_sam(source: Path, destination: Path, *, tokenizer: str = SAM_REPO, hub: Hub | None = None) -> ImportedSam:
    """Write the detector of a SAM 3.1, or of a SAM 3 by Meta's names, as a folder that `--sam` takes.

    Args:
        source: a safetensors file, or a folder of them with a `config.json` of SAM 3 where its sizes are others than
            the published ones.
        destination: a folder that is empty or not there yet; `config.json` is written last.
        tokenizer: where the tokenizer files come from, if there are none in the source's folder; those of SAM 3 fit.
        hub: where to ask for repositories; the Hugging Face hub by default.

    Raises:
        InputError: the destination holds something.
        CheckpointError: tensors have no place in a SAM 3, are missing, or of another shape; all are named.
        HubAccessError: the tokenizer's repository cannot be had.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} is not empty: name a new folder to import into.")
    tensors = metas_tensors(source)
    if not tensors:
        raise CheckpointError(f"{source} holds no SAM 3 by the names of Meta's package (detector.*).")
    version = "SAM 3.1" if is_sam_3_1(tensors) else "SAM 3"
    home = source if source.is_dir() else source.parent
    config = _config_of(home)
    places, expected = places_of(tensors), _expected(config)
    empty = tuple(sorted(name for name in expected.keys() - places.keys() if never_read(name)))
    _check(source, places, expected, tensors, empty)
    words = _tokenizer(home, tokenizer, hub)
    state = {name: _taken(tensors, place, name, expected[name]) for name, place in places.items()}
    state |= {name: torch.zeros(expected[name]) for name in empty}
    destination.mkdir(parents=True, exist_ok=True)
    words.save_pretrained(destination)
    save_file(state, destination / WEIGHTS_FILE, metadata={"format": "pt"})
    told = config.to_dict() | {"architectures": ["Sam3Model"], CONVERTED_FROM: version}
    (destination / CONFIG_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return ImportedSam(destination, version, left_out(tensors), empty)


def _config_of(folder: Path) -> SamConfig:
    """The config beside the weights if it is one of SAM 3; Meta's is none, and all published ones have one size."""
    if (folder / CONFIG_FILE).is_file():
        raw = read_json(folder / CONFIG_FILE)
        if raw.get("model_type") in ("sam3", "sam3_video"):
            return sam_config(raw, folder)
    return Sam3Config()


def _expected(config: SamConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in sam_model(config).state_dict().items()}


def _check(
    source: Path,
    places: Mapping[str, Place],
    expected: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, TensorInfo],
    empty: tuple[str, ...],
) -> None:
    """Every tensor has its place, and every place its tensor."""
    wrong = {
        "have no place in a Sam3Model": [places[name].source for name in places.keys() - expected.keys()],
        "are missing": list(expected.keys() - places.keys() - set(empty)),
        "are of another shape": [
            places[name].source
            for name in places.keys() & expected.keys()
            if _shape(name, places[name], tensors) != expected[name]
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{len(set(names))} {what}: {_listed(names)}" for what, names in wrong.items() if names)
        raise CheckpointError(f"{source} is not the SAM 3 that its sizes call for. Of its tensors {told}.")


def _shape(name: str, place: Place, tensors: Mapping[str, TensorInfo]) -> tuple[int, ...]:
    """A tensor's shape once it is in its place."""
    shape = tensors[place.source].shape
    if place.thirds is not None:
        return (shape[0] // 3, *shape[1:]) if shape[0] % 3 == 0 else shape
    if name == _POSITIONS:
        return (shape[0], shape[1] - 1, *shape[2:])  # Meta's begins with a class token's, which is not used
    return tuple(reversed(shape)) if name == _TRANSPOSED else shape


def _taken(tensors: Mapping[str, TensorInfo], place: Place, name: str, shape: tuple[int, ...]) -> Tensor:
    with safe_open(tensors[place.source].file, framework="pt") as content:
        tensor = content.get_tensor(place.source)
    if place.thirds is not None:
        tensor = tensor.chunk(3)[place.thirds]
    elif name == _POSITIONS:
        tensor = tensor[:, 1:]
    elif name == _TRANSPOSED:
        tensor = tensor.T
    return tensor.float().reshape(shape).contiguous().clone()


def _tokenizer(home: Path, elsewhere: str, hub: Hub | None) -> Any:
    if any((home / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return read_sam_tokenizer(home)
    place = Source(elsewhere, "SAM 3's tokenizer", "--sam")
    require_access([place], hub=hub)
    for files in ("*.txt", "*.json"):
        folder = resolve(place, hub=hub, only=files)
    return read_sam_tokenizer(folder)


def _listed(names: list[str]) -> str:
    some = sorted(set(names))
    return ", ".join(some[:_LISTED]) + (f", and {len(some) - _LISTED} more" if len(some) > _LISTED else "")
