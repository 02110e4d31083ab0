"""Parts: their own record of what is done, whatever happens to the process that writes them."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow.parquet
import pytest

from conceptseg.errors import InputError
from conceptseg.interfaces.cluster.parts import REQUEST_FILE, SCHEMA, Parts

REQUEST = {"concept": "leaf", "references": [], "boxes": (1, 2)}


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path: Path):
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield "memory://bucket/out" if request.param == "memory" else str(tmp_path / "out")
    memory.store.clear()


def row(name: str, error: str | None = None) -> dict:
    return dict.fromkeys(SCHEMA.names) | {"name": name, "error": error, "counts": "04", "timings": [("encode", 0.5)]}


def listed(place: str, folder: str) -> list[str]:
    fs, path = fsspec.core.url_to_fs(place)
    return fs.ls(f"{path}/{folder}", detail=False) if fs.exists(f"{path}/{folder}") else []


def test_what_is_written_is_done(place) -> None:
    parts = Parts(place)
    mark = parts.begin(REQUEST, overwrite=False)
    assert parts.done() == ([], 0)
    parts.write([row("a"), row("b"), row("c", "it is no image")], mark)
    names, damaged = Parts(place).done()
    assert sorted(names) == ["a", "b"] and damaged == 0
    fs, path = fsspec.core.url_to_fs(place)
    (failed,) = listed(place, "failed")
    with fs.open(failed) as file:
        assert pyarrow.parquet.read_table(file).to_pylist()[0]["error"] == "it is no image"
    assert not [name for name in fs.find(path) if "/." in name[len(path) :]]


def test_a_task_that_is_tried_again_replaces_its_part(place) -> None:
    parts = Parts(place)
    mark = parts.begin(REQUEST, overwrite=False)
    for _ in range(2):
        parts.write([row("a"), row("b")], mark)
    assert len(listed(place, "parts")) == 1 and sorted(parts.done()[0]) == ["a", "b"]


def test_failures_go_when_the_next_run_begins(place) -> None:
    parts = Parts(place)
    parts.write([row("a"), row("c", "gone")], parts.begin(REQUEST, overwrite=False))
    parts.begin(REQUEST, overwrite=False)
    assert not listed(place, "failed") and parts.done()[0] == ["a"]


def test_another_request_is_refused_unless_it_may_overwrite(place) -> None:
    parts = Parts(place)
    parts.write([row("a")], parts.begin(REQUEST, overwrite=False))
    with pytest.raises(InputError, match=r"another request \(it differs in: concept\).*--overwrite"):
        parts.begin({**REQUEST, "concept": "cat"}, overwrite=False)
    assert parts.done()[0] == ["a"]
    parts.begin({**REQUEST, "concept": "cat"}, overwrite=True)
    assert parts.done()[0] == []


def test_of_two_runs_the_later_goes_on(place) -> None:
    earlier, later = Parts(place), Parts(place)
    mark = earlier.begin(REQUEST, overwrite=False)
    newer = later.begin(REQUEST, overwrite=False)
    with pytest.raises(InputError, match=r"Another run writes to .*: this one stops"):
        earlier.write([row("a")], mark)
    later.write([row("a")], newer)
    assert later.done()[0] == ["a"]


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off", b"x" * 5000])
def test_a_damaged_part_is_removed_and_told(place, content) -> None:
    parts = Parts(place)
    parts.write([row("a")], parts.begin(REQUEST, overwrite=False))
    fs, _ = fsspec.core.url_to_fs(place)
    (name,) = listed(place, "parts")
    fs.pipe_file(name, content)
    assert parts.done() == ([], 1)
    assert not listed(place, "parts")


def test_files_of_others_are_left_alone(place) -> None:
    parts = Parts(place)
    parts.write([row("a")], parts.begin(REQUEST, overwrite=False))
    fs, path = fsspec.core.url_to_fs(place)
    fs.pipe_file(f"{path}/parts/mine.parquet", b"mine")
    assert parts.done() == (["a"], 0)
    parts.begin(REQUEST, overwrite=True)
    assert [name.rpartition("/")[2] for name in listed(place, "parts")] == ["mine.parquet"]


def test_the_request_is_kept_for_people(place) -> None:
    Parts(place).begin({"concept": "Übergröße"}, overwrite=False)
    fs, path = fsspec.core.url_to_fs(place)
    told = json.loads(fs.cat_file(f"{path}/{REQUEST_FILE}"))
    assert told["concept"] == "Übergröße" and told["run"]
