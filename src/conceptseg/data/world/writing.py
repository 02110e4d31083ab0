"""ConceptWorld samples as a folder on disk."""

from __future__ import annotations

from pathlib import Path

from conceptseg.data.world.world import ConceptWorld
from conceptseg.data.writing import write_samples
from conceptseg.errors import InputError

__all__ = ["write_world"]


def write_world(world: ConceptWorld, folder: str | Path, count: int) -> Path:
    """Write the first `count` samples of each of the world's tasks so that `read_samples` gives them back.

    Returns:
        The path of `samples.jsonl`.

    Raises:
        InputError: `count` is less than 1.
    """
    if count < 1:
        raise InputError(f"At least 1 sample a task can be written, got count={count}.")
    return write_samples((world[index] for index in range(count * len(world.tasks))), folder)
