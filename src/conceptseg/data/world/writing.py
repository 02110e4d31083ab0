"""ConceptWorld samples as a folder on disk."""

from __future__ import annotations

from pathlib import Path

from conceptseg.data.world.world import ConceptWorld
from conceptseg.data.writing import append_samples, write_samples
from conceptseg.errors import InputError

__all__ = ["write_world"]


def write_world(world: ConceptWorld, folder: str | Path, count: int, *, overwrite: bool = False) -> Path:
    """Write the first `count` samples of each of the world's tasks so that `read_samples` gives them back.

    Args:
        world: the world.
        folder: samples that it holds already stay.
        count: samples a task.
        overwrite: discard the rows that the folder holds.

    Returns:
        The path of `samples.jsonl`.

    Raises:
        InputError: `count` is less than 1.
        SampleError: the folder holds samples of the same names from another world.
    """
    if count < 1:
        raise InputError(f"At least 1 sample a task can be written, got count={count}.")
    samples = (world[index] for index in range(count * len(world.tasks)))
    return write_samples(samples, folder) if overwrite else append_samples(samples, folder).index
