"""Samples from what people have: a folder of images, and a folder of masks of the same names."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError
from conceptseg.images import IMAGE_SUFFIXES

__all__ = ["pair_folders"]

_MASK_ENDINGS = ("_mask", "-mask", ".mask", "_gt", "-gt", "_label", "-label")
_SHOWN = 10


def pair_folders(
    images: Path, masks: Path, *, task: str, concept: str, answer: str | None = None, split: str = "train"
) -> list[ConceptSample]:
    """One sample for every image, with the mask of the same name.

    Names are compared without folder's path and suffix; a mask's may end in `_mask`, `_gt` or `_label` besides. Both
    folders are searched at any depth, and sub-folders must agree.

    Args:
        images: a folder of pictures.
        masks: a folder of masks.
        task: a task of the taxonomy, e.g. "other_cd".
        concept: what the masks show, in words.
        answer: the same as a noun phrase of one to three words.
        split: what to call this part of the data.

    Returns:
        Samples in the order of their names; the sub-folder becomes the group.

    Raises:
        SampleError: a folder is missing or empty, or pictures and masks do not pair off; all of these are named.
    """
    pictures, truths = _by_name(images, ()), _by_name(masks, _MASK_ENDINGS)
    _require_pairs(pictures, truths)
    return [
        ConceptSample(
            id=name,
            task=task,
            concept=concept,
            image=pictures[name][0],
            mask=truths[name][0],
            answer=answer,
            group=str(Path(name).parent) if "/" in name else None,
            split=split,
        )
        for name in sorted(pictures)
    ]


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise SampleError(f"There is no folder {folder}.")
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not hidden:
            found[_bare(inside, endings)].append(path.resolve())
    if not found:
        raise SampleError(f"{folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return dict(found)


def _bare(inside: Path, endings: tuple[str, ...]) -> str:
    name = inside.with_suffix("").as_posix()
    ending = next((e for e in endings if name.lower().endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(ending)]


def _require_pairs(pictures: dict[str, list[Path]], truths: dict[str, list[Path]]) -> None:
    problems = {
        "images without a mask": sorted(pictures.keys() - truths.keys()),
        "masks without an image": sorted(truths.keys() - pictures.keys()),
        "names with several images": sorted(name for name, paths in pictures.items() if len(paths) > 1),
        "names with several masks": sorted(name for name, paths in truths.items() if len(paths) > 1),
    }
    told = [f"{len(names)} {what}: {_shorten(names)}" for what, names in problems.items() if names]
    if told:
        raise SampleError("Images and masks do not pair off: " + "; ".join(told) + ".")


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
