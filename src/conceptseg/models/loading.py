"""Reading checkpoints of every kind: one call from a name to the parts of a model, and the choices it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.utils import logging

from conceptseg.errors import CheckpointError, InputError, MissingExtraError, ResourceError
from conceptseg.models.checkpoints import BUNDLED, Checkpoint, Layout, bundled_folder, open_checkpoint
from conceptseg.models.config import CONFIG_FILE, CTM_FILE, PRIOR_FILE, ConceptSegConfig, change_protocol
from conceptseg.models.families import Mllm, MllmConfig, mllm_class
from conceptseg.models.hub import Hub
from conceptseg.models.memory import check_memory, explain_out_of_memory, required_memory
from conceptseg.models.prior import ReferencePrior
from conceptseg.models.processing import ReasonerProcessor, load_reasoner_processor
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.released_layout import translation_name
from conceptseg.models.sam_files import describe_sam, read_sam_tokenizer, sam_class
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.sharding import whole_weights
from conceptseg.models.tensor_files import read_header
from conceptseg.models.translation import ConceptTranslation
from conceptseg.validation import explain_mistakes, first_line

__all__ = [
    "BUNDLED",
    "LoadOptions",
    "ModelParts",
    "bundled_folder",
    "load_parts",
    "pick_device",
    "read_mllm",
    "read_processor",
    "read_translation_tensors",
]

_READING = threading.RLock()
"""Held while transformers reads a model: it changes settings of the whole process meanwhile (dtype, initialisation)."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class LoadOptions(BaseModel):
    """How to load a model; every option has a default that suits."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    device: str = "cpu"
    """See `pick_device`."""
    sam: str | None = None
    """Folder or hub id to take SAM 3 from; see `conceptseg.models.checkpoints.open_checkpoint`."""
    with_sam: bool = True
    """False leaves SAM 3 out: the MLLM and the concept translation alone."""
    dtype: torch.dtype | None = None
    """Of the MLLM's weights; None is float32 on a CPU and bfloat16 elsewhere."""
    bits: Literal[8, 4] | None = None
    """Quantise the language model's linear layers while loading (bitsandbytes, extra [quant])."""
    device_map: str | dict[str, int | str] | None = None
    """Where accelerate puts the MLLM's layers; "auto" fills all GPUs, then main memory (CPU offload)."""
    attention: str = "sdpa"
    """Attention of the MLLM; "flash_attention_2" where that is installed."""
    autocast: bool | None = None
    """Run SAM 3 in bfloat16 autocast; None does on CUDA. Its weights stay float32: bfloat16 weights degrade it."""
    lazy: bool = False
    """Read the MLLM's weights when the first prompt needs them rather than now."""
    protocol: Mapping[str, Any] = Field(default_factory=dict)
    """Fields of the checkpoint's `ProtocolConfig` to change, e.g. `{"template": "my/words", "max_new_tokens": 256}`."""

    @field_validator("sam", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("dtype", mode="before")
    @classmethod
    def _dtype_by_name(cls, value: object) -> object:
        if isinstance(value, str):
            if value not in _DTYPES:
                raise ValueError(f"unknown dtype {value!r}, choose one of {', '.join(_DTYPES)}")
            return _DTYPES[value]
        return value

    @classmethod
    def of(cls, options: dict[str, Any]) -> LoadOptions:
        """Options from keyword arguments.

        Raises:
            InputError: some are unknown or have wrong values; all are named.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise InputError(f"Wrong loading options: {'; '.join(explain_mistakes(error, cls))}.") from error


@dataclass(frozen=True, eq=False)
class ModelParts:
    """What a model is made of, each part on its device and in evaluation mode."""

    config: ConceptSegConfig
    reasoner: Reasoner
    translation: ConceptTranslation | None
    segmenter: PromptSegmenter | None
    folder: Path | None = None
    """Where the checkpoint lies."""


def pick_device(name: str = "auto") -> torch.device:
    """A torch device from its name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        InputError: torch knows no device of that name.
        ResourceError: the device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Unknown device {name!r}: use auto, cpu, mps, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError(f"Device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device here.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(f"Device {name!r} was asked for, but there are only {torch.cuda.device_count()} here.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(f"Device {name!r} was asked for, but torch {torch.__version__} sees no Apple GPU here.")
    return device


@whole_weights()
def load_parts(source: str | Path = BUNDLED, *, hub: Hub | None = None, **options: Any) -> ModelParts:
    """The parts of a model from a checkpoint of any kind.

    Args:
        source: see `conceptseg.models.checkpoints`.
        hub: where to ask for repositories; the Hugging Face hub by default.
        options: see `LoadOptions`.

    Raises:
        InputError: an option is wrong, or the source is neither a folder nor a hub id.
        HubAccessError: a repository is gated, unknown or out of reach.
        CheckpointError: there is no such checkpoint, or it is incomplete or of another kind.
        MissingExtraError: quantisation or a device map without the packages they need.
        ResourceError: no such device, or not enough memory.
    """
    chosen = LoadOptions.of(options)
    place = pick_device(chosen.device)
    _require_extras(chosen)
    checkpoint = open_checkpoint(str(source), sam=chosen.sam, with_sam=chosen.with_sam, hub=hub)
    checkpoint = _asked_as(checkpoint, chosen.protocol)
    _require_memory(checkpoint, place, chosen)
    processor = read_processor(checkpoint.mllm_folder, checkpoint.mllm_config)
    # The MLLM comes last: a device map gives it what the others leave.
    segmenter = _read_segmenter(checkpoint, place, chosen).eval() if checkpoint.sam_folder else None
    translation = _read_translation(checkpoint)
    translation = translation.to(place).eval() if translation else None
    read_mllm = partial(_read_mllm, checkpoint, place, chosen)
    reasoner = Reasoner(read_mllm if chosen.lazy else read_mllm(), processor).eval()
    return ModelParts(checkpoint.config, reasoner, translation, segmenter, checkpoint.folder)


def _asked_as(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint with a protocol changed in some fields."""
    protocol = change_protocol(checkpoint.config.protocol, changes)
    return replace(checkpoint, config=checkpoint.config.model_copy(update={"protocol": protocol}))


def read_translation_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The concept translation's tensors under our names, as stored; empty without one.

    Raises:
        CheckpointError: our format names a translation that is not there, or the file is damaged.
    """
    if checkpoint.config.translation is None:
        return {}
    if checkpoint.layout is Layout.RELEASED:
        stored = {name: info.file for name, info in checkpoint.mllm_tensors.items() if translation_name(name)}
    else:
        path = checkpoint.folder / CTM_FILE
        if not path.is_file():
            raise CheckpointError(f"{checkpoint.folder} names a concept translation but has no {CTM_FILE}.")
        try:
            stored = dict.fromkeys(read_header(path), path)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.folder}: {error}.") from error
    tensors = {}
    for file in sorted(set(stored.values())):
        with safe_open(file, framework="pt") as content:
            for name in (name for name, holder in stored.items() if holder == file):
                tensors[translation_name(name) or name] = content.get_tensor(name)
    return tensors


def _read_translation(checkpoint: Checkpoint) -> ConceptTranslation | None:
    if checkpoint.config.translation is None:
        return None
    translation = ConceptTranslation(checkpoint.config.translation)
    try:
        translation.load_state_dict(read_translation_tensors(checkpoint))
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.folder} does not hold the concept translation that its config describes: {error}"
        ) from error
    return translation


