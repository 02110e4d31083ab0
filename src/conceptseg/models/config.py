"""Everything about a checkpoint that is not a tensor: `config.json` of its folder, as typed objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.prior import PriorConfig
from conceptseg.models.tensor_files import explain_adapter
from conceptseg.models.translation import TranslationConfig
from conceptseg.protocol import SYSTEM_PROMPT, Template, read_template, template_names
from conceptseg.validation import explain_mistakes

__all__ = [
    "CONFIG_FILE",
    "CTM_FILE",
    "PRIOR_FILE",
    "RELEASED_PROTOCOL",
    "ConceptSegConfig",
    "ProtocolConfig",
    "change_protocol",
    "read_json",
]

CONFIG_FILE = "config.json"
CTM_FILE = "ctm.safetensors"
PRIOR_FILE = "prior.safetensors"


class ProtocolConfig(BaseModel):
    """How questions are put to the MLLM (§3.2, D.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_px: int = Field(default=588, gt=0)
    """Side of the square that mosaic and target are stretched to; all boxes in prompts and responses live in it,
    in its pixels or in `box_units`.
    588 rather than the paper's 600, because Qwen2.5-VL sees multiples of 28 and would shrink 600 to 588 unasked."""
    box_units: int | None = Field(default=None, gt=0)
    """How many units the frame's side has in prompts and responses: 1000 where boxes are relative, as Qwen3-VL has
    them; None where they are pixels."""
    template: str = "paper"
    """Name of the prompt template: one of `conceptseg.protocol.template_names()`, or that of `instructions`."""
    instructions: Template | None = None
    """The texts of a template of one's own, kept with the checkpoint; None where the template is one of the package."""
    layout: Literal["images_first", "target_last"] = "images_first"
    """Order of the user's turn: mosaic, target, text (as released), or text, mosaic, target, where everything that
    stays the same from one target to the next is a common prefix."""
    system_prompt: str = SYSTEM_PROMPT
    max_new_tokens: int = Field(default=768, gt=0)
    """Longest response (Table 7)."""
    mark: Literal["box", "mask"] = "box"
    """How the mosaic shows what is marked: by red boxes, as in the paper, or by tinted masks beside them, where a
    reference has one. A checkpoint was trained with one of them; the withheld reference shows neither."""
    reference_prior: bool = True
    """Whether the references' masks reach SAM 3's features through the prior, where the checkpoint has one; not in the
    paper (`conceptseg.models.prior`)."""

    @property
    def unit_px(self) -> float:
        """Pixels of the frame in one unit of the boxes in prompts and responses."""
        return self.frame_px / self.box_units if self.box_units else 1.0

    @property
    def expects_rule(self) -> bool:
        """Whether the template asks for a `<rule>`; of the package's all but "direct" do."""
        return self.wording.expects_rule

    @property
    def wording(self) -> Template:
        """The template's texts."""
        return self.instructions or read_template(self.template)

    @model_validator(mode="after")
    def _template_is_known(self) -> ProtocolConfig:
        if self.instructions is None and self.template not in template_names():
            raise ValueError(f"there is no template {self.template!r}; known are {', '.join(template_names())}")
        return self


RELEASED_PROTOCOL = ProtocolConfig(frame_px=600, template="released", system_prompt="You are a helpful assistant. ")
"""How the released ConceptSeg-R1 was trained and is asked: boxes live in a frame of 600 pixels although the image
processor makes 588 of it, and the system's text ends in a blank. Relative to the released scripts, which allow 2048 new
tokens, the paper's 768 (Table 7) are kept."""


class ConceptSegConfig(BaseModel):
    """Everything about a checkpoint that is not a tensor; `config.json` of its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["conceptseg"] = "conceptseg"
    format_version: Literal[1] = 1
    name: str = "unnamed"
    license: str = "unknown"
    translation: TranslationConfig | None = None
    """Sizes of the CTM; None when there is none (box prompts only)."""
    prior: PriorConfig | None = None
    """Sizes of the reference prior; None when there is none, as in released checkpoints."""
    protocol: ProtocolConfig = ProtocolConfig()
    mllm: str = "mllm"
    """Sub-folder with the MLLM, or a hub id or path that it is loaded from."""
    sam: str = "sam"
    """The same for SAM 3."""
    vocabulary: tuple[str, ...] = ()
    """Object names a small segmenter was trained on; empty for open-vocabulary ones."""

    @classmethod
    def read(cls, folder: Path) -> ConceptSegConfig:
        """The config of a checkpoint folder.

        Raises:
            CheckpointError: the file is missing, no JSON, or not of this format; all wrong keys are named.
        """
        try:
            return cls.model_validate(read_json(folder / CONFIG_FILE))
        except ValidationError as error:
            problems = "; ".join(explain_mistakes(error, cls))
            raise CheckpointError(f"{folder / CONFIG_FILE} is not a ConceptSeg config: {problems}.") from error


def change_protocol(protocol: ProtocolConfig, changes: Mapping[str, Any]) -> ProtocolConfig:
    """A protocol with some of its fields changed.

    Args:
        protocol: a checkpoint's.
        changes: by field; `template` may be the folder of one's own, see `conceptseg.protocol.read_template`.

    Raises:
        InputError: a field is unknown or wrong (all are named), or there is no such template.
    """
    known = dict(changes)
    if known.get("template") is not None and known.get("instructions") is None:
        template = read_template(known["template"])
        own = None if str(known["template"]) in template_names() else template
        known |= {"template": template.name, "instructions": own}
    try:
        return ProtocolConfig.model_validate(protocol.model_dump() | known)
    except ValidationError as error:
        raise InputError(f"Wrong protocol: {'; '.join(explain_mistakes(error, ProtocolConfig))}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A checkpoint's JSON file as a dictionary.

    Raises:
        CheckpointError: it is missing, or does not hold one JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        told = explain_adapter(path.parent) or f"{path.parent} has no {path.name}: not a checkpoint."
        raise CheckpointError(told) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold one JSON object, got a {type(content).__name__}.")
    return content
