"""Randomness that depends on names, never on order: a generator per key, and the few draws that scenes need."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["between", "chance", "generator", "pick", "some"]

T = TypeVar("T")


def generator(*key: object) -> np.random.Generator:
    """A generator seeded by the key's words alone, the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little"))))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number drawn evenly from [low, high)."""
    return low + (high - low) * rng.random()


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with that probability."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One item; every item is as likely."""
    return items[int(rng.random() * len(items))]


def some(rng: np.random.Generator, items: Sequence[T], count: int) -> list[T]:
    """`count` different items in random order; all of them if there are fewer."""
    return [items[i] for i in rng.permutation(len(items))[:count]]
