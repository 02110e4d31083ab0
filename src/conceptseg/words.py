"""Words as people type, paste and generate them, made the same words for every model: blanks, invisible signs, form.

`tidy_words` is the one definition of what does not matter in a concept or an answer. Whether capitals matter is for a
checkpoint's tokenizer to say (`conceptseg.models.processing`).
"""

from __future__ import annotations

import re
import unicodedata

from conceptseg.errors import InputError

__all__ = ["LONGEST_WORDS", "check_words", "tidy_words", "usable_words"]

LONGEST_WORDS = 4000
"""The most characters a concept may have: far beyond any question, far below what fills a model's context."""

_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)  # soft hyphens, zero-width blanks, marks of direction, byte order marks, tags, noncharacters
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# Full-width Latin letters and digits, and ligatures of f.
_OTHER_FORMS = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\ufb00-\ufb06]")
_JOINERS = re.compile("(?:^|(?<=[\x00-\x7f\\s]))[\u200c\u200d]+|[\u200c\u200d]+(?=[\x00-\x7f\\s]|$)")


def tidy_words(text: str) -> str:
    """The same words with single blanks between them and none around, nothing invisible, composed (NFC).

    A blank is whatever Unicode calls whitespace, line ends and control characters included. Zero-width signs and marks
    of direction are dropped; a joiner stays where it shapes a script or an emoji, not beside ASCII. Full-width Latin
    letters and digits, and ligatures of f, become plain ones. Applying it twice changes nothing more. Letters keep
    their case.
    """
    visible = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    visible = _OTHER_FORMS.sub(lambda found: unicodedata.normalize("NFKC", found.group()), visible)
    return unicodedata.normalize("NFC", " ".join(_JOINERS.sub("", visible).split()))


def check_words(text: object, what: str = "The concept") -> str:
    """A caller's words, tidied.

    Args:
        text: what the caller gave.
        what: how a message begins.

    Raises:
        InputError: it is no text, says nothing, is too long, or holds what no model can read: NUL, or half of a
            surrogate pair (bytes that were not UTF-8).
    """
    if not isinstance(text, str):
        raise InputError(f"{what} must be a text (str), got {type(text).__name__}: say in words what to segment.")
    if len(text) > LONGEST_WORDS:
        raise InputError(f"{what} has {len(text)} characters; at most {LONGEST_WORDS} are read. Say it in fewer words.")
    if "\0" in text:
        raise InputError(f"{what} {text!r} holds a NUL character: it is data, not words.")
    if not _is_unicode(text):
        raise InputError(f"{what} {text!r} holds a lone surrogate: it came from bytes that are not UTF-8.")
    tidied = tidy_words(text)
    if not _says_something(tidied):
        raise InputError(f"{what} is empty: say in words what to segment.")
    return tidied


def usable_words(text: str | None) -> str | None:
    """A model's words, tidied; None where there are none that could be read."""
    if text is None or "\0" in text or not _is_unicode(text):
        return None
    tidied = tidy_words(text)
    return tidied if _says_something(tidied) else None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _says_something(tidied: str) -> bool:
    return any(character != " " and character.isprintable() for character in tidied)
