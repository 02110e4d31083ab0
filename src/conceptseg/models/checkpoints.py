"""What a name stands for: a checkpoint of any kind, found, downloaded if need be, inspected without reading weights.

Four kinds of names: `nano` (bundled); a folder or hub repository in our own format; one in the layout of the released
ConceptSeg-R1; and `MLLM+SAM`, e.g. `Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3`, two folders or hub ids without a
concept translation. A hub id may name a branch, tag or commit: `owner/name@v1`. Everything that can be wrong with the
files is found here, before anything large is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from conceptseg.errors import CheckpointError
from conceptseg.models.config import CONFIG_FILE, RELEASED_PROTOCOL, ConceptSegConfig, read_json
from conceptseg.models.families import MllmConfig, family_of
from conceptseg.models.full_size import KNOWN_MODELS
from conceptseg.models.hub import Hub, Source, hub_settings, require_access, resolve
from conceptseg.models.released_layout import (
    check_fit,
    is_released_layout,
    mllm_config,
    translation_config,
    translation_name,
)
from conceptseg.models.sam_files import SAM_REPO, SamConfig, read_sam_config, refuse_other_sam
from conceptseg.models.sharding import whole_weights
from conceptseg.models.tensor_files import TensorInfo, read_headers

__all__ = ["BUNDLED", "Checkpoint", "Layout", "bundled_folder", "open_checkpoint", "parts_of"]

BUNDLED = "nano"
"""Name of the checkpoint inside the package."""


class Layout(str, Enum):
    """How a checkpoint's files are laid out."""

    OWN = "conceptseg"
    """Our format: one folder with `config.json`, `mllm/`, `sam/`, `ctm.safetensors`."""
    RELEASED = "released"
    """The released ConceptSeg-R1: MLLM and concept translation in one state dict, SAM 3 elsewhere."""
    PAIR = "pair"
    """An MLLM and a SAM 3 that know nothing of each other."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are all here, whole, and fit together; none of its weights has been read."""

    layout: Layout
    config: ConceptSegConfig
    folder: Path
    """Where the concept translation is, if there is one."""
    mllm_folder: Path
    mllm_config: MllmConfig
    mllm_tensors: Mapping[str, TensorInfo]
    sam_folder: Path | None
    sam_config: SamConfig | None
    has_own_sam: bool = True
    """Whether SAM 3 is the one that the checkpoint names, not another that was asked for."""


@dataclass(frozen=True)
class _Plan:
    """Where the parts of a checkpoint are to come from."""

    layout: Layout
    home: Source
    mllm: Source
    sam: Source | None
    config: ConceptSegConfig | None = None
    has_own_sam: bool = True


def bundled_folder() -> Path:
    """Where the package keeps its bundled checkpoint."""
    return Path(__file__).resolve().parent.parent / "weights" / BUNDLED


@whole_weights()
def open_checkpoint(
    source: str, *, sam: str | None = None, with_sam: bool = True, hub: Hub | None = None
) -> Checkpoint:
    """Find and inspect a checkpoint of any kind; see the module's description for what `source` may be.

    Args:
        source: what the user asked for.
        sam: a folder or hub id to take SAM 3 from. Otherwise `CONCEPTSEG_SAM` says where, unless the checkpoint brings
            its own SAM 3, and last what the checkpoint names.
        with_sam: False leaves SAM 3 out.
        hub: where to ask for repositories; the Hugging Face hub by default.

    Raises:
        InputError: the source is neither a folder nor a hub id.
        HubAccessError: a repository is gated, unknown or out of reach.
        CheckpointError: files are missing, damaged, pickled, or of another architecture, or do not fit together.
    """
    plan = _plan(source, sam, hub)
    if not with_sam:
        plan = replace(plan, sam=None)
    if plan.sam is not None:
        refuse_other_sam(plan.sam.name)
    require_access([part for part in (plan.mllm, plan.sam) if part], hub=hub)
    sam_folder = resolve(plan.sam, hub=hub) if plan.sam else None
    sam_config = read_sam_config(sam_folder) if sam_folder else None
    mllm_folder = resolve(plan.mllm, hub=hub)
    tensors = read_headers(mllm_folder)
    try:
        checkpoint = _inspect(plan, source, mllm_folder, tensors, sam_folder, sam_config)
    except CheckpointError as error:
        raise CheckpointError(f"{mllm_folder}: {error}") from error
    return _fitting(checkpoint)


def parts_of(source: str, sam: str | None = None) -> tuple[Source, ...]:
    """Where the parts of a model would come from as far as its name tells, before anything is looked at or fetched.

    The first one is the checkpoint or MLLM; SAM 3 follows where it is known to lie elsewhere.
    """
    home, pair = _split(source)
    if pair:
        return Source(pair[0], "the MLLM"), _sam_source(sam or pair[1])
    if sam or home.folder is None or not _is_own(home.folder):
        return home, _sam_source(sam or hub_settings().sam or SAM_REPO)
    return (home,)


