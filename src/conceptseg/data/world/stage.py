"""What a picture shows, as plain data: a backdrop, things on it, and how the picture was taken.

Places and sizes are fractions of the picture's side, so one stage can be drawn at any size, from another view, later,
or with one thing changed. `studio.Studio` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from conceptseg.data.world.dice import between, chance, pick

__all__ = [
    "Backdrop",
    "Camera",
    "Finish",
    "Look",
    "RGBColour",
    "Stage",
    "TextureView",
    "Thing",
    "Tone",
    "random_finish",
    "spread",
    "tone",
]

RGBColour: TypeAlias = tuple[int, int, int]
Tone: TypeAlias = tuple[float, ...]
"""Twelve numbers: a 3×4 matrix from RGB1 to RGB, as `PIL.Image.convert` takes it."""

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_GREY = np.tile(_TO_YIQ[0], (3, 1))
_COLOUR = np.eye(3) - _GREY
_QUARTER = np.linalg.inv(_TO_YIQ) @ np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _TO_YIQ


@dataclass(frozen=True)
class Look:
    """How a thing looks from the front: a sprite by its name, or a shape in colour and pattern."""

    name: str
    """A sprite's name, or the shape's."""
    colour: str | None = None
    """Colour word of a shape; None for a sprite."""
    pattern: str = "plain"
    tone: Tone | None = None
    """Change of colours, or None."""
    badge: tuple[str, str] | None = None
    """Shape and colour of a badge worn on the middle, or None."""


@dataclass(frozen=True)
class Thing:
    """A look at a place: centre, longer side, and turn."""

    look: Look
    x: float
    y: float
    size: float
    angle: float = 0.0
    """Degrees counter-clockwise."""
    flip: bool = False
    grounded: bool = True
    """Whether it casts a soft contact shadow."""
    view: tuple[float, float] | None = None
    """Seen from aside: its width as a fraction of the full one, and how much shorter its right edge is than its left
    (negative: its left edge is shorter); None for a look straight from the front."""

    def moved(self, x: float, y: float) -> Thing:
        """The same thing with its centre elsewhere."""
        return replace(self, x=x, y=y)


@dataclass(frozen=True)
class TextureView:
    """A crop of a texture tile in colours."""

    family: str
    variant: int
    x: float
    y: float
    width: float
    """Left, top and side of the crop, as fractions of the tile."""
    turn: int
    """0..7: which of the square's symmetries is applied."""
    palette: bytes
    """768 bytes: RGB of each grey level."""


@dataclass(frozen=True)
class Backdrop:
    """One texture, or two that meet at an edge; or a photograph."""

    views: tuple[TextureView, ...]
    edge: tuple[float, float] | None = None
    """Where the second texture begins: height of the border at the left and at the right side; None for one texture."""
    photo: tuple[int, float, float, float] | None = None
    """Number of the photograph in the caller's folder, and left, top and side of the crop as fractions."""


@dataclass(frozen=True)
class Finish:
    """How the picture was taken."""

    light: bytes = b""
    """Sixteen brightness values (255 = unchanged) of a 4×4 grid, smoothly interpolated; empty for even light."""
    blur: float = 0.0
    """Gaussian radius as a fraction of the side."""
    noise: float = 0.0
    """Standard deviation in grey levels of 255."""
    noise_at: tuple[float, float] = (0.0, 0.0)
    jpeg: int = 0
    """JPEG quality; 0 for none."""


Camera: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""What of the stage is seen: its points at the picture's corners, upper left, lower left, lower right, upper right."""


@dataclass(frozen=True)
class Stage:
    """Everything in a picture; later things hide earlier ones."""

    backdrop: Backdrop
    things: tuple[Thing, ...]
    finish: Finish = Finish()
    camera: Camera | None = None
    """None for the whole stage, seen straight."""

    def with_thing(self, index: int, thing: Thing) -> Stage:
        """The stage with its thing number `index` replaced."""
        things = [*self.things]
        things[index] = thing
        return replace(self, things=tuple(things))


def tone(
    hue: float = 0.0,
    saturation: float = 1.0,
    gain: float = 1.0,
    toward: RGBColour = (128, 128, 128),
    amount: float = 0.0,
) -> Tone:
    """A colour change: hue turned by degrees, saturation and brightness scaled, then blended towards a colour."""
    cos, sin = math.cos(math.radians(hue)), math.sin(math.radians(hue))
    # A turn about the grey axis in YIQ keeps the luma: grey part + cos · colour part + sin · its quarter turn.
    matrix = (_GREY + saturation * (cos * _COLOUR + sin * _QUARTER)) * (gain * (1 - amount))
    return tuple(v for row, c in zip(matrix.tolist(), toward, strict=True) for v in (*row, amount * c))


def spread(
    rng: np.random.Generator,
    sizes: Sequence[float],
    gap: float = 0.85,
    taken: Sequence[tuple[float, float, float]] = (),
    inset: float = 0.0,
) -> list[tuple[float, float]]:
    """Centres for things of these sizes that keep apart as far as the room allows.

    Args:
        gap: distance kept between two centres, in units of the mean of their sizes (1 = just touching).
        taken: (x, y, size) of what is already there.
        inset: width of a border to keep free, beyond what the things' own sizes ask for.
    """
    placed = list(taken)
    for size in sizes:
        margin = min(0.5, size * 0.46 + inset)
        best, best_room = (0.5, 0.5), -math.inf
        for _ in range(12):
            x, y = between(rng, margin, 1 - margin), between(rng, margin, 1 - margin)
            room = min((math.hypot(x - a, y - b) - gap * (size + s) / 2 for a, b, s in placed), default=1.0)
            if room > best_room:
                best, best_room = (x, y), room
            if room >= 0:
                break
        placed.append((*best, size))
    return [(x, y) for x, y, _ in placed[len(taken) :]]


def random_finish(rng: np.random.Generator, strength: float = 1.0) -> Finish:
    """Light, blur, noise and compression as they happen to pictures; `strength` 0 leaves the picture clean."""
    light = b""
    if chance(rng, 0.6 * strength):
        x, y = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4))
        slope = between(rng, 0, 45) * (x * between(rng, -1, 1) + y * between(rng, -1, 1))
        light = np.clip(226 + slope + rng.normal(0, 14, (4, 4)), 90, 255).astype(np.uint8).tobytes()
    return Finish(
        light=light,
        blur=between(rng, 0.002, 0.006) if chance(rng, 0.12 * strength) else 0.0,
        noise=pick(rng, (3.0, 6.0, 10.0)) if chance(rng, 0.5 * strength) else 0.0,
        noise_at=(rng.random(), rng.random()),
        jpeg=int(between(rng, 35, 85)) if chance(rng, 0.12 * strength) else 0,
    )
