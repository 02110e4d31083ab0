"""Consoles of every kind: nothing fails for a sign that cannot be printed, or for a reader that has gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module

import pytest

from conceptseg.interfaces.cli import main
from conceptseg.interfaces.cli.streams import ForgivingStream


def console(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, newline="")


def written(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    return stream.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "3 → Ωé\\udce9 –".encode()),
        ("cp1252", b"3 -> \\u03a9\xe9\\udce9 \x96"),
        ("ascii", b"3 -> \\u03a9\\xe9\\udce9 -"),
        ("cp437", b"3 -> \xea\x82\\udce9 -"),
    ],
)
def test_what_a_console_has_no_letters_for_is_written_plainer(encoding, expected):
    stream = console(encoding)
    assert ForgivingStream(stream).write("3 → Ωé\udce9 –") == 9
    assert written(stream) == expected


class Bare:
    """A stream with no more than print needs, as programs put in the place of stdout."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        text.encode("ascii")
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_stream_that_tells_no_encoding_is_taken_for_ascii():
    bare = Bare()
    print("a → b", file=ForgivingStream(bare))
    assert bare.text == "a -> b\n"


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EINVAL])
def test_a_reader_that_has_gone_stops_nothing(code):
    class Gone(Bare):
        def write(self, text: str) -> int:
            raise OSError(code, "gone")

    stream = ForgivingStream(Gone())
    assert stream.write("one") == 3
    stream.writelines(["two", "three"])
    stream.flush()


def test_a_full_disk_is_told():
    class Full(Bare):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        ForgivingStream(Full()).write("one")


def pipe_talk() -> int:
    return sys.stdout.write("x" * 99999)


def test_a_pipe_that_nobody_reads_does_not_change_the_status(monkeypatch):
    """With a real pipe, so that what is buffered has to go somewhere at the end."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(import_module("conceptseg.interfaces.cli.doctor"), "run", lambda args: int(pipe_talk() > 0))
        assert main(["doctor"]) == 1


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_stops_nothing(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert main(["data", "info", "magic"]) == 2
    assert main(["data", "info", "duts"]) == 0


@pytest.mark.parametrize("words", [["data", "list"], ["data", "info", "duts"], ["data", "info", "süß\udce9"]])
def test_commands_print_on_an_ascii_console(monkeypatch, words):
    out, err = console("ascii"), console("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(words) == (2 if "\udce9" in words[-1] else 0)
    assert written(out) or b"\\udce9" in written(err)


def test_what_cannot_be_handed_over_at_the_end_is_told(monkeypatch, capsys):
    class Late(Bare):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Late())
    monkeypatch.setattr(import_module("conceptseg.interfaces.cli.doctor"), "run", lambda args: 0)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "conceptseg: Cannot print: No space left on device\n"