def _split(source: str) -> tuple[Source, tuple[str, str] | None]:
    """A name as one place, or as the two of `MLLM+SAM`; a folder whose name holds a "+" is one place."""
    home = Source(str(bundled_folder()) if source == BUNDLED else source)
    mllm, _, sam = source.partition("+")
    is_pair = home.folder is None and mllm and sam and "+" not in sam
    return home, (mllm, sam) if is_pair else None


def _is_own(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file() and read_json(folder / CONFIG_FILE).get("format") == "conceptseg"


def _plan(source: str, sam: str | None, hub: Hub | None) -> _Plan:
    """Which kind of checkpoint a source is, as far as its name and `config.json` tell."""
    home, pair = _split(source)
    if pair:
        mllm = Source(pair[0], "the MLLM")
        return _Plan(Layout.PAIR, mllm, mllm, _sam_source(sam or pair[1]))
    raw = read_json(resolve(home, hub=hub, only=CONFIG_FILE) / CONFIG_FILE)
    if raw.get("format") != "conceptseg":
        chosen = _sam_source(sam or hub_settings().sam or SAM_REPO)
        return _Plan(Layout.RELEASED, home, home, chosen, has_own_sam=chosen.name == SAM_REPO)
    folder = resolve(home, hub=hub)
    config = ConceptSegConfig.read(folder)
    mllm = _part(folder, config.mllm, "the MLLM", "--model")
    own_sam = _part(folder, config.sam, "SAM 3", "--sam")
    elsewhere = sam or (hub_settings().sam if _is_reference(config.sam) else None)
    chosen = _sam_source(elsewhere) if elsewhere else own_sam
    return _Plan(Layout.OWN, Source(str(folder)), mllm, chosen, config, chosen.name == own_sam.name)


def _sam_source(name: str) -> Source:
    return Source(name, "SAM 3", "--sam")


def _is_reference(name: str) -> bool:
    """Whether a part's name in `config.json` is a hub id or path rather than a sub-folder."""
    return "/" in name


def _part(folder: Path, name: str, role: str, flag: str) -> Source:
    """A part of a checkpoint of ours: its sub-folder, or what stands in its place."""
    if _is_reference(name):
        return Source(name, role, flag)
    if not (folder / name).is_dir():
        raise CheckpointError(f"{folder} is incomplete: its {name}/ folder with {role} is missing.")
    return Source(str(folder / name), role, flag)


def _inspect(
    plan: _Plan,
    source: str,
    mllm_folder: Path,
    tensors: Mapping[str, TensorInfo],
    sam_folder: Path | None,
    sam_config: SamConfig | None,
) -> Checkpoint:
    """Hold what the files hold against what they should."""
    raw: Mapping[str, Any] = read_json(mllm_folder / CONFIG_FILE)
    config_of_mllm = mllm_config(raw, tensors)
    if plan.config is not None:  # an MLLM taken from a released checkpoint: ours has a translation of its own
        tensors = {name: info for name, info in tensors.items() if translation_name(name) is None}
    released = is_released_layout(tensors)
    if plan.layout is Layout.RELEASED and not released:
        raise CheckpointError(
            "This is an MLLM without a concept translation. To use it with SAM 3 and box prompts, name both: "
            f"--model {source}+{SAM_REPO}."
        )
    if plan.config is None:
        translation = translation_config(tensors) if released else None
        check_fit(tensors, config_of_mllm, translation)
        known = KNOWN_MODELS.get(plan.mllm.repo_id)
        config = ConceptSegConfig(
            name=plan.mllm.repo_id.rstrip("/").rsplit("/", 1)[-1] if released else source,
            license=known.license if known else "unknown",
            translation=translation,
            mllm=plan.mllm.name,
            sam=plan.sam.name if plan.sam else SAM_REPO,
            protocol=RELEASED_PROTOCOL if released else family_of(config_of_mllm).protocol,
        )
    else:
        check_fit(tensors, config_of_mllm, None)
        config = plan.config
    layout = Layout.RELEASED if released else plan.layout
    folder = mllm_folder if plan.config is None else Path(plan.home.name)
    own_sam = plan.has_own_sam and (layout is not Layout.RELEASED or plan.layout is Layout.RELEASED)
    return Checkpoint(layout, config, folder, mllm_folder, config_of_mllm, tensors, sam_folder, sam_config, own_sam)


def _fitting(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint itself, if its concept translation fits between its MLLM and its SAM 3."""
    translation = checkpoint.config.translation
    if translation is None:
        return checkpoint
    text_config: Any = checkpoint.mllm_config.text_config
    width = text_config.hidden_size
    if translation.hidden_size != width:
        raise CheckpointError(
            f"The concept translation reads states {translation.hidden_size} wide, the MLLM's are {width} wide: "
            f"{checkpoint.mllm_folder} is not the MLLM it was trained with."
        )
    if checkpoint.sam_config is not None:
        prompt_config: Any = checkpoint.sam_config.detr_encoder_config
        prompt = prompt_config.hidden_size
        if translation.prompt_size != prompt:
            raise CheckpointError(
                f"The concept translation writes tokens {translation.prompt_size} wide, SAM 3's prompt space is "
                f"{prompt} wide: {checkpoint.sam_folder} is not the SAM 3 it was trained with."
            )
    return checkpoint
