"""`conceptseg models` lists the checkpoints it knows, `conceptseg models M` tells what one is made of,
`conceptseg models import SRC DST` brings a released ConceptSeg-R1 into our format, or the detector of a SAM 3.1 (Meta's
names, safetensors) into the form that `--sam` takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from conceptseg.interfaces.cli.console import format_bytes, format_table
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.models.checkpoints import Checkpoint
    from conceptseg.models.tensor_files import TensorInfo

__all__ = ["add_parser", "run"]

SCORES_FILE = "scores.json"
"""In a checkpoint's folder: `{"table": [{"task": …, "iou": …, …}, …]}`, what was measured of it."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("models", description=__doc__)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="M | import SRC DST",
        help="nano, a folder, or a hub id to describe; or a released checkpoint to import and the new folder for it",
    )
    parser.add_argument(
        "--sam",
        metavar="S",
        help="what an imported checkpoint names as its SAM 3, or where an imported SAM 3.1 takes its tokenizer from "
        "(facebook/sam3)",
    )


def run(args: argparse.Namespace) -> int:
    """List checkpoints, describe or import one. Describing downloads only what a local checkpoint refers to.

    Raises:
        InputError: the name is neither a folder nor a hub id.
        CheckpointError: the checkpoint is broken.
    """
    from conceptseg.errors import InputError

    match args.words:
        case []:
            print(_list_known())
        case ["import", source, destination]:
            print(_import(source, destination, args.sam))
        case [model] if model != "import":
            print(_describe_remote(model) if _is_remote(model) else _describe_local(model))
        case words:
            raise InputError(f"models {' '.join(words)}: expected nothing, M, or import SRC DST.")
    return ExitStatus.DONE


def _import(source: str, destination: str, sam: str | None) -> str:
    from conceptseg.models.hub import Source, resolve
    from conceptseg.models.released import import_checkpoint
    from conceptseg.models.sam_files import SAM_REPO, refuse_other_sam
    from conceptseg.models.sam_import import import_sam, metas_tensors

    refuse_other_sam(source)
    place = Path(source) if Path(source).exists() else resolve(Source(source))
    if metas_tensors(place):
        return str(import_sam(place, Path(destination), tokenizer=sam or SAM_REPO))
    folder = import_checkpoint(source, destination, sam=sam or SAM_REPO)
    return f"{folder} is ready: use it with --model {folder}. It takes SAM 3 from {sam or SAM_REPO}."


def _is_remote(source: str) -> bool:
    """Whether a source is one repository on the hub that is not on this machine."""
    from conceptseg.models.checkpoints import BUNDLED
    from conceptseg.models.hub import HuggingFaceHub, split_revision

    looks_like_one = split_revision(source)[0].count("/") == 1 and "+" not in source
    is_repository = source != BUNDLED and not Path(source).exists() and looks_like_one
    return is_repository and HuggingFaceHub().cached(source) is None


def _list_known() -> str:
    from conceptseg.models.checkpoints import BUNDLED, bundled_folder
    from conceptseg.models.config import ConceptSegConfig
    from conceptseg.models.full_size import KNOWN_MODELS
    from conceptseg.models.hub import HuggingFaceHub

    folder, hub = bundled_folder(), HuggingFaceHub()
    rows = [(BUNDLED, _millions(_count_folder(folder)), ConceptSegConfig.read(folder).license, "bundled")]
    for known in KNOWN_MODELS.values():
        here = "downloaded" if hub.cached(known.repo_id) else "on the hub"
        rows.append((known.repo_id, _millions(known.parameters), known.license, here))
    return format_table(("model", "parameters", "licence", "where"), rows)


def _count_folder(folder: Path) -> int:
    from conceptseg.models.tensor_files import read_header

    return sum(info.num_elements for file in folder.rglob("*.safetensors") for info in read_header(file).values())


