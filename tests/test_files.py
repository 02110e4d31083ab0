from __future__ import annotations

from pathlib import Path

import pytest

from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing, replacing


def test_the_file_appears_whole_and_alone(tmp_path: Path):
    path = tmp_path / "mask.png"
    with replacing(path) as fresh:
        fresh.write_text("first half")
        assert not path.exists()
        assert fresh.suffix == ".png" and fresh.parent == tmp_path
        fresh.write_text("both halves")
    assert path.read_text() == "both halves"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [OSError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file_alone(tmp_path: Path, interruption: type[BaseException]):
    path = tmp_path / "mask.png"
    path.write_text("old")
    with pytest.raises(interruption, match="stop"), replacing(str(path)) as fresh:
        fresh.write_text("half")
        raise interruption("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_overwritten(tmp_path: Path):
    (tmp_path / ".a.part.txt").write_text("left by a killed run")
    with replacing(tmp_path / "a.txt") as fresh:
        fresh.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "replaced") as fresh:
        fresh.touch()
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_one_writer_at_a_time(tmp_path: Path):
    lock = lock_for_writing(tmp_path, ".lock")
    with pytest.raises(InputError, match=r"Another process is writing to .*wait for it, or choose another --out"):
        lock_for_writing(tmp_path, ".lock")
    lock_for_writing(tmp_path, ".other").release()
    lock.release()
    lock_for_writing(tmp_path, ".lock").release()  # the file that stayed behind is in nobody's way
