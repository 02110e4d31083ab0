"""What a folder that is said to hold SAM 3 holds: its config, or a plain refusal before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Sam3Config

from conceptseg.errors import CheckpointError
from conceptseg.models.config import CONFIG_FILE, read_json
from conceptseg.models.eyes import register_eyes
from conceptseg.models.tensor_files import read_headers

__all__ = ["SAM_REPO", "read_sam_config", "refuse_other_sam", "sam_config"]

SAM_REPO = "facebook/sam3"
"""Where SAM 3 is published (gated)."""

_NEWER = ("sam3.1", "sam-3.1", "sam3_1")
_EXPECTED = f"Expected SAM 3 as transformers stores it ({SAM_REPO}); name a local copy with --sam PATH."


def refuse_other_sam(name: str) -> None:
    """Refuse what its name alone gives away.

    Raises:
        CheckpointError: it is a SAM 3.1.
    """
    if any(mark in Path(name).name.lower() for mark in _NEWER):
        raise CheckpointError(
            f"{name} is SAM 3.1, which is no drop-in for SAM 3: its weights do not fit transformers' Sam3Model, and "
            f"the concept translation was trained on SAM 3's prompt space. {_EXPECTED}"
        )


def read_sam_config(folder: Path) -> Sam3Config:
    """SAM 3's config from a folder; of a video checkpoint, as on the hub, the detector's.

    Raises:
        CheckpointError: the weights are missing, damaged, pickled or under other names, or it is another architecture.
    """
    refuse_other_sam(str(folder))
    for file in folder.glob("sam3*"):
        refuse_other_sam(str(file))
    if not (folder / CONFIG_FILE).is_file():
        read_headers(folder)  # says so if there are pickles only
        raise CheckpointError(f"{folder} has no {CONFIG_FILE}. {_EXPECTED}")
    raw = read_json(folder / CONFIG_FILE)
    config = sam_config(raw, folder)
    names = read_headers(folder)
    if any(name.startswith("detector.") for name in names):
        raise CheckpointError(f"{folder} holds SAM 3 under the names of Meta's own package (detector.*). {_EXPECTED}")
    if not any(name.removeprefix("detector_model.").startswith("vision_encoder.") for name in names):
        raise CheckpointError(f"{folder} holds no tensors of SAM 3's vision encoder. {_EXPECTED}")
    return config


def sam_config(raw: Mapping[str, Any], folder: Path) -> Sam3Config:
    """SAM 3's config from what `config.json` of a folder says.

    Raises:
        CheckpointError: it is another architecture.
    """
    register_eyes()  # a small SAM 3 may be built on them
    kind = raw.get("model_type")
    if kind == "sam3":
        return Sam3Config.from_dict(dict(raw))
    if kind == "sam3_video" and isinstance(raw.get("detector_config"), dict):
        return Sam3Config.from_dict(dict(raw["detector_config"]))
    raise CheckpointError(f"{folder} is not SAM 3 but {kind or 'of an unnamed type'!r}. {_EXPECTED}")
