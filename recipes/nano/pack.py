"""Carry an unfinished nano run between machines in a few small files: half precision, no optimizer moments.

python recipes/nano/pack.py pack runs/nano $OUT          # part-0.safetensors, part-1.safetensors, … of at most 15 MiB
python recipes/nano/pack.py unpack $OUT runs/nano        # the run goes on from there, its moments start anew
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

_PART_BYTES = 15 * 2**20
_MOMENTS = "adam."
_TEXTS = ("*.json", "*.csv")


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (pack if options.what == "pack" else unpack)(options.source, options.out)


def pack(run: Path, out: Path) -> None:
    """Write a run's tensors (as `file/tensor`) and its small texts as parts."""
    notes = {path.name: path.read_text(encoding="utf-8") for pattern in _TEXTS for path in run.glob(pattern)}
    parts: list[dict[str, Tensor]] = [{}]
    room = _PART_BYTES
    for path in sorted(run.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            notes[path.name] = json.dumps(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118 (no mapping)
                if key.startswith(_MOMENTS):
                    continue
                tensor = _halved(file.get_tensor(key))
                if tensor.nbytes > room and parts[-1]:
                    parts.append({})
                    room = _PART_BYTES
                parts[-1][f"{path.name}/{key}"] = tensor
                room -= tensor.nbytes
    for number, tensors in enumerate(parts):
        save_file(tensors, out / f"part-{number}.safetensors", metadata=notes if number == 0 else None)


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


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


if __name__ == "__main__":
    main()
