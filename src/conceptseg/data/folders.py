"""Samples from what people have: a folder of images, and a folder of masks of the same names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conceptseg.data.pictures import LeftOut, describe_nothing, find_pictures
from conceptseg.data.samples import ConceptSample
from conceptseg.data.selection import take_by_hash
from conceptseg.errors import InputError, SampleError
from conceptseg.images import select_label
from conceptseg.masks import Label
from conceptseg.naming import name_key

__all__ = ["MatchedFolders", "PairedFolders", "hold_out", "match_folders", "pair_folders"]

_MASK_ENDINGS = ("_mask", "-mask", ".mask", "_masks", "_gt", "-gt", "_label", "-label", "_segmentation", "_seg")
_Names = dict[str, list[Path]]


@dataclass(frozen=True, eq=False)
class PairedFolders:
    """What two folders gave."""

    samples: Sequence[ConceptSample]
    """In the order of their names."""
    unpaired: Sequence[tuple[str, str]]
    """(name, why) of every picture and mask that is in no sample."""
    no_pictures: LeftOut
    """What else the folders hold: files that are no pictures, hidden ones, results of earlier runs."""


@dataclass(frozen=True, eq=False)
class MatchedFolders:
    """What belongs together in two folders."""

    pairs: Mapping[str, tuple[Path, Path]]
    """Name → image and mask, in the order of names; a name is a path below the folder of images, without suffix."""
    unpaired: Sequence[tuple[str, str]]
    """As of `PairedFolders`, and so is the next."""
    no_pictures: LeftOut


def pair_folders(
    images: Path,
    masks: Path,
    *,
    task: str,
    concept: str,
    answer: str | None = None,
    split: str = "train",
    label: Label | None = None,
    ignore: Label | None = None,
    group_by_folder: bool = False,
) -> PairedFolders:
    """One sample for every image that has a mask of its name.

    Names are compared without the folder's path and the suffix. A mask of the very name goes first; else its name may
    end in `_mask`, `_gt`, `_label`, `_segmentation` … besides, or be the image's with its suffix; where none does,
    capitals and the form of accented letters do not count. A mask belongs to one image. Both folders are searched at
    any depth, and sub-folders must agree; where one lies in the other, or both are one, a file is an image or a mask,
    never both.

    Args:
        images: a folder of pictures.
        masks: a folder of masks.
        task: a task of the taxonomy, e.g. "other_cd".
        concept: what the masks show, in words.
        answer: the same as a noun phrase of one to three words.
        split: what to call this part of the data.
        label: the value that is the target, where masks are label maps; see `conceptseg.images.read_mask`.
        ignore: the value that is not judged.
        group_by_folder: make the sub-folder the sample's group: references come from the same group alone.

    Returns:
        The samples, and what is in none: images without a mask, masks without an image, names that occur twice, and
        files that are no pictures.

    Raises:
        SampleError: a folder is missing or empty, or nothing pairs off.
        InputError: `label` or `ignore` is nothing that selects.
    """
    found = match_folders(images, masks)
    if not found.pairs:
        told = "; ".join(f"{name}: {why}" for name, why in found.unpaired[:10])
        raise SampleError(f"No image of {images} has a mask of its name in {masks}: {told}.")
    selects = label is not None or ignore is not None
    samples = [
        ConceptSample(
            id=name,
            task=task,
            concept=concept,
            image=image,
            mask=select_label(mask, label, ignore) if selects else mask,
            answer=answer,
            group=str(Path(name).parent) if group_by_folder and "/" in name else None,
            split=split,
        )
        for name, (image, mask) in found.pairs.items()
    ]
    return PairedFolders(samples, found.unpaired, found.no_pictures)


def match_folders(images: Path, masks: Path) -> MatchedFolders:
    """Which image of a folder belongs to which mask of another; see `pair_folders`.

    Raises:
        SampleError: a folder is missing or empty.
    """
    no_pictures = LeftOut()
    pictures, truths = _names_of(images, masks, no_pictures)
    pairs, unpaired = _pairs(pictures, truths)
    whole = {name: (pictures[name][0], truths[mask][0]) for name, mask in sorted(pairs.items())}
    return MatchedFolders(whole, sorted(unpaired), no_pictures)


def hold_out(samples: Sequence[ConceptSample], share: float, seed: int) -> list[ConceptSample]:
    """The samples with a share of them in split "val", chosen by (seed, id) alone.

    Args:
        samples: at least two.
        share: above 0 and below 1; at least one sample goes to either side.
        seed: which ones.

    Raises:
        InputError: the share is no such number, or there are too few samples.
    """
    if not 0 < share < 1:
        raise InputError(f"A validation share must lie between 0 and 1, got {share:g}.")
    if len(samples) < 2:
        raise InputError(f"{len(samples)} sample cannot be divided into train and val.")
    count = min(max(1, round(share * len(samples))), len(samples) - 1)
    chosen = take_by_hash([sample.id for sample in samples], count, str(seed))
    return [replace(sample, split="val") if sample.id in chosen else sample for sample in samples]


def _pairs(pictures: _Names, truths: _Names) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Image name → mask name where both stand for one file, and (name, why) of all the others."""
    unpaired = list(_ambiguous(pictures, "images"))
    pairs = _match({name: paths for name, paths in pictures.items() if len(paths) == 1}, truths)
    unpaired += [
        (name, "an image without a mask") for name in pictures if len(pictures[name]) == 1 and name not in pairs
    ]
    unpaired += [
        (name, f"several masks: {_listed(truths[mask])}") for name, mask in pairs.items() if len(truths[mask]) > 1
    ]
    taken = set(pairs.values())
    unpaired += [(name, "a mask without an image") for name in truths if name not in taken and name not in pictures]
    return {name: mask for name, mask in pairs.items() if len(truths[mask]) == 1}, unpaired


