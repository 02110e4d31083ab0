"""Where a number comes from: versions, commit, and what exactly the checkpoint's files held."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import conceptseg
from conceptseg.digests import file_sha256
from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.lens import lens_folder

__all__ = ["describe_checkpoint", "describe_software"]

_PACKAGES = ("torch", "transformers", "numpy", "pillow", "scipy", "safetensors")
_HASHED = frozenset({".safetensors", ".json", ".txt", ".jinja", ".model"})
_TOLD_OF_IT = frozenset({"README.md", "scores.csv", "scores.json"})
"""Written from runs of the checkpoint: were they hashed, writing them would make another checkpoint of it."""


def describe_software() -> dict[str, Any]:
    """Versions of what computes, the machine's kind, and the commit where this is a working copy."""
    return {
        "conceptseg": conceptseg.__version__,
        "commit": _commit(Path(conceptseg.__file__).parent),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def describe_checkpoint(model: str, sam: str | None = None, *, method: str = "conceptseg") -> dict[str, Any]:
    """A checkpoint's name, number of concept tokens, and one digest a part over the content of its files.

    Its card and scores do not count: they are written after it was measured.

    Args:
        model: as for `conceptseg.models.checkpoints.open_checkpoint`.
        sam: SAM 3 from elsewhere.
        method: what it is measured with; `lens` brings a checkpoint of its own kind.

    Raises:
        CheckpointError: there is no such checkpoint, or it is broken.
    """
    if method == "lens":
        folder = lens_folder(model)
        digests = {"home": _digest(_files_of(folder))}
        return {"name": Path(model).name, "layout": "lens", "concept_tokens": None, "sha256": digests}
    checkpoint = open_checkpoint(model, sam=sam)
    folders = {"home": checkpoint.folder, "mllm": checkpoint.mllm_folder, "sam": checkpoint.sam_folder}
    translation = checkpoint.config.translation
    return {
        "name": checkpoint.config.name,
        "layout": checkpoint.layout.value,
        "concept_tokens": translation.num_queries if translation else None,
        "sha256": {part: _digest(_files_of(folder)) for part, folder in folders.items() if folder},
    }


def _files_of(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix in _HASHED and path.name not in _TOLD_OF_IT)
    return sorted(path for path in files if path.is_file())


def _digest(files: Iterable[Path]) -> str:
    """One SHA-256 over names and contents."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name} {file_sha256(path)}\n".encode())
    return whole.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """The commit of the working copy that holds a folder, with "+changes" where files differ from it."""
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # not a working copy that merely surrounds us
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
