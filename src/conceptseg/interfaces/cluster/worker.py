"""The engine as a stage of a Ray Data pipeline: blocks of pictures in, parts of the results out, a tally back."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow

from conceptseg.data import Reference
from conceptseg.interfaces.cluster.parts import SCHEMA, Parts
from conceptseg.interfaces.cluster.reading import Done, read_unit
from conceptseg.interfaces.cluster.sources import Unit

if TYPE_CHECKING:
    from conceptseg.inference import ConceptSegmenter, Rule, SegmentationResult

__all__ = ["BLOCK", "TALLY", "Asked", "Worker", "read_blocks"]

BLOCK = pyarrow.schema(
    [
        ("name", pyarrow.string()),
        ("content", pyarrow.large_binary()),
        ("error", pyarrow.string()),
        ("kept", pyarrow.int64()),
        ("left_out", pyarrow.int64()),
    ]
)
"""What goes from reading to the engine: `Item`s."""

TALLY = pyarrow.schema(
    [
        ("name", pyarrow.string()),
        ("route", pyarrow.string()),
        ("error", pyarrow.string()),
        ("notes", pyarrow.list_(pyarrow.string())),
        ("is_calibrated", pyarrow.bool_()),
        ("kept", pyarrow.int64()),
        ("left_out", pyarrow.int64()),
        ("seconds", pyarrow.float64()),
        ("processor_s", pyarrow.float64()),
    ]
)
"""What comes back of every picture: enough to say how the run went."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every picture, whole: no worker needs a file of the machine that asks."""

    model: Mapping[str, Any]
    """The arguments of `add_model_arguments`."""
    concept: str | Rule
    references: tuple[Reference, ...]
    """Pictures and masks as bytes."""
    options: Mapping[str, Any]
    """Of `ConceptSegmenter.stream`."""
    instance_score: float | None
    """From which score on single objects are written; None for none."""
    out: str
    mark: str
    """Of the run, see `Parts.begin`."""


def read_blocks(units: pyarrow.Table, done: Any, column: str | None, size: int) -> Iterator[pyarrow.Table]:
    """Read units, for `map_batches`.

    Args:
        units: rows of `Unit`.
        done: a reference to the `Done` of the run.
        column: see `read_unit`.
        size: pictures in a block.
    """
    import ray

    known: Done = ray.get(done)
    for row in units.to_pylist():
        unit = Unit(row["kind"], tuple(row["names"]), row["group"], row["first_row"])
        rows: list[dict[str, Any]] = []
        for item in read_unit(unit, known, column):
            rows.append(vars(item))
            if len(rows) == size:
                yield pyarrow.Table.from_pylist(rows, BLOCK)
                rows = []
        if rows:
            yield pyarrow.Table.from_pylist(rows, BLOCK)


class Worker:
    """An engine of its own for every actor; a class for `map_batches`.

    Raises:
        CheckpointError: the model cannot be loaded.
    """

    def __init__(self, asked: Asked) -> None:
        from conceptseg.interfaces.cli.console import load_segmenter

        self._asked = asked
        self._segmenter: ConceptSegmenter = load_segmenter(argparse.Namespace(**asked.model))
        self._segmenter.prepare(asked.references)  # one that cannot be used is told before anything is read
        self._parts = Parts(asked.out)

    def __call__(self, block: pyarrow.Table) -> pyarrow.Table:
        """Segment a block and write its part."""
        began, processor_began = time.perf_counter(), time.process_time()
        items = block.to_pylist()
        rows = self._answers([item for item in items if item["content"] is not None])
        rows += [_failed(item["name"], item["error"]) for item in items if item["error"] is not None]
        if rows:
            self._parts.write(rows, self._asked.mark)
        told = [_told(row) for row in rows]
        told.append(
            _told({})
            | {"kept": sum(item["kept"] for item in items), "left_out": sum(item["left_out"] for item in items)}
            | {"seconds": time.perf_counter() - began, "processor_s": time.process_time() - processor_began}
        )
        return pyarrow.Table.from_pylist(told, TALLY)

    def _answers(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows of pictures; where a batch fails as a whole, its pictures are tried one by one."""
        if not items:
            return []
        try:
            asked = self._asked
            found = self._segmenter.stream(
                [item["content"] for item in items], asked.concept, asked.references, **asked.options
            )
            return [self._row(item["name"], result) for item, result in zip(items, found, strict=True)]
        except Exception as error:  # whatever it is, it costs no other picture its answer
            if len(items) == 1:
                return [_failed(items[0]["name"], f"{type(error).__name__}: {error}")]
            return [row for item in items for row in self._answers([item])]

    def _row(self, name: str, result: SegmentationResult) -> dict[str, Any]:
        if result.mask is None:
            return _failed(name, result.error or "nothing was computed")
        told = result.to_dict()
        row = {field: told.get(field) for field in SCHEMA.names}
        score = self._asked.instance_score
        found = None if score is None else json.dumps(result.instances_to_dicts(score))
        counts = result.to_coco_rle(compressed=True)["counts"]
        return row | {"name": name, "timings": list(told["timings"].items()), "counts": counts, "instances": found}


def _failed(name: str, reason: str) -> dict[str, Any]:
    return dict.fromkeys(SCHEMA.names) | {"name": name, "error": reason}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row.get("name", ""),
        "route": row.get("route"),
        "error": row.get("error"),
        "notes": row.get("notes") or [],
        "is_calibrated": bool(row.get("calibrated")),
        "kept": 0,
        "left_out": 0,
        "seconds": 0.0,
        "processor_s": 0.0,
    }
