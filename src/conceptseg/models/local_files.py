"""Whether a model on this machine is still the one it was: what its folders hold, told without reading gigabytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conceptseg.digests import digest_of, file_digest
from conceptseg.models.checkpoints import parts_of
from conceptseg.models.config import CONFIG_FILE, read_json

__all__ = ["content_of_model"]

_WEIGHTS = ".safetensors"
_WHOLE = frozenset({".json", ".jinja", ".txt", ".model"})
_TOLD_OF_IT = frozenset({"scores.json", "scores.csv"})
"""Written from runs of a checkpoint; an answer does not depend on them."""
_SAMPLED_BYTES = 1 << 20


def content_of_model(source: str, sam: str | None = None) -> str | None:
    """A digest of all that is local of a model; None where nothing is, for a hub id says itself what it stands for.

    Settings count whole (protocol, calibration, tokenizers), weights by sizes, beginnings and ends of their files.

    Args:
        source: the checkpoint, as for `conceptseg.models.checkpoints.open_checkpoint`.
        sam: SAM 3 from elsewhere.

    Raises:
        CheckpointError: a folder's `config.json` is no JSON.
    """
    homes = [part.folder for part in parts_of(source, sam)]
    folders = [folder for home in homes if home is not None for folder in (home, *_named_in(home))]
    return digest_of(*map(_content, folders)) if folders else None


def _named_in(home: Path) -> Iterator[Path]:
    """Folders elsewhere that a checkpoint's config takes its parts from."""
    told = read_json(home / CONFIG_FILE) if (home / CONFIG_FILE).is_file() else {}
    for name in (told.get("mllm"), told.get("sam")) if told.get("format") == "conceptseg" else ():
        folder = home / str(name)  # an absolute path stays what it is
        if folder.is_dir() and not folder.resolve().is_relative_to(home.resolve()):
            yield folder


def _content(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix == _WEIGHTS or path.suffix in _WHOLE)
    told: list[str | bytes] = []
    for path in (path for path in files if path.is_file() and path.name not in _TOLD_OF_IT):
        told.append(path.relative_to(folder).as_posix())
        told += _sample(path) if path.suffix == _WEIGHTS else [file_digest(path)]
    return digest_of(*told)


def _sample(path: Path) -> list[str | bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(_SAMPLED_BYTES)
        file.seek(max(0, size - _SAMPLED_BYTES))
        return [str(size), beginning, file.read()]
