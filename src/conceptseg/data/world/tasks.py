"""What a task is: a theme that all pictures of an episode share, and a way to draw one picture of it.

The theme is drawn once per episode (which class, which surface, which rule); then the target and every reference are
drawn from it independently, each with a generator of its own, so that asking for fewer references changes no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.data.world.studio import Rendered, Studio

__all__ = ["Picture", "Task", "Theme", "picture_of"]


@dataclass(frozen=True)
class Theme:
    """What the pictures of one episode have in common."""

    concept: str
    """The question as a user would type it."""
    rule: str
    """The rule in one sentence."""
    answer: str
    """A noun phrase for what is to be segmented, unless the picture says otherwise."""
    group: str
    """Sprite, texture or rule family, for splitting and averaging."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """What `draw` needs to know."""
    rival: Theme | None = None
    """The theme of other references under which the same target has another mask; its own `rival` is None."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its exact mask."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    answer: str | None = None
    """The noun phrase for this very picture, where it differs from the theme's."""
    rival_mask: Bool[np.ndarray, "h w"] | None = None
    """The mask under the theme's rival rule, for tasks that have one."""


@dataclass(frozen=True)
class Task:
    """How a leaf task of the taxonomy is made."""

    theme: Callable[[np.random.Generator, Studio], Theme]
    draw: Callable[[Theme, np.random.Generator, Studio, int, int | None], Picture]
    """(theme, generator, studio, side in px, number of the reference or None for the target) → picture."""
    texts: Callable[[], Iterable[str]]
    """Every concept, rule and answer that the task can say, over all splits."""


def picture_of(rendered: Rendered, *indices: int, answer: str | None = None) -> Picture:
    """The rendered stage with the things of these numbers as its mask."""
    return Picture(rendered.image, rendered.mask(*indices), answer)
