"""Notes that many references share, told once."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["MOST_NOTES", "fold_notes"]

MOST_NOTES = 256
"""So many a rule's file holds."""

_OF_ONE = re.compile(r"(Reference|Absent picture) (\d+): (.+)", re.DOTALL)


def fold_notes(notes: Iterable[str], most: int = MOST_NOTES) -> tuple[str, ...]:
    """Notes in their order, those that say the same of several references as one; of too many the rest is counted.

    "Reference 1: …" and "Reference 4: …" become "References 1, 4: …".
    """
    places: dict[tuple[str, str], list[str]] = {}
    for note in dict.fromkeys(notes):
        found = _OF_ONE.fullmatch(note)
        if found:
            places.setdefault((found[1], found[3]), []).append(found[2])
        else:
            places[("", note)] = []
    told = [
        f"{what}{'s' * (len(of) > 1)} {', '.join(of)}: {text}" if what else text for (what, text), of in places.items()
    ]
    if len(told) <= most:
        return tuple(told)
    return (*told[: most - 1], f"… and {len(told) - most + 1} more notes, which are left out.")
