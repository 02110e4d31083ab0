"""Long work that survives being killed: one JSON line a finished item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conceptseg.files import replacing
from conceptseg.ledger import read_rows

__all__ = ["resume", "write_json"]

_LINES = "progress.jsonl"


def resume(
    folder: Path,
    ids: Iterable[str],
    settings: Mapping[str, Any],
    make: Callable[[str], Mapping[str, Any]],
    is_there: Callable[[Mapping[str, Any]], bool] = lambda record: True,
) -> Iterator[dict[str, Any]]:
    """Every item's record, in order; those that an earlier run of the same settings made are taken from its lines.

    Args:
        folder: where the lines are kept.
        ids: of all items.
        settings: what records depend on; records of other settings are made anew.
        make: an item's record from its id; called for what is missing.
        is_there: whether what a record of an earlier run speaks of is still there; otherwise it is made anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LINES
    done = {item_id: record for item_id, record in _read(path, settings).items() if is_there(record)}
    with replacing(path) as fresh:
        fresh.write_text("".join(map(_line, [{"settings": settings}, *done.values()])), encoding="utf-8")
    for item_id in ids:
        if item_id not in done:
            done[item_id] = {"id": item_id, **make(item_id)}
            with path.open("a", encoding="utf-8") as file:
                file.write(_line(done[item_id]))
        yield done[item_id]


def write_json(path: Path, content: Any) -> Path:
    """Write a file of JSON as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _read(path: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Records by id, of a file that opens with the same settings; lines that are damaged or cut off are dropped."""
    records = read_rows(path).rows
    if not records or records[0] != {"settings": dict(settings)}:
        return {}
    return {record["id"]: record for record in records[1:] if isinstance(record.get("id"), str)}


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
