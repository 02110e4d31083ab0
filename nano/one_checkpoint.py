"""Numbers that stand side by side have to come from one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from conceptseg.errors import InputError

__all__ = ["require_one_checkpoint"]


def require_one_checkpoint(digests: Mapping[str, Mapping[str, str]]) -> None:
    """Make sure that numbers which are to stand side by side come from one checkpoint.

    Args:
        digests: by the name of what they belong to, e.g. a run: digests by part, as of `describe_checkpoint`.

    Raises:
        InputError: they differ; every name is told with the first letters of its digests.
    """
    if len({tuple(sorted(parts.items())) for parts in digests.values()}) > 1:
        told = (f"{name} ({_in_short(parts)})" for name, parts in digests.items())
        raise InputError(f"These are not of one checkpoint, their digests differ: {'; '.join(told)}.")


def _in_short(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{part} {digest[:6]}" for part, digest in sorted(digests.items())) or "unknown"
