"""Selections that look random and depend on nothing but names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["take_by_hash"]


def take_by_hash(names: Iterable[str], count: int, salt: str = "") -> set[str]:
    """A selection of `count` names that looks random but depends on nothing but the names and the salt."""
    return set(sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())[:count])
