"""Nano put together from what the stages have left in a run's folder, and kept there for the stages to come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from conceptseg.data.world import ConceptWorld, vocabulary_texts
from conceptseg.files import replacing
from conceptseg.models.conceptseg import ConceptSegModel
from nano.architecture import build_nano
from nano.recipe import NanoRecipe
from nano.wording import WORDS

__all__ = ["WARMUP_CHECKPOINT", "assemble", "keep", "keep_names", "weights_file"]

WARMUP_CHECKPOINT = "warmup"
"""Folder of the checkpoint after the concept translation's warm-up."""

_NAMES_FILE = "names.json"
_TEXTS_FILE = "texts.json"
_SHARED = MappingProxyType({"vision": "reasoner"})
"""Stage → the stage in whose file its weights are kept."""


def assemble(recipe: NanoRecipe, folder: Path) -> ConceptSegModel:
    """The nano model with the weights of every timed stage that has left some in `folder`."""
    model = build_nano(_texts(folder), _taught_names(folder), seed=recipe.seed)
    for path, part in _parts(model, folder):
        if path.exists():
            part.load_state_dict(load_file(path))
    model.reasoner.mllm.tie_weights()
    return model


def keep(stage: str, model: ConceptSegModel, folder: Path) -> None:
    """Keep what a timed stage has trained where `assemble` finds it; after `translation`, a checkpoint as well."""
    for path, part in _parts(model, folder):
        if path == weights_file(stage, folder):
            with replacing(path) as fresh:
                save_file({key: value.contiguous().clone() for key, value in part.state_dict().items()}, fresh)
    if stage == "translation":
        model.save_pretrained(folder / WARMUP_CHECKPOINT, dtype=torch.float16)


def keep_names(names: Sequence[str], folder: Path) -> None:
    """Note what the segmenter of this run is taught to call by name."""
    _write_json(folder / _NAMES_FILE, [*names])


def weights_file(stage: str, folder: Path) -> Path:
    """Where a stage's weights are kept; two stages that train one part share its file."""
    return folder / f"{_SHARED.get(stage, stage)}_weights.safetensors"


def _parts(model: ConceptSegModel, folder: Path) -> list[tuple[Path, Any]]:
    named = {"segmenter": model.segmenter.sam, "reasoner": model.reasoner.mllm, "translation": model.translation}
    return [(weights_file(name, folder), part) for name, part in named.items()]


def _texts(folder: Path) -> list[str]:
    """The texts that the tokenizers are made of: fixed when a run begins, so that a resumed run keeps its tokens."""
    path = folder / _TEXTS_FILE
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".texts.lock"):  # two stages may begin at once, each in its own process
        if not path.exists():
            _write_json(path, [*vocabulary_texts(), *WORDS])
    return json.loads(path.read_text(encoding="utf-8"))


def _taught_names(folder: Path) -> tuple[str, ...]:
    path = folder / _NAMES_FILE
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ConceptWorld.names_of("train")


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
