"""Whether a run may go on from what its folder holds: the same data, and state files that are whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptseg.data.samples import ConceptSample
from conceptseg.data.states import SampleStates
from conceptseg.errors import InputError
from conceptseg.ledger import lone_writer, read_object, read_rows, refuse_other_kinds, rewrite

__all__ = ["DATA_FILE", "alone_in", "check_data", "file_sizes", "read_state", "require_whole"]

DATA_FILE = "trained_on.jsonl"
"""In a run's folder: one line a sample from folders, with its state when the run began."""

_SHOWN = 5
_log = logging.getLogger(__name__)


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Keep other runs out of a run's folder while the block runs; the processes of one launch share it.

    Raises:
        InputError: another run writes there, or the folder holds something else than a training run.
    """
    refuse_other_kinds(out, DATA_FILE)
    if int(os.environ.get("RANK", "0")):
        yield
        return
    with lone_writer(out):
        yield


def check_data(out: Path, samples: Iterable[ConceptSample], *, resumed: bool) -> None:
    """Note what a run learns from, or make sure that a resumed run learns from the same.

    Samples of ConceptWorld are left out: the configuration says what they are.

    Args:
        out: the run's folder.
        samples: those from folders, to learn from and held out, in a fixed order.
        resumed: whether there is a checkpoint to go on from.

    Raises:
        InputError: samples were added, taken away, moved or changed, or the notes are damaged.
    """
    states, path = SampleStates(), out / DATA_FILE
    samples = list(samples)
    contents = read_rows(path, _is_note)
    if resumed and path.is_file():
        if contents.unusable or contents.is_torn:
            raise InputError(f"{path} is damaged, so what this run was trained on cannot be told. Set another `out`.")
        _require_same(out, {row["id"]: row for row in contents.rows}, samples, states)
        return
    if resumed:
        _log.warning("The run in %s does not say what it was trained on; today's data are taken for the same.", out)
    if int(os.environ.get("RANK", "0")) == 0:
        rewrite(path, ({"id": sample.id, **states.of(sample).to_dict()} for sample in samples))


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint's state file, which is read to go on from it.

    Raises:
        InputError: it is damaged.
    """
    try:
        state = read_object(path)
    except InputError as error:
        raise InputError(f"{error} {_advice(path.parent)}") from error
    if state is None or not isinstance(state.get("config"), dict):
        raise InputError(f"{path} does not say which run it belongs to. {_advice(path.parent)}")
    return state


def file_sizes(folder: Path) -> dict[str, int]:
    """Sizes in bytes of a checkpoint's files, but for the state file that will name them."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def require_whole(folder: Path, state: Mapping[str, Any]) -> None:
    """Make sure that a checkpoint's files are as long as they were when it was written.

    Args:
        folder: the checkpoint.
        state: its state file; one from before sizes were noted is believed.

    Raises:
        InputError: a file is missing or of another length, or the trainer's own state is no JSON.
    """
    try:
        read_object(folder / "trainer_state.json")
    except InputError as error:
        raise InputError(f"{error} {_advice(folder)}") from error
    sizes = state.get("files")
    if not isinstance(sizes, dict):
        return
    now = file_sizes(folder)
    wrong = [name for name, size in sizes.items() if now.get(name) != size]
    if wrong:
        raise InputError(f"{folder} is damaged: {', '.join(wrong[:_SHOWN])} missing or cut off. {_advice(folder)}")


def _advice(checkpoint: Path) -> str:
    return f"Delete {checkpoint} to go on from the checkpoint before it, or set another `out`."


def _is_note(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("id"), str) and isinstance(row.get("digest"), str)


def _require_same(
    out: Path, earlier: Mapping[str, Mapping[str, Any]], samples: list[ConceptSample], states: SampleStates
) -> None:
    now = {sample.id for sample in samples}
    differences = {
        "changed": [s.id for s in samples if s.id in earlier and not states.is_same(s, earlier[s.id])],
        "new": sorted(now - earlier.keys()),
        "gone": sorted(earlier.keys() - now),
    }
    told = [f"{len(ids)} {what} ({', '.join(ids[:_SHOWN])})" for what, ids in differences.items() if ids]
    if not told and [sample.id for sample in samples] != list(earlier):
        told = ["samples stand in another order"]
    if told:
        raise InputError(
            f"The run in {out} learned from other data: {'; '.join(told)}. Going on would mix them: set another `out` "
            "to train on these, or restore the data to resume."
        )
