"""What a response will probably go on with: the tags of the protocol, and what was said before to a prompt that began
alike.

A draft costs nothing where it is right and changes nothing where it is wrong: the MLLM reads it in the pass that it
makes anyway, and keeps of it what it would have written itself (speculative decoding with known text for a drafter).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

__all__ = ["Draft", "Drafts", "Echo", "TagDraft", "TokenTexts"]

_LONGEST = 16
"""Tokens of a draft, at most: so many more cost a pass next to nothing."""

_ALIKE = 2
"""Tokens that have to be the same before what followed them is expected again."""

_GAPS = (", ", ", ", ", ")


@runtime_checkable
class Draft(Protocol):
    """What is expected of one response."""

    def see(self, tokens: Sequence[int]) -> None:
        """More of the response."""

    def next(self) -> list[int]:
        """Tokens that it probably goes on with; none where nothing is known."""


class TokenTexts:
    """The letters of single tokens, and the tokens of short texts, each looked up once.

    Args:
        tokenizer: one of transformers'.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self._tokens: dict[str, tuple[int, ...]] = {}

    def text_of(self, token: int) -> str:
        """The letters of a token by itself."""
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token])
        return self._texts[token]

    def tokens_of(self, text: str) -> tuple[int, ...]:
        """The tokens of one of the protocol's own texts by itself."""
        if text not in self._tokens:
            self._tokens[text] = tuple(self._tokenizer(text, add_special_tokens=False).input_ids)
        return self._tokens[text]


class TagDraft:
    """Drafts the tags between the parts of a response, and the commas between the numbers of a box.

    Args:
        parts: that are expected, in order; see `conceptseg.protocol.Response`.
        tokens: of the tokenizer that reads and writes.
        end: the token that ends a response.
    """

    def __init__(self, parts: Sequence[str], tokens: TokenTexts, end: int) -> None:
        self._pieces = _fixed_pieces(parts)
        self._tokens = tokens
        self._end = end
        self._passed = 0
        self._tail = ""

    def see(self, tokens: Sequence[int]) -> None:
        """More of the response."""
        self._tail += "".join(map(self._tokens.text_of, tokens))
        while self._passed < len(self._pieces):
            _, found, after = self._tail.partition(self._pieces[self._passed])
            if not found:
                return
            self._tail, self._passed = after, self._passed + 1

    def next(self) -> list[int]:
        """What is left of the piece that is begun, or is due."""
        if self._passed == len(self._pieces):
            return []
        piece = self._pieces[self._passed]
        begun = _overlap(self._tail, piece)
        if not begun and not self._is_due(piece):
            return []
        is_last = self._passed == len(self._pieces) - 1
        return [*self._tokens.tokens_of(piece[begun:]), *([self._end] if is_last else [])]

    def _is_due(self, piece: str) -> bool:
        """Whether a piece may come next though none of it was written: at the very beginning, and behind a number."""
        behind_number = self._tail[-1:].isdigit() and (piece in _GAPS or piece.startswith("]"))
        return behind_number or (not self._tail and self._passed == 0)


class Echo:
    """Drafts what followed the same words in earlier responses.

    Args:
        earlier: their tokens, the latest last.
    """

    def __init__(self, earlier: Iterable[Sequence[int]]) -> None:
        self._followers: dict[tuple[int, ...], tuple[Sequence[int], int]] = {}
        for said in earlier:
            for place in range(_ALIKE, len(said)):
                self._followers[tuple(said[place - _ALIKE : place])] = (said, place)
        self._last: tuple[int, ...] = ()

    def see(self, tokens: Sequence[int]) -> None:
        """More of the response."""
        self._last = (*self._last, *tokens)[-_ALIKE:]

    def next(self) -> list[int]:
        """What followed the last words when they were last said."""
        said, place = self._followers.get(self._last, ((), 0))
        return list(said[place : place + _LONGEST])


class Drafts:
    """One response's drafts: the first of several drafters that knows something is believed."""

    def __init__(self, *drafts: Draft) -> None:
        self._drafts = drafts

    def see(self, tokens: Sequence[int]) -> None:
        """More of the response."""
        for draft in self._drafts:
            draft.see(tokens)

    def next(self) -> list[int]:
        """Tokens that it probably goes on with."""
        return next((tokens for draft in self._drafts if (tokens := draft.next())), [])


def _fixed_pieces(parts: Sequence[str]) -> list[str]:
    """The letters of a response in strict form that are known beforehand, in order."""
    pieces, open_end = [], ""
    for part in parts:
        is_box = part in ("check", "bbox")
        pieces.append(f"{open_end}<{part}>" + ("[" if is_box else ""))
        pieces += _GAPS if is_box else ()
        open_end = ("]" if is_box else "") + f"</{part}>\n"
    return [*pieces, open_end.rstrip()] if parts else []


def _overlap(written: str, piece: str) -> int:
    """How many of a piece's first letters are the last ones that were written."""
    return next((n for n in range(min(len(piece) - 1, len(written)), 0, -1) if written.endswith(piece[:n])), 0)
