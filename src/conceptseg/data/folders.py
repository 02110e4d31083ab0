"""Samples from what people have: a folder of images, and a folder of masks of the same names."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from conceptseg.data.pictures import LeftOut, describe_nothing, find_pictures
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError

__all__ = ["pair_folders"]

_MASK_ENDINGS = ("_mask", "-mask", ".mask", "_gt", "-gt", "_label", "-label")
_SHOWN = 10


def pair_folders(
    images: Path,
    masks: Path,
    *,
    task: str,
    concept: str,
    answer: str | None = None,
    split: str = "train",
    left_out: LeftOut | None = None,
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
        left_out: takes the account of what in the folders is no picture.

    Returns:
        Samples in the order of their names; the sub-folder becomes the group.

    Raises:
        SampleError: a folder is missing or empty, or pictures and masks do not pair off; all of these are named.
    """
    left_out = LeftOut() if left_out is None else left_out
    pictures, truths = _by_name(images, (), left_out), _by_name(masks, _MASK_ENDINGS, left_out)
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


def _by_name(folder: Path, endings: tuple[str, ...], left_out: LeftOut) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise SampleError(f"There is no folder {folder}.")
    pictures = find_pictures(folder, masks=bool(endings))
    if not pictures.found:
        raise SampleError(describe_nothing(str(folder), pictures.left_out))
    left_out.update(pictures.left_out)
    found: dict[str, list[Path]] = defaultdict(list)
    for picture in pictures.found:
        found[_bare(Path(picture.inside), endings)].append(picture.path)
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
