"""The reference policy of the KL term, which TRL reads from disk by the policy's name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from conceptseg.models.config import CONFIG_FILE, read_json
from conceptseg.models.tensor_files import INDEX_FILE, find_weight_files

__all__ = ["readable_by_name"]


@contextmanager
def readable_by_name(policy: PreTrainedModel) -> Iterator[None]:
    """Make the folder that a policy was read from one that transformers alone reads as the same model.

    TRL builds the class that `config.json` names. The released layout may call itself `qwen2_vl` and name a class that
    only its authors have, so inside the block the policy's name is a folder with the weights as they lie, linked, and
    the config as it was understood.
    """
    name = policy.config._name_or_path
    folder = Path(name)
    if not folder.is_dir() or _names_its_class(folder, policy):
        yield
        return
    with TemporaryDirectory(prefix="conceptseg-reference-") as place:
        for file in [*find_weight_files(folder), folder / INDEX_FILE]:
            if file.is_file():
                _link(file.resolve(), Path(place) / file.name)
        config = policy.config.__class__.from_dict(policy.config.to_dict())
        config.architectures = [type(policy).__name__]
        config.save_pretrained(place)
        policy.config._name_or_path = place
        try:
            yield
        finally:
            policy.config._name_or_path = name


def _names_its_class(folder: Path, policy: PreTrainedModel) -> bool:
    raw = read_json(folder / CONFIG_FILE)
    return raw.get("model_type") == policy.config.model_type and raw.get("architectures") == [type(policy).__name__]


def _link(source: Path, target: Path) -> None:
    """A link, or a copy where there are none."""
    try:
        os.symlink(source, target)
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)