def read_processor(folder: Path, config: MllmConfig) -> ReasonerProcessor:
    """The tokenizer and image processor beside an MLLM's weights, with a chat template that shows images.

    Args:
        folder: the MLLM's.
        config: of the MLLM.

    Raises:
        CheckpointError: their files are missing or damaged, or of another model.
    """
    try:
        processor = load_reasoner_processor(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} lacks the MLLM's tokenizer or image processor files (tokenizer.json, tokenizer_config.json, "
            f"preprocessor_config.json); the ones of its base model fit. {first_line(error)}"
        ) from error
    expected = config.image_token_id
    if processor.image_token_id != expected:
        raise CheckpointError(
            f"{folder}: pictures are token {processor.image_token_id} in its tokenizer files and {expected} in its "
            f"{CONFIG_FILE}, so they belong to different models. Take both from one model."
        )
    vision: Any = config.vision_config
    seen = processor.image_processor
    cut = (int(seen.patch_size), int(seen.merge_size))
    if cut != (vision.patch_size, vision.spatial_merge_size):
        raise CheckpointError(
            f"{folder}: its preprocessor_config.json cuts pictures into patches of {cut[0]} pixels, "
            f"{cut[1]} × {cut[1]} a token, its {CONFIG_FILE} has {vision.patch_size} and {vision.spatial_merge_size}, "
            "so they belong to different models. Take both from one model."
        )
    return processor


@whole_weights()
def _read_mllm(checkpoint: Checkpoint, place: torch.device, options: LoadOptions) -> Mllm:
    """The MLLM, where it shall be."""
    arguments: dict[str, Any] = {"attn_implementation": options.attention}
    if options.bits:
        arguments["quantization_config"] = _quantisation(options.bits)
    if options.bits or options.device_map:
        arguments["device_map"] = options.device_map or {"": str(place)}
    return read_mllm(checkpoint.mllm_folder, checkpoint.mllm_config, place, dtype=options.dtype, **arguments)


