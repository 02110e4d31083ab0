"""What is asked of a mask (which label, what to ignore), what comes out, and the words for what cannot be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from conceptseg.errors import ImageError, InputError

__all__ = ["ANY", "IGNORE_VALUE", "Label", "MaskReading", "Selection", "flat_share", "in_words", "refusal"]

IGNORE_VALUE = 128
"""The grey level that on-disk masks give to pixels that count neither as target nor as background."""

ANY = "any"
"""The label that stands for every one but 0, or for every colour but black."""

Label: TypeAlias = int | str
"""A value of a label map (the index in a palette), a colour "#rrggbb", or "any"."""

_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_SHOWN = 12


@dataclass(frozen=True, eq=False)
class MaskReading:
    """A mask as read: two boolean arrays of shape (H, W), never both true, and what should be known of them."""

    target: Bool[np.ndarray, "h w"]
    ignore: Bool[np.ndarray, "h w"]
    """Pixels that count neither as target nor as background."""
    notes: tuple[str, ...] = ()
    """What was guessed or scaled; sentences about the mask that are the same for every mask of a kind."""

    def levels(self) -> UInt8[np.ndarray, "h w"]:
        """The mask as it lies on disk: 255 target, 128 ignored, 0 background."""
        return np.where(self.target, 255, np.where(self.ignore, IGNORE_VALUE, 0)).astype(np.uint8)


@dataclass(frozen=True)
class Selection:
    """Which label is the target and which value is not judged; with neither, the values speak for themselves.

    Raises:
        InputError: a label that is no whole number, colour or "any", or one label for both.
    """

    label: Label | None = None
    ignore: Label | None = None

    def __post_init__(self) -> None:
        for name, value in (("label", self.label), ("ignore", self.ignore)):
            known = isinstance(value, (int, np.integer)) or (isinstance(value, str) and _COLOUR.fullmatch(value))
            if not (known or value is None or (name == "label" and value == ANY)):
                more = ', or "any"' if name == "label" else ""
                raise InputError(f'{name} must be a whole number or a colour "#rrggbb"{more}, got {value!r}.')
        if self.label is not None and self.label == self.ignore:
            raise InputError(f"label and ignore are both {self.label!r}: one value cannot be target and ignored.")

    @classmethod
    def of(cls, label: Label | None, ignore: Label | None) -> Selection:
        """A selection from what callers pass; words are taken as the command line gives them ("7", "#FF0000")."""
        return cls(_parsed(label), _parsed(ignore))

    @property
    def is_given(self) -> bool:
        """Whether anything is selected at all."""
        return self.label is not None or self.ignore is not None


def refusal(name: str, kind: str, found: Sequence[str], hint: str = "") -> ImageError:
    """The error for a mask that could mean several things.

    Args:
        name: what messages call it.
        kind: what it holds, e.g. "values".
        found: the labels or colours in it.
        hint: what else may help.
    """
    more = f", … ({len(found)} in all)" if len(found) > _SHOWN else ""
    return ImageError(
        f"The mask {name} is a label map, or cannot be told from one: it holds the {kind} "
        f"{', '.join(found[:_SHOWN])}{more}. Say which is the target with label=… (--label N on the command line; "
        f'"any" for all but 0) and which is not to be judged with ignore=… (--ignore N).{hint}'
    )


def flat_share(values: Shaped[np.ndarray, "h w"], among: Bool[np.ndarray, "h w"]) -> float:
    """How many of some pixels lie in a block of 2×2 equal ones, 0…1: labels do, the greys of soft edges do not."""
    count = int(np.count_nonzero(among))
    if count == 0 or min(values.shape) < 2:
        return 0.0
    right = values[:, 1:] == values[:, :-1]
    block = right[1:] & right[:-1] & (values[1:, 1:] == values[:-1, 1:])
    flat = np.zeros(values.shape, dtype=bool)
    for rows in (slice(1, None), slice(None, -1)):
        for columns in (slice(1, None), slice(None, -1)):
            flat[rows, columns] |= block
    return int(np.count_nonzero(flat & among)) / count


def in_words(values: Iterable[int]) -> list[str]:
    """Values as messages list them."""
    return [str(int(value)) for value in values]


def _parsed(label: Label | None) -> Label | None:
    if not isinstance(label, str):
        return label
    try:
        return int(label)
    except ValueError:
        return label.strip().lower()
