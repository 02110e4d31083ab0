"""Masks with a palette: indices that are labels, or colours that happen to be stored so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.masks.colours import NOTE_COLOUR, read_colours, read_shades
from conceptseg.masks.reading import ANY, MaskReading, Selection, in_words, refusal
from conceptseg.masks.values import read_integers

__all__ = ["read_palette"]

NOTE_VOID_INDEX = "The mask's palette index 255 was read as ignored."

_VOID = 255
_FEWEST_SHADES = 4
_VOID_COLOUR = (224, 224, 192)  # what Pascal VOC paints it


def read_palette(
    indices: UInt8[np.ndarray, "h w"], table: UInt8[np.ndarray, "256 4"], name: str, selection: Selection
) -> MaskReading:
    """Read a mask of palette indices.

    | palette | target | ignored |
    |---|---|---|
    | greys of their own index, with white, or more than two | the grey level, by the table of `read_values` | as that |
    | index 0 black or transparent, and index 1 | 1 | 255, beside other indices |
    | a black index other than 0, and one colour | the colour | 255, as above |
    | index 0 black, and 255 | 255, unless it is painted as VOC paints its void | 255, if so |
    | shades of one colour on black | what is brighter than half of it | |
    | several labels; a single one from 2 on; no black | refused | |

    Args:
        indices: as they are stored; labels select among them.
        table: the colours that the indices stand for.
        name: what messages call the mask.
        selection: the index that is the target and the one to ignore, where they are given.

    Raises:
        ImageError: there are several labels, or nothing says which is the background, and no label is given.
    """
    wanted = (selection.label, selection.ignore)
    if any(isinstance(label, str) and label != ANY for label in wanted):
        return read_colours(table[indices][..., :3], name, selection)
    if selection.label is not None:
        return read_integers(indices, name, selection)
    ignored = np.zeros(indices.shape, dtype=bool) if selection.ignore is None else indices == selection.ignore
    counts = np.bincount(indices.ravel(), minlength=len(table))
    colours = {index: tuple(table[index].tolist()) for index in np.flatnonzero(counts).tolist()}
    colours.pop(selection.ignore, None)
    if _reads_as_greys(colours):
        reading = read_integers(table[indices][..., 0], name, Selection(), ~ignored)
        return MaskReading(reading.target, reading.ignore | ignored, reading.notes)
    ground = _background_of(colours)
    objects = set(colours) - ground
    guessed = selection.ignore is None and _is_void(objects, colours)
    if guessed:
        ignored, objects = indices == _VOID, objects - {_VOID}
    notes = (NOTE_VOID_INDEX,) if guessed else ()
    if _is_one_object(objects, ground):
        target = np.isin(indices, sorted(objects))
        return MaskReading(target, ignored, notes + ((NOTE_COLOUR,) if objects - {1} else ()))
    soft = _read_as_shades(table[indices], ~ignored) if len(objects) >= _FEWEST_SHADES else None
    if soft is None:
        raise refusal(name, "palette indices", in_words(colours))
    return MaskReading(soft.target, ignored, notes + soft.notes)


def _read_as_shades(rgba: UInt8[np.ndarray, "h w 4"], counted: Bool[np.ndarray, "h w"]) -> MaskReading | None:
    """One colour on black in several shades, as when a soft mask was given a palette; labels are no shades."""
    return read_shades(rgba[..., :3], counted) if (rgba[..., 3] == 255).all() else None


def _reads_as_greys(colours: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether the grey levels are what counts: all are opaque greys, of their own index, with white, or many."""
    if any(alpha < 128 or len({*rgb}) > 1 for *rgb, alpha in colours.values()):
        return False
    own = all(rgba[0] == index for index, rgba in colours.items())
    levels = {rgba[0] for rgba in colours.values()}
    return own or len(colours) > 2 or 0 not in levels or 255 in levels


def _background_of(colours: Mapping[int, tuple[int, ...]]) -> set[int]:
    """Index 0 where that is black, else all that is black, and what is transparent; entries that lack are black too."""
    black = {index for index, (*rgb, _) in colours.items() if max(rgb) == 0}
    return ({0} if 0 in black else black) | {index for index, (*_, alpha) in colours.items() if alpha < 128}


def _is_void(objects: set[int], colours: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether index 255 stands for pixels that are not judged."""
    return _VOID in objects and (len(objects) > 1 or colours[_VOID][:3] == _VOID_COLOUR)


def _is_one_object(objects: set[int], ground: set[int]) -> bool:
    """Whether what is neither background nor void is plainly the target."""
    if len(objects) != 1:
        return not objects
    (index,) = objects
    if not ground:
        return index == 1
    return ground != {0} or index in (1, _VOID)