def read_mllm(
    folder: Path, config: MllmConfig, place: torch.device, *, dtype: torch.dtype | None = None, **arguments: Any
) -> Mllm:
    """An MLLM's weights, in evaluation mode and without a way to generate of its own.

    Args:
        folder: with its weights, perhaps among others.
        config: its own.
        place: where to, unless a device map is among the arguments.
        dtype: of the weights; None is float32 on a CPU and bfloat16 elsewhere.
        arguments: of transformers' `from_pretrained`.

    Raises:
        CheckpointError: tensors are missing or of another shape.
        ResourceError: there is not enough memory.
    """
    with _quiet_report(), explain_out_of_memory("loading the MLLM"):
        loaded: Any = mllm_class(config).from_pretrained(
            folder, config=config, dtype=dtype or _default_dtype(place), output_loading_info=True, **arguments
        )
        mllm, report = loaded
        _require_complete(folder, report)
        mllm.generation_config = _plainly(mllm.generation_config)
        return mllm.eval() if "device_map" in arguments else mllm.to(place).eval()


def _plainly(stored: GenerationConfig) -> GenerationConfig:
    """Of a checkpoint's way to generate only which tokens end and fill. The rest suits chat: a repetition penalty
    (Qwen2.5-VL's 1.05) punishes coordinates that occur twice. Trainers and saved folders shall not have it either."""
    kept = ("bos_token_id", "eos_token_id", "pad_token_id")
    return GenerationConfig(**{name: getattr(stored, name, None) for name in kept})


def _read_segmenter(checkpoint: Checkpoint, place: torch.device, options: LoadOptions) -> PromptSegmenter:
    folder, config = checkpoint.sam_folder, checkpoint.sam_config
    assert folder is not None and config is not None  # asked for where there is a SAM 3 alone
    with _quiet_report(), explain_out_of_memory("loading SAM 3"):
        kind: Any = sam_class(config)
        loaded: Any = kind.from_pretrained(folder, config=config, dtype=torch.float32, output_loading_info=True)
        sam, report = loaded
        _require_complete(folder, report)
        tokenizer = read_sam_tokenizer(folder)
        autocast = place.type == "cuda" if options.autocast is None else options.autocast
        precision = torch.bfloat16 if autocast else None
        segmenter = PromptSegmenter(sam, tokenizer, prior=_read_prior(checkpoint), autocast=precision)
        segmenter.notes = _notes_on_sam(checkpoint)
        return segmenter.to(place)


def _notes_on_sam(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What a person should know of a SAM 3 that is another than the concept translation was trained with."""
    if checkpoint.config.translation is None or checkpoint.sam_config is None or checkpoint.has_own_sam:
        return ()
    kind = describe_sam(checkpoint.sam_config)
    if kind == "SAM 3":
        return ()
    return (f"The masks are by {kind}, another SAM 3 than the concept translation was trained with.",)


def _read_prior(checkpoint: Checkpoint) -> ReferencePrior | None:
    """The prior of the SAM 3 that the checkpoint names; to another one's features it means nothing."""
    own = (checkpoint.folder / checkpoint.config.sam).resolve()
    own_sam = checkpoint.sam_folder is not None and checkpoint.sam_folder.resolve() == own
    if checkpoint.config.prior is None or not own_sam:
        return None
    prior = ReferencePrior(checkpoint.config.prior)
    path = checkpoint.folder / PRIOR_FILE
    try:
        prior.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint.folder} does not hold the reference prior that its config describes ({PRIOR_FILE}): "
            f"{first_line(error)}"
        ) from error
    return prior


def _require_complete(folder: Path | None, report: dict[str, Any]) -> None:
    """What transformers could not find or fit; the inspection should have told, so this is the second lock."""
    wrong = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if wrong:
        raise CheckpointError(
            f"{folder}: {len(wrong)} tensors are missing or of another shape: {', '.join(wrong[:12])}"
        )


def _require_extras(options: LoadOptions) -> None:
    wanted = (["bitsandbytes"] if options.bits else []) + (["accelerate"] if options.bits or options.device_map else [])
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Quantisation and device maps need {' and '.join(missing)}: pip install 'conceptseg[quant]'."
        )


def _require_memory(checkpoint: Checkpoint, place: torch.device, options: LoadOptions) -> None:
    if options.device_map:
        return  # accelerate fits the layers to what there is
    dtype = options.dtype or _default_dtype(place)
    bits = options.bits or torch.finfo(dtype).bits
    sizes = (checkpoint.mllm_config, checkpoint.sam_config, checkpoint.config.translation)
    check_memory(place, required_memory(*sizes, bits=(32, 16, 8, 4)), bits)


def _quantisation(bits: int) -> BitsAndBytesConfig:
    """8 or 4 bits for the language model; the vision tower and the output head keep 16, for boxes are read off them."""
    return BitsAndBytesConfig(
        load_in_8bit=bits == 8,
        load_in_4bit=bits == 4,
        llm_int8_skip_modules=["model.visual", "lm_head"],
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _default_dtype(place: torch.device) -> torch.dtype:
    return torch.float32 if place.type == "cpu" else torch.bfloat16


@contextmanager
def _quiet_report() -> Iterator[None]:
    """One model at a time, without transformers' list of tensors it did not use: the concept translation, SAM 3's
    tracker, as intended.
    """
    with _READING:
        before = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(before)
