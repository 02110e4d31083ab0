"""What a folder of safetensors files holds, read from their headers alone: names, shapes and sizes, no weights.

Every checkpoint passes through here before anything large is loaded, so that a pickle file, half a download or a
missing shard is a sentence within milliseconds rather than a traceback after minutes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptseg.errors import CheckpointError

__all__ = [
    "ADAPTER_FILE",
    "INDEX_FILE",
    "WEIGHTS_FILE",
    "TensorInfo",
    "explain_adapter",
    "find_weight_files",
    "read_header",
    "read_headers",
]

WEIGHTS_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_config.json"
INDEX_FILE = "model.safetensors.index.json"

_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_LARGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its file's header describes it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """In safetensors' words: F32, F16, BF16, …"""
    num_bytes: int

    @property
    def num_elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_headers(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of a folder: of `model.safetensors`, or of the shards that its index lists.

    Raises:
        CheckpointError: there are no safetensors, a shard is missing, or a file is empty, cut short or no safetensors
            file; all that is wrong is named at once.
    """
    tensors: dict[str, TensorInfo] = {}
    problems = []
    for file in find_weight_files(folder):
        try:
            tensors.update(read_header(file))
        except CheckpointError as error:
            problems.append(str(error))
    if not problems:
        problems = [f"{name} is in no shard" for name in _names_in_index(folder) if name not in tensors]
    if problems:
        raise CheckpointError(f"{folder} is damaged or only half downloaded: {_shortened(problems)}.")
    return tensors


def find_weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a folder's weights, in order.

    Raises:
        CheckpointError: there are none, or some of those listed in the index are missing.
    """
    if (folder / INDEX_FILE).is_file():
        names = sorted(set(_read_index(folder).values()))
        outside = [name for name in names if Path(name).name != name]
        if outside:
            raise CheckpointError(f"{folder / INDEX_FILE} names files outside its folder: {_shortened(outside)}.")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} is only half downloaded: {len(missing)} of {len(names)} files that {INDEX_FILE} lists are "
                f"missing ({_shortened(missing)}). Download it again; finished files are kept."
            )
        return [folder / name for name in names]
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    raise CheckpointError(_why_no_weights(folder))


def read_header(file: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file.

    Raises:
        CheckpointError: the file is empty, cut short, a Git LFS pointer, or no safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
        if not start:
            raise CheckpointError(f"{file.name} is empty (0 bytes)")
        if start == _LFS_POINTER:
            raise CheckpointError(f"{file.name} is a Git LFS pointer, not the weights (run `git lfs pull`)")
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else _LARGEST_HEADER + 1
        if length > _LARGEST_HEADER:
            raise CheckpointError(f"{file.name} is no safetensors file")
        stream.seek(8)
        header = stream.read(length)
    entries = _parse_header(file, header, length)
    promised = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size < promised:
        raise CheckpointError(f"{file.name} is cut short ({size:,} of {promised:,} bytes)")
    return {
        name: TensorInfo(
            file, tuple(entry["shape"]), entry["dtype"], entry["data_offsets"][1] - entry["data_offsets"][0]
        )
        for name, entry in entries.items()
    }


def _parse_header(file: Path, header: bytes, length: int) -> dict[str, dict[str, Any]]:
    if len(header) < length:
        raise CheckpointError(f"{file.name} is cut short (within its header)")
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        for entry in entries.values():
            first, last = entry["data_offsets"]
            if not (
                isinstance(entry["dtype"], str) and all(isinstance(n, int) for n in (first, last, *entry["shape"]))
            ):
                raise TypeError("a field is of another type")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file.name} is no safetensors file ({type(error).__name__} in its header)") from error
    return entries


def _read_index(folder: Path) -> Mapping[str, str]:
    path = folder / INDEX_FILE
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}): download it again.") from error
    if not (isinstance(weight_map, dict) and weight_map and all(isinstance(v, str) for v in weight_map.values())):
        raise CheckpointError(f"{path} is damaged: its weight_map lists no files. Download it again.")
    return weight_map


def _names_in_index(folder: Path) -> Iterable[str]:
    return _read_index(folder) if (folder / INDEX_FILE).is_file() else ()


def explain_adapter(folder: Path) -> str | None:
    """What to do about a folder that holds a LoRA adapter in place of a model; None if it does not."""
    path = folder / ADAPTER_FILE
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    of = f" of {base}" if base else ""
    return (
        f"{folder} holds a LoRA adapter{of}, not a model. Merge it (peft: `merge_and_unload`, then `save_pretrained`) "
        "and name the merged folder."
    )


def _why_no_weights(folder: Path) -> str:
    if adapter := explain_adapter(folder):
        return adapter
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickled:
        return (
            f"{folder} holds its weights only as pickle files ({_shortened(pickled)}). They can run any code when "
            "opened and are never loaded: get the safetensors files, or convert them with a tool you trust."
        )
    return f"{folder} holds no weights: expected {WEIGHTS_FILE}, or shards with {INDEX_FILE}."


def _shortened(items: list[str], limit: int = 8) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more
