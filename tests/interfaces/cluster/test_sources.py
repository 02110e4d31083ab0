"""What places stand for: buckets are stood in for by fsspec's memory."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from conceptseg.errors import InputError, MissingExtraError
from conceptseg.interfaces.cluster.reading import Done, Item, read_unit
from conceptseg.interfaces.cluster.sources import PARQUET, PICTURES, SHARD, Unit, find_units, open_place
from tests.interfaces.server.fakes import png

NOBODY = Done.of([])


@pytest.fixture
def bucket():
    """An empty bucket, `memory:///bucket`."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def put_parquet(place: str, columns: dict, rows_a_group: int = 2) -> None:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer, row_group_size=rows_a_group)
    fs, path = open_place(place)
    fs.pipe_file(path, buffer.getvalue())


def put_shard(place: str, members: list[tuple[str, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as shard:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    fs, path = open_place(place)
    fs.pipe_file(path, buffer.getvalue())


def found(*places: str, size: int = 2, exclude: str = "memory:///bucket/out") -> list[Unit]:
    return find_units(places, exclude=exclude, size=size)[0]


def read(unit: Unit, done: Done = NOBODY, column: str | None = None) -> tuple[list[Item], Item]:
    *items, rest = read_unit(unit, done, column)
    assert rest.name == "" and all(item.name for item in items)
    return items, rest


def test_a_bucket_is_searched_and_what_is_passed_over_is_told(bucket) -> None:
    for name in ("b/2.PNG", "a.jpg", "c.jpeg", "notes.txt", ".hidden/d.jpg", "out/parts/e.png"):
        bucket.pipe_file(f"/bucket/{name}", b"x")
    units, left_out = find_units(["memory:///bucket"], exclude="memory:///bucket/out", size=2)
    assert units == [
        Unit(PICTURES, ("memory:///bucket/a.jpg", "memory:///bucket/b/2.PNG")),
        Unit(PICTURES, ("memory:///bucket/c.jpeg",)),
    ]
    assert sorted(left_out.lines()) == [
        "left out, 1 hidden: .hidden/d.jpg",
        "left out, 1 no pictures: notes.txt",
        "left out, 1 results of earlier runs: out/parts/e.png",
    ]


def test_every_file_counts_once_and_patterns_are_understood(bucket) -> None:
    for number in range(4):
        bucket.pipe_file(f"/bucket/p-{number:02}.png", b"x")
    names = [f"memory:///bucket/p-{number:02}.png" for number in range(4)]
    assert found("memory:///bucket/p-0[01].png", "memory:///bucket/p-{01..03}.png", size=9) == [
        Unit(PICTURES, tuple(names))
    ]


def test_local_folders_keep_their_paths(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "in [1]").mkdir()
    (tmp_path / "in [1]" / "é.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    (unit,) = found("in [1]", exclude=str(tmp_path / "out"))
    assert unit.names == (str(tmp_path / "in [1]" / "é.png"),)
    assert read(unit)[0] == [Item(unit.names[0], png())]


@pytest.mark.parametrize(
    ("place", "error", "told"),
    [
        ("memory:///bucket/nothing", InputError, "holds no pictures"),
        (" ", InputError, "is blank"),
        ("nosuch://bucket", InputError, "is no place that can be read"),
        ("memory:///bucket/cut.parquet", InputError, "cut.parquet cannot be read as Parquet"),
    ],
)
def test_places_that_are_none(bucket, place, error, told) -> None:
    bucket.pipe_file("/bucket/cut.parquet", b"PAR1 cut")
    with pytest.raises(error, match=told):
        found(place)


def test_a_file_system_that_is_not_installed_is_named(monkeypatch) -> None:
    def missing(place: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingExtraError, match=r"Install s3fs to access S3.*pip install s3fs"):
        open_place("s3://bucket")


def test_a_picture_that_is_gone_is_a_row_with_the_reason(bucket) -> None:
    bucket.pipe_file("/bucket/a.png", png())
    items, rest = read(Unit(PICTURES, ("memory:///bucket/a.png", "memory:///bucket/gone.png")))
    assert items[0] == Item("memory:///bucket/a.png", png())
    assert items[1].content is None and "gone.png cannot be read" in items[1].error
    assert (rest.kept, rest.left_out) == (0, 0)


def test_names_that_are_no_text_are_left_out_or_written_as_text(bucket, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    Path(f"{tmp_path}/\udcff.png").write_bytes(png())
    units, left_out = find_units([str(tmp_path)], exclude=str(tmp_path / "out"), size=9)
    assert units == [Unit(PICTURES, (str(tmp_path / "a.png"),))]
    assert left_out.lines() == [r"left out, 1 whose names are not UTF-8: '\udcff.png'"]
    put_shard("memory:///bucket/s.tar", [("\udcff.png", png())])
    (item,), _ = read(Unit(SHARD, ("memory:///bucket/s.tar",)))
    assert item.name == r"memory:///bucket/s.tar#\udcff.png" and item.content == png()


def test_whatever_a_file_system_raises_is_a_row(bucket, monkeypatch) -> None:
    class Odd(Exception):
        pass

    def fails(self, path: str, **more: object) -> bytes:
        raise Odd("403 of the cloud")

    monkeypatch.setattr(type(bucket), "cat_file", fails)
    (item,), _ = read(Unit(PICTURES, ("memory:///bucket/a.png",)))
    assert item.error == "memory:///bucket/a.png cannot be read: 403 of the cloud."


def test_parquet_bytes_structs_and_addresses(bucket) -> None:
    bucket.pipe_file("/bucket/pics/a.png", png())
    cells = {
        "image": [png(), png(9, 9), None],
        "struct": [{"bytes": png(), "path": None}, {"bytes": None, "path": "pics/a.png"}, {"bytes": None, "path": ""}],
        "url": ["pics/a.png", "memory:///bucket/pics/a.png", "gone.png"],
    }
    put_parquet("memory:///bucket/t.parquet", cells)
    units = found("memory:///bucket/t.parquet")
    assert [(unit.kind, unit.group, unit.first_row) for unit in units] == [(PARQUET, 0, 0), (PARQUET, 1, 2)]
    for column, second in ((None, png(9, 9)), ("struct", png()), ("url", png())):
        items = [item for unit in units for item in read(unit, column=column)[0]]
        assert [item.name for item in items] == [f"memory:///bucket/t.parquet#{row}" for row in range(3)]
        assert [item.content for item in items] == [png(), second, None]
        assert items[2].error


def test_a_column_that_is_not_there_is_told_with_those_that_are(bucket) -> None:
    put_parquet("memory:///bucket/t.parquet", {"label": [1]})
    (unit,) = found("memory:///bucket/t.parquet")
    for column, told in ((None, "name it, --column label"), ("photo", "has no column 'photo'; it has label")):
        (item,) = read(unit, column=column)[0]
        assert told in item.error


def test_shards_give_their_pictures_and_count_the_rest(bucket) -> None:
    members = [("1.jpg", png()), ("1.json", b"{}"), ("1.mask.png", b"m"), ("d/2.JPG", png(9, 9)), ("1.jpg", b"again")]
    put_shard("memory:///bucket/s-000.tar", members)
    (unit,) = found("memory:///bucket/s-{000..000}.tar")
    assert unit.kind == SHARD
    items, rest = read(unit)
    assert [item.name.partition("#")[2] for item in items] == ["1.jpg", "d/2.JPG", "1.jpg~2"]
    assert [item.content for item in items] == [png(), png(9, 9), b"again"]
    assert rest.left_out == 2


@pytest.mark.parametrize("length", [1024, 1300, 1536, 3000, 3584])
def test_a_shard_that_is_cut_off_keeps_what_came_before(bucket, length) -> None:
    put_shard("memory:///bucket/s.tar", [("1.jpg", png()), ("2.jpg", bytes(2000))])
    whole = bucket.cat_file("/bucket/s.tar")
    assert len(png()) <= 512 and len(whole) == 10240  # two headers, 512 and 2048 bytes, zeros
    bucket.pipe_file("/bucket/s.tar", whole[:length])
    items, _ = read(Unit(SHARD, ("memory:///bucket/s.tar",)))
    names = ["1.jpg", "2.jpg", ""] if length == 3584 else ["1.jpg", ""]
    assert [item.name.partition("#")[2] for item in items] == names
    assert "s.tar cannot be read to its end" in items[-1].error


@pytest.mark.parametrize("kind", ["pictures", "parquet", "shard"])
def test_what_is_done_is_counted_and_not_read(bucket, kind) -> None:
    bucket.pipe_file("/bucket/0.png", png())
    bucket.pipe_file("/bucket/1.png", png())
    put_parquet("memory:///bucket/t.parquet", {"image": [png(), png()]})
    put_shard("memory:///bucket/s.tar", [("0.png", png()), ("1.png", png())])
    place = {"pictures": "memory:///bucket/?.png", "parquet": "memory:///bucket/t.parquet"}.get(
        kind, "memory:///bucket/s.tar"
    )
    (unit,) = found(place)
    everyone = [item.name for item in read(unit)[0]]
    assert len(everyone) == 2
    items, rest = read(unit, Done.of(everyone[:1]))
    assert [item.name for item in items] == everyone[1:] and rest.kept == 1


def test_done_knows_its_names_and_no_others() -> None:
    names = [f"s3://bucket/{number}" for number in range(300)]
    done = Done.of([*names, names[0]])
    assert len(done) == 300 and all(name in done for name in names)
    assert not any(f"{name}x" in done for name in names)
    assert "s3://bucket/0" not in NOBODY
