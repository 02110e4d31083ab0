"""Carry an unfinished nano run between machines in a few small files: half precision, no optimizer moments.

python -m nano.tools.pack pack runs/nano $OUT          # part-0.safetensors, part-1.safetensors, … of at most 15 MiB
python -m nano.tools.pack unpack $OUT runs/nano        # the run goes on from there, its moments start anew

Of the last stage, the trainer's newest whole checkpoint is carried as it is, moments included: the trainer resumes from
nothing less. The two checkpoint folders are not carried: `warmup` is made again from the weights, and `checkpoint` is
the end of the run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from conceptseg.training.checkpoints import complete_checkpoints

_PART_BYTES = 15 * 2**20
_MOMENTS = "adam."
_TEXTS = ("*.json", "*.csv")
_SECOND_STAGE = "meta_grpo"
_AS_IT_IS = "bytes:"
"""Begins the keys of files that are carried byte by byte, in pieces."""


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (pack if options.what == "pack" else unpack)(options.source, options.out)


def pack(run: Path, out: Path) -> None:
    """Write a run's tensors (as `file/tensor`), its small texts and its last stage as parts, instead of older ones."""
    texts = (path for pattern in _TEXTS for path in run.glob(pattern) if not _is_hidden(path))
    notes = {path.name: path.read_text(encoding="utf-8") for path in texts}
    for old in out.glob("part-*.safetensors"):
        old.unlink()
    pieces = [*_tensors_of(run, notes), *_bytes_of(run)]
    for number, tensors in enumerate(_parts_of(pieces)):
        save_file(tensors, out / f"part-{number}.safetensors", metadata=notes if number == 0 else None)


def _tensors_of(run: Path, notes: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the run's states and weights; what is written beside them goes to `notes`."""
    for path in sorted(run.glob("*.safetensors")):
        if _is_hidden(path):
            continue
        with safe_open(path, "pt") as file:
            notes[path.name] = json.dumps(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118 (no mapping)
                if not key.startswith(_MOMENTS):
                    yield f"{path.name}/{key}", _halved(file.get_tensor(key))


def _bytes_of(run: Path) -> Iterator[tuple[str, Tensor]]:
    """The files of the last stage's newest whole checkpoint."""
    for folder in complete_checkpoints(run / _SECOND_STAGE)[-1:]:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
            for number, piece in enumerate(content.split(_PART_BYTES)):
                yield f"{_AS_IT_IS}{path.relative_to(run).as_posix()}:{number}", piece.clone()


def _parts_of(pieces: Iterable[tuple[str, Tensor]]) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    room = _PART_BYTES
    for key, tensor in pieces:
        if tensor.nbytes > room and parts[-1]:
            parts.append({})
            room = _PART_BYTES
        parts[-1][key] = tensor
        room -= tensor.nbytes
    return parts


def unpack(parts: Path, run: Path) -> None:
    """Lay a run's files out again from its parts."""
    tensors: dict[str, Tensor] = {}
    for part in sorted(parts.glob("part-*.safetensors")):
        tensors |= load_file(part)
    with safe_open(parts / "part-0.safetensors", "pt") as file:
        notes = dict(file.metadata())
    for name, text in notes.items():
        if not name.endswith(".safetensors"):
            (run / name).write_text(text, encoding="utf-8")
            continue
        mine = {key.split("/", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        whole = {key: value.float() if value.dtype == torch.float16 else value for key, value in mine.items()}
        save_file(whole, run / name, metadata=json.loads(text) or None)
    _lay_out_bytes(tensors, run)


def _lay_out_bytes(tensors: dict[str, Tensor], run: Path) -> None:
    pieces: dict[str, dict[int, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_AS_IT_IS):
            name, _, number = key.removeprefix(_AS_IT_IS).rpartition(":")
            pieces.setdefault(name, {})[int(number)] = tensor
    for name, numbered in pieces.items():
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(numbered[number].numpy().tobytes() for number in sorted(numbered)))


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def _is_hidden(path: Path) -> bool:
    """What a killed process left half written."""
    return path.name.startswith(".")


if __name__ == "__main__":
    main()
