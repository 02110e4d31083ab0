"""ConceptSeg-R1 as one model: reasoner, concept translation and segmenter, with their common on-disk form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conceptseg.errors import CheckpointError
from conceptseg.images import resize_image
from conceptseg.models.reasoner import Generation, Prompt, Reasoner
from conceptseg.models.segmenter import PromptSegmenter, PromptTokens
from conceptseg.models.translation import ConceptTranslation, TranslationConfig
from conceptseg.protocol import SYSTEM_PROMPT, Mosaic, render_prompt

__all__ = ["CONFIG_FILE", "CTM_FILE", "ConceptSegConfig", "ConceptSegModel", "ProtocolConfig"]

CONFIG_FILE = "config.json"
CTM_FILE = "ctm.safetensors"


class ProtocolConfig(BaseModel):
    """How questions are put to the MLLM (§3.2, D.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_px: int = Field(default=588, gt=0)
    """Side of the square that mosaic and target are stretched to; all boxes in prompts and responses live in it.
    588 rather than the paper's 600, because Qwen2.5-VL sees multiples of 28 and would shrink 600 to 588 unasked."""
    template: str = "paper"
    """Prompt template, a folder of `protocol/templates`."""
    layout: Literal["images_first", "target_last"] = "images_first"
    """Order of the user's turn: mosaic, target, text (as released), or text, mosaic, target, where everything that
    stays the same from one target to the next is a common prefix."""
    system_prompt: str = SYSTEM_PROMPT
    max_new_tokens: int = Field(default=768, gt=0)
    """Longest response (Table 7)."""

    @property
    def expects_rule(self) -> bool:
        """Whether the template asks for a `<rule>`; all but "direct" do."""
        return self.template != "direct"


class ConceptSegConfig(BaseModel):
    """Everything about a checkpoint that is not a tensor; `config.json` of its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["conceptseg"] = "conceptseg"
    format_version: Literal[1] = 1
    name: str = "unnamed"
    license: str = "unknown"
    translation: TranslationConfig | None = None
    """Sizes of the CTM; None when there is none (box prompts only)."""
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
        path = folder / CONFIG_FILE
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise CheckpointError(f"{folder} has no {CONFIG_FILE}: not a ConceptSeg checkpoint.") from None
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{path} is not valid JSON ({error}).") from error
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CheckpointError(f"{path} is not a ConceptSeg config: {problems}.") from error


class ConceptSegModel(nn.Module):
    """The three parts of Figure 3 and what passes between them; each part is usable alone."""

    def __init__(
        self,
        config: ConceptSegConfig,
        reasoner: Reasoner,
        translation: ConceptTranslation | None,
        segmenter: PromptSegmenter,
    ) -> None:
        super().__init__()
        self.config = config
        self.reasoner = reasoner
        self.translation = translation
        self.segmenter = segmenter

    @property
    def device(self) -> torch.device:
        """Where SAM 3 lives; inputs are moved there."""
        return self.segmenter.sam.device

    def build_prompt(self, concept: str, target: Image.Image, mosaic: Mosaic | None) -> Prompt:
        """The question of §3.2: mosaic (if any), target, and the instruction with the support boxes."""
        protocol = self.config.protocol
        frame_hw = (protocol.frame_px, protocol.frame_px)
        images = ([mosaic.image] if mosaic else []) + [resize_image(target, frame_hw)]
        text = render_prompt(concept, mosaic, template=protocol.template)
        text_first = protocol.layout == "target_last"
        return Prompt(tuple(images), text, protocol.system_prompt, text_first=text_first)

    def reason(self, prompts: Sequence[Prompt], *, temperature: float = 0.0) -> Generation:
        """Responses and their hidden states H."""
        return self.reasoner.generate(
            prompts, max_new_tokens=self.config.protocol.max_new_tokens, temperature=temperature
        )

    def translate(
        self,
        hidden_states: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"],
        answers: Sequence[str],
    ) -> PromptTokens:
        """P = [Z ; E_text] (Eq. 3 and 4).

        Raises:
            CheckpointError: the model has no concept translation.
        """
        if self.translation is None:
            raise CheckpointError(
                f"Checkpoint {self.config.name!r} has no concept translation module: train one with "
                "`conceptseg train warmup`, or use box prompts."
            )
        device = self.device
        concept_tokens = self.translation(hidden_states.to(device), mask.to(device))
        return self.segmenter.embed_text(answers).prepend(concept_tokens)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
        """Write the checkpoint: `config.json`, `mllm/`, `sam/`, `ctm.safetensors`, tokenizers and processors.

        Args:
            folder: created if needed.
            dtype: storage type of the weights, e.g. `torch.float16`; None keeps theirs.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config.model_copy(update={"mllm": "mllm", "sam": "sam"})
        _save_part(self.reasoner.mllm, folder / config.mllm, dtype)
        self.reasoner.processor.save_pretrained(folder / config.mllm)
        _save_part(self.segmenter.sam, folder / config.sam, dtype)
        self.segmenter.tokenizer.save_pretrained(folder / config.sam)
        if self.translation is not None:
            save_file(_in_dtype(self.translation.state_dict(), dtype), folder / CTM_FILE)
        (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return folder

    @classmethod
    def from_pretrained(cls, source: str | Path = "nano", **options: Any) -> ConceptSegModel:
        """Load any known kind of checkpoint; see `conceptseg.models.loading.load_model` for kinds and options."""
        from conceptseg.models.loading import load_model

        return load_model(source, **options)


def load_translation(folder: Path, config: TranslationConfig) -> ConceptTranslation:
    """The CTM of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing, unreadable, or its tensors do not fit the config (all are listed).
    """
    path = folder / CTM_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} names a concept translation in {CONFIG_FILE} but has no {CTM_FILE}.")
    translation = ConceptTranslation(config)
    try:
        translation.load_state_dict(load_file(path))
    except Exception as error:
        raise CheckpointError(f"{path} does not hold the concept translation of {CONFIG_FILE}: {error}") from error
    return translation


def _in_dtype(state: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {key: (value if dtype is None else value.to(dtype)).contiguous() for key, value in state.items()}


def _save_part(part: nn.Module, folder: Path, dtype: torch.dtype | None) -> None:
    state = _in_dtype(part.state_dict(), dtype)
    for alias in getattr(part, "all_tied_weights_keys", None) or {}:
        state.pop(alias, None)
    part.save_pretrained(folder, state_dict=state, safe_serialization=True)
