"""Rows on disk: appended whole, read without trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.files import path_below
from conceptseg.ledger import (
    Appender,
    json_line,
    lone_writer,
    read_object,
    read_rows,
    refuse_other_kinds,
    rewrite,
    write_object,
)


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"a": "süß\u2028"}, {"a": "\udce9\n"}, {"a": [1, None]}]
    with Appender(path) as file:
        file.append(rows[:1])
        file.append(rows[1:])
    assert read_rows(path).rows == rows
    assert json.loads(path.read_bytes().split(b"\n")[1]) == rows[1]
    assert read_rows(tmp_path / "none").rows == []


@pytest.mark.parametrize("torn", [b"{", b'{"a": 2}', b'{"a": "\xc3', b"x" * 200_000])
def test_a_line_that_was_cut_off_is_cut_away(tmp_path, torn):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    assert (read_rows(path).rows, read_rows(path).unusable, read_rows(path).is_torn) == ([{"a": 1}], 0, True)
    with Appender(path) as file:
        file.append([{"a": 3}])
    assert path.read_bytes() == b'{"a": 1}\n{"a": 3}\n'


@pytest.mark.parametrize(
    "line", [b"null", b"[]", b"3", b'"x"', b"", b"\xff", b"{", b"[" * 99_999, b'{"b": 1}', b"NaN", b"1" * 9_999, b"\0"]
)
def test_lines_that_are_no_rows_are_counted(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    contents = read_rows(path, lambda row: "a" in row)
    assert ([row["a"] for row in contents.rows], contents.unusable) == ([1, 2], 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_counted(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_bytes(content)
    contents = read_rows(path)
    assert len(contents.rows) + contents.unusable == content.count(b"\n")
    with Appender(path) as file:
        file.append([{"a": 1}])
    assert read_rows(path).rows[-1] == {"a": 1} and path.read_bytes().startswith(content[: content.rfind(b"\n") + 1])


def test_a_ledger_that_is_a_folder_or_a_link_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(InputError, match=r"Cannot read .*folder: Is a directory"):
        read_rows(tmp_path / "folder")
    with pytest.raises(InputError, match=r"Cannot write to .*folder: Is a directory"):
        Appender(tmp_path / "folder")
    with pytest.raises(InputError, match=r"Cannot write to .*link: it is a link"):
        Appender(tmp_path / "link")
    with pytest.raises(InputError, match=r"Cannot write to .*folder"):
        write_object(tmp_path / "folder", {})
    rewrite(tmp_path / "link", [{"a": 1}])
    assert (tmp_path / "outside").read_text() == "kept" and not (tmp_path / "link").is_symlink()


def test_a_planted_link_is_not_written_through(tmp_path):
    (tmp_path / "outside").write_text("kept")
    (tmp_path / ".rows.part.jsonl").symlink_to("outside")
    rewrite(tmp_path / "rows.jsonl", [{"a": 1}])
    assert (tmp_path / "outside").read_text() == "kept" and read_rows(tmp_path / "rows.jsonl").rows == [{"a": 1}]


@pytest.mark.parametrize("content", [b"null", b"[]", b"\xff", b"{", b"", b"[" * 99_999])
def test_an_object_that_is_damaged_is_refused(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json is damaged: it should hold one JSON object"):
        read_object(path)


def test_objects_come_back(tmp_path):
    write_object(tmp_path / "run.json", {"path": "\udce9"})
    assert read_object(tmp_path / "run.json") == {"path": "\udce9"}
    assert read_object(tmp_path / "none") is None


def test_a_number_that_is_none_is_no_line():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line({"a": float("nan")})


def test_one_writer_and_one_kind(tmp_path):
    with lone_writer(tmp_path / "new"), pytest.raises(InputError, match="Another process is writing to"):
        lone_writer(tmp_path / "new").__enter__()
    with lone_writer(tmp_path / "new"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Cannot write to .*file"):
        lone_writer(tmp_path / "file").__enter__()
    (tmp_path / "run.json").touch()
    refuse_other_kinds(tmp_path, "run.json")
    with pytest.raises(InputError, match=r"holds an evaluation run \(run\.json\): choose another --out"):
        refuse_other_kinds(tmp_path, "request.json")


@pytest.mark.parametrize(
    ("name", "below"),
    [
        *(("a/b.png", "a/b.png"), ("a/../b.png", "b.png"), ("./a", "a"), (".", "."), ("..", None), ("../a", None)),
        *(("a/../../b", None), ("/a", None), ("..a/b", "..a/b"), ("//a", None)),
    ],
)
def test_paths_that_leave_their_folder_are_found(name, below):
    assert path_below(name) == (below and str(Path(below)))
