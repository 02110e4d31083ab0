"""Random fields: the stuff of textures, blotches and light."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

__all__ = ["fractal", "smooth", "to_uint8", "unit"]


def smooth(
    rng: np.random.Generator, size_hw: tuple[int, int], cells_hw: tuple[float, float]
) -> Float[np.ndarray, "h w"]:
    """Noise in [0, 1] with about `cells_hw` bumps down and across (fewer = smoother)."""
    grid = (max(2, round(cells_hw[0]) + 1), max(2, round(cells_hw[1]) + 1))
    small = Image.fromarray(rng.random(grid, dtype=np.float32))
    return np.clip(np.asarray(small.resize(size_hw[::-1], Image.Resampling.BICUBIC)), 0.0, 1.0)


def fractal(
    rng: np.random.Generator, size_hw: tuple[int, int], cells_hw: tuple[float, float], octaves: int = 4
) -> Float[np.ndarray, "h w"]:
    """Noise with detail at `octaves` scales, each half as large and half as strong; stretched to [0, 1]."""
    total = np.zeros(size_hw, np.float32)
    for octave in range(octaves):
        total += smooth(rng, size_hw, (cells_hw[0] * 2**octave, cells_hw[1] * 2**octave)) / 2**octave
    return unit(total)


def unit(field: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The field stretched to [0, 1]; a constant field becomes 0."""
    low, high = float(field.min()), float(field.max())
    return (field - low) / (high - low) if high > low else np.zeros_like(field)


def to_uint8(field: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """[0, 1] → 0..255, rounded and clipped."""
    return np.clip(field * 255.0 + 0.5, 0, 255).astype(np.uint8)