def _names_of(images: Path, masks: Path, no_pictures: LeftOut) -> tuple[_Names, _Names]:
    """Names → files of both folders; in a shared folder, masks are what ends like one beside an image of its name."""
    for folder in (images, masks):
        if not folder.is_dir():
            raise SampleError(f"There is no folder {folder}.")
    if images.resolve() == masks.resolve():
        everything = _by_name(images, None, no_pictures, masks=True)
        truths = {name: everything[name] for name in everything if _bare(name) in everything and _bare(name) != name}
        return {name: paths for name, paths in everything.items() if name not in truths}, truths
    return (
        _by_name(images, masks, no_pictures, masks=False),
        _by_name(masks, images, no_pictures, masks=True),
    )


def _by_name(folder: Path, other: Path | None, no_pictures: LeftOut, *, masks: bool) -> _Names:
    """Pictures by their name, without what lies in the other folder where that is inside this one."""
    found: _Names = defaultdict(list)
    is_outer = other is not None and not folder.resolve().is_relative_to(other.resolve())
    pictures = find_pictures(folder, apart=other if is_outer else None, masks=masks)
    if not pictures.found:
        raise SampleError(describe_nothing(str(folder), pictures.left_out))
    no_pictures.update(pictures.left_out)
    for picture in pictures.found:
        found[Path(picture.inside).with_suffix("").as_posix()].append(picture.path)
    return dict(found)


def _bare(name: str) -> str:
    """A mask's name without the ending that says so."""
    ending = next((e for e in _MASK_ENDINGS if name.lower().endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(ending)]


def _match(pictures: _Names, truths: _Names) -> dict[str, str]:
    """Image name → mask name: exact names first, then the image's with its suffix, then endings in their order; last
    the same by names that some file system takes for one (capitals, composed letters), where only one mask has it."""
    pairs = {name: name for name in pictures if name in truths}
    taken = set(pairs)
    by_bare: dict[str, list[str]] = defaultdict(list)
    for mask in sorted(truths.keys() - taken):
        by_bare[_bare(mask)].append(mask)
    for name in sorted(pictures.keys() - pairs.keys()):
        with_suffix = f"{name}{pictures[name][0].suffix}"
        candidates = (with_suffix, *by_bare[name], *by_bare[with_suffix])
        free = next((mask for mask in candidates if mask in truths and mask not in taken), None)
        if free is not None:
            pairs[name] = free
            taken.add(free)
    alike = _alone_by_key({mask: _bare(mask) for mask in truths})
    wanted = _alone_by_key({name: name for name in pictures})
    both = ((wanted[key], alike[key]) for key in wanted.keys() & alike.keys())
    return pairs | {name: mask for name, mask in both if name not in pairs and mask not in taken}


def _alone_by_key(named: Mapping[str, str]) -> dict[str, str]:
    """By the key of their second name, those that share it with no other."""
    keys = Counter(map(name_key, named.values()))
    return {name_key(other): name for name, other in named.items() if keys[name_key(other)] == 1}


def _ambiguous(names: _Names, what: str) -> Iterator[tuple[str, str]]:
    return ((name, f"several {what}: {_listed(paths)}") for name, paths in names.items() if len(paths) > 1)


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)