def _describe_remote(repo_id: str) -> str:
    """What is known of a model on the hub without downloading it."""
    from conceptseg.models.full_size import KNOWN_MODELS
    from conceptseg.models.hub import hub_access, split_revision

    facts = {"name": repo_id}
    if known := KNOWN_MODELS.get(split_revision(repo_id)[0]):
        facts |= {"licence": known.license, "parameters": _millions(known.parameters)}
        facts |= {"concept tokens": str(known.num_queries)} if known.num_queries else {}
    return _format_facts(facts | {"where": hub_access(repo_id).advice()})


def _describe_local(source: str) -> str:
    from conceptseg.models.checkpoints import open_checkpoint

    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    protocol = config.protocol
    units = f" (boxes of {protocol.box_units})" if protocol.box_units else ""
    own = " (its own words)" if protocol.instructions else ""
    facts = {
        "name": config.name,
        "folder": str(checkpoint.folder),
        "layout": checkpoint.layout.value,
        "licence": config.license,
        "protocol": f"template {protocol.template!r}{own}, frame {protocol.frame_px} px{units}, {protocol.layout}",
    }
    if config.vocabulary:
        facts["vocabulary"] = f"{len(config.vocabulary)} names: {', '.join(config.vocabulary)}"
    rows = [(name, kind, *_measure(tensors)) for name, kind, tensors in _parts(checkpoint)]
    parts = format_table(("part", "kind", "parameters", "size", "stored as"), rows)
    sections = [_format_facts(facts), parts, _format_scores(checkpoint.folder / SCORES_FILE)]
    return "\n\n".join(section for section in sections if section)


def _parts(checkpoint: Checkpoint) -> Iterable[tuple[str, str, list[TensorInfo]]]:
    """Name, kind and tensors of each part."""
    from conceptseg.models.config import CTM_FILE
    from conceptseg.models.families import family_of
    from conceptseg.models.released_layout import translation_name
    from conceptseg.models.sam_files import describe_sam
    from conceptseg.models.tensor_files import read_header, read_headers

    tensors = checkpoint.mllm_tensors
    translation = [info for name, info in tensors.items() if translation_name(name) is not None]
    mllm = [info for name, info in tensors.items() if translation_name(name) is None]
    text_config: Any = checkpoint.mllm_config.text_config
    layers = f"{text_config.num_hidden_layers} layers, {text_config.hidden_size} wide"
    yield "reasoner", f"{family_of(checkpoint.mllm_config).name}, {layers}", mllm
    if checkpoint.config.translation is not None:
        translation = translation or list(read_header(checkpoint.folder / CTM_FILE).values())
        yield "translation", f"CTM, {checkpoint.config.translation.num_queries} concept tokens", translation
    if checkpoint.sam_folder is not None and checkpoint.sam_config is not None:
        side = checkpoint.sam_config.image_size
        yield (
            "segmenter",
            f"{describe_sam(checkpoint.sam_config)}, {side} px",
            list(read_headers(checkpoint.sam_folder).values()),
        )


def _format_facts(facts: Mapping[str, str]) -> str:
    width = max(map(len, facts))
    return "\n".join(
        fill(f"{name:<{width}}  {value}", 110, subsequent_indent=" " * (width + 2)) for name, value in facts.items()
    )


def _format_scores(path: Path) -> str:
    """The measured scores, a table by task and one by set of photographs; nothing where there are none."""
    try:
        scores: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except ValueError as error:
        return f"scores: {path} is damaged ({error})"
    titles = {"table": "scores", "photographs": "scores on photographs"}
    return "\n\n".join(f"{title}\n{_rows_table(scores[key])}" for key, title in titles.items() if scores.get(key))


def _rows_table(rows: list[dict[str, Any]]) -> str:
    header = list(dict.fromkeys(key for row in rows for key in row))
    return format_table(header, [[_cell(row.get(key)) for key in header] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.2f} G"


def _measure(tensors: Sequence[TensorInfo]) -> tuple[str, str, str]:
    """Number of parameters, size and types of some tensors."""
    count = sum(info.num_elements for info in tensors)
    size = sum(info.num_bytes for info in tensors)
    return _millions(count), format_bytes(size), ", ".join(sorted({info.dtype for info in tensors}))
