"""Colour ramps for grey textures."""

from __future__ import annotations

import colorsys

import numpy as np

from conceptseg.data.world.dice import between, chance
from conceptseg.data.world.stage import RGBColour

__all__ = ["palette_between", "palette_mean", "random_palette", "rgb_of"]

_LEVELS = np.linspace(0.0, 1.0, 256)


def rgb_of(hue: float, saturation: float, value: float) -> RGBColour:
    """RGB 0..255 of HSV in [0, 1] (hue wraps round)."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(r * 255), round(g * 255), round(b * 255)


def palette_between(*stops: RGBColour) -> bytes:
    """768 bytes: a ramp through the stops, evenly spaced from grey level 0 to 255."""
    at = np.linspace(0.0, 1.0, len(stops))
    ramp = np.stack([np.interp(_LEVELS, at, channel) for channel in zip(*stops, strict=True)], axis=1)
    return ramp.astype(np.uint8).tobytes()


def random_palette(rng: np.random.Generator, contrast: float = 1.0, saturation: float = 0.55) -> bytes:
    """A ramp from a darker to a lighter colour of near hues, as one material has; sometimes of two far hues."""
    hue, value = rng.random(), between(rng, 0.3, 0.9)
    span = between(rng, 0.2, 0.5) * contrast
    far = between(rng, -0.07, 0.07) if chance(rng, 0.75) else between(rng, 0.2, 0.5)
    low, high = max(0.05, value - span / 2), min(1.0, value + span / 2)
    return palette_between(
        rgb_of(hue, between(rng, 0.05, saturation), low),
        rgb_of(hue + far / 2, between(rng, 0.05, saturation), (low + high) / 2),
        rgb_of(hue + far, between(rng, 0.02, saturation * 0.8), high),
    )


def palette_mean(palette: bytes) -> RGBColour:
    """The ramp's middle colour."""
    r, g, b = palette[3 * 128 : 3 * 129]
    return r, g, b
