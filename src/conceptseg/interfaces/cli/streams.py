"""Printing that cannot fail: signs a console has no letters for, readers that have gone, streams that are closed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from types import MappingProxyType
from typing import Any, cast

__all__ = ["ForgivingStream", "forgiving_streams"]

_PLAINER: MappingProxyType[int, str] = MappingProxyType(
    str.maketrans(
        {"→": "->", "–": "-", "—": "-", "─": "-", "×": "x", "…": "...", "≥": ">=", "≤": "<=", "·": "|", "β": "beta"}
        | {"σ": "sigma", "ω": "omega", "∑": "sum", "Σ": "sum", "±": "+-", "“": '"', "”": '"', "’": "'"}
    )
)
"""How signs of ours are written where a console has no letters for them; others become escapes such as \\u2500."""

_READER_GONE = frozenset({errno.EPIPE, errno.EINVAL, errno.EBADF, errno.ESHUTDOWN})
"""What a write fails with when nobody reads any more; Windows says EINVAL."""


class ForgivingStream:
    """A text stream over another one, for people: what cannot be written as it is, is written as well as can be.

    Signs that the console's encoding lacks are written in plainer ones, or as escapes. When the reader has gone, as
    after `| head`, the rest goes nowhere, and the work goes on.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; gives its length whatever became of it."""
        self._until_the_reader_goes(lambda: self._put(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what is buffered."""
        self._until_the_reader_goes(self._stream.flush)

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(self._plainer(text))

    def _plainer(self, text: str) -> str:
        encoding = getattr(self._stream, "encoding", None) or "ascii"
        try:
            return "".join(map(_PlainLetters(encoding).get, text))
        except LookupError:  # an encoding that Python does not know
            return text.encode("ascii", "backslashreplace").decode("ascii")

    def _until_the_reader_goes(self, action: Callable[[], object]) -> None:
        if self._is_gone:
            return
        try:
            action()
        except OSError as error:
            if error.errno not in _READER_GONE:
                raise
            self._is_gone = True
            self._lead_nowhere()
        except ValueError:  # the stream was closed
            self._is_gone = True

    def _lead_nowhere(self) -> None:
        """What is still buffered must have somewhere to go when the process ends."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _PlainLetters:
    """How letters are written in an encoding."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def get(self, letter: str) -> str:
        try:
            letter.encode(self._encoding)
        except UnicodeEncodeError:
            plain = letter.translate(_PLAINER)
            return plain.encode("ascii", "backslashreplace").decode("ascii")
        return letter


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` forgiving while the block runs, and flush them at its end."""
    _open_closed_ones()
    with ExitStack() as stack:
        out = ForgivingStream(sys.stdout or stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
        err = ForgivingStream(sys.stderr or stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
        stack.enter_context(redirect_stdout(cast(Any, out)))
        stack.enter_context(redirect_stderr(cast(Any, err)))
        try:
            yield
        finally:
            out.flush()
            err.flush()


def _open_closed_ones() -> None:
    """Descriptors 0, 1 and 2 that were closed are given to the next files opened: never to our results."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
