"""What a folder that is said to hold SAM 3 holds: its config, or a plain refusal before anything is loaded.

SAM3-LiteText is SAM 3 with a smaller text encoder, a class of its own in transformers, and serves wherever SAM 3 does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Sam3Config,
    Sam3LiteTextConfig,
    Sam3LiteTextModel,
    Sam3Model,
)

from conceptseg.errors import CheckpointError
from conceptseg.models.config import CONFIG_FILE, read_json
from conceptseg.models.eyes import register_eyes
from conceptseg.models.hub import split_revision
from conceptseg.models.meta_layout import is_meta_layout, is_sam_3_1
from conceptseg.models.tensor_files import read_header, read_headers
from conceptseg.validation import first_line

__all__ = [
    "CONVERTED_FROM",
    "SAM_REPO",
    "SamConfig",
    "SamModel",
    "describe_sam",
    "read_sam_config",
    "read_sam_tokenizer",
    "refuse_other_sam",
    "sam_class",
    "sam_config",
    "sam_model",
]

SAM_REPO = "facebook/sam3"
"""Where SAM 3 is published (gated)."""

CONVERTED_FROM = "conceptseg_converted_from"
"""What a folder's `config.json` says of a detector that was brought into transformers' form: "SAM 3" or "SAM 3.1"."""

SamConfig: TypeAlias = Sam3Config | Sam3LiteTextConfig
"""Of a SAM 3 or of a variant."""

SamModel: TypeAlias = Sam3Model | Sam3LiteTextModel
"""Both have the same fields, methods and outputs."""

_SAM_3_1 = "facebook/sam3.1"
_EXPECTED = f"Expected SAM 3 as transformers stores it ({SAM_REPO}); name a local copy with --sam PATH."
_CONVERT = "`conceptseg models import {0} FOLDER` makes a folder of its detector, for --sam"
_SAFETENSORS = "docs/full_size.md says how to bring its pickle file, which is never opened here, into safetensors"


def refuse_other_sam(name: str) -> None:
    """Refuse what its name alone gives away, before anything is downloaded.

    Raises:
        CheckpointError: it is Meta's SAM 3.1.
    """
    if split_revision(name)[0].lower() == _SAM_3_1:
        raise CheckpointError(
            f"{name} is SAM 3.1 as a pickle file by the names of Meta's own package. {_SAFETENSORS}; then "
            f"{_CONVERT.format('FILE')}. Or take SAM 3: {SAM_REPO}."
        )


def read_sam_config(folder: Path) -> SamConfig:
    """SAM 3's config from a folder; of a video checkpoint, as on the hub, the detector's.

    Raises:
        CheckpointError: the weights are missing, damaged, pickled or under other names, or it is another architecture.
    """
    _refuse_metas_names(folder)
    if not (folder / CONFIG_FILE).is_file():
        read_headers(folder)  # says so if there are pickles only
        raise CheckpointError(f"{folder} has no {CONFIG_FILE}. {_EXPECTED}")
    config = sam_config(read_json(folder / CONFIG_FILE), folder)
    names = read_headers(folder)
    if not any(name.removeprefix("detector_model.").startswith("vision_encoder.") for name in names):
        raise CheckpointError(f"{folder} holds no tensors of SAM 3's vision encoder. {_EXPECTED}")
    return config


def _refuse_metas_names(folder: Path) -> None:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            names = read_header(file)
        except CheckpointError:
            continue  # told with everything else that is wrong with the folder
        if is_meta_layout(names):
            version = "SAM 3.1" if is_sam_3_1(names) else "SAM 3"
            raise CheckpointError(
                f"{folder} holds {version} under the names of Meta's own package (detector.*): "
                f"{_CONVERT.format(folder)}."
            )


def sam_config(raw: Mapping[str, Any], folder: Path) -> SamConfig:
    """SAM 3's config from what `config.json` of a folder says.

    Raises:
        CheckpointError: it is another architecture.
    """
    register_eyes()  # a small SAM 3 may be built on them
    kind = str(raw.get("model_type"))
    inner = raw.get("detector_config")
    own = dict(inner) if kind.endswith("_video") and isinstance(inner, dict) else dict(raw)
    match kind.removesuffix("_video") if own.keys() != raw.keys() else kind:
        case "sam3":
            return Sam3Config.from_dict(own)
        case "sam3_lite_text":
            return Sam3LiteTextConfig.from_dict(own)
    raise CheckpointError(f"{folder} is not SAM 3 but {raw.get('model_type') or 'of an unnamed type'!r}. {_EXPECTED}")


def sam_class(config: SamConfig) -> type[Any]:
    """The class of transformers that a config is of."""
    return Sam3Model if isinstance(config, Sam3Config) else Sam3LiteTextModel


def sam_model(config: SamConfig) -> SamModel:
    """A SAM 3 of a config, with random weights."""
    return sam_class(config)(config)


def describe_sam(config: SamConfig) -> str:
    """What a SAM 3 is called: "SAM 3", "SAM 3.1's detector" or "SAM3-LiteText"."""
    if not isinstance(config, Sam3Config):
        return "SAM3-LiteText"
    return "SAM 3.1's detector" if getattr(config, CONVERTED_FROM, None) == "SAM 3.1" else "SAM 3"


def read_sam_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside a SAM 3.

    Raises:
        CheckpointError: its files are missing or damaged.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} lacks SAM 3's tokenizer files. {first_line(error)}") from error
