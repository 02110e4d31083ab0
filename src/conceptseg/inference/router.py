"""The Shortcut Router (§3.4, Eq. 9): whether SAM 3 alone may answer."""

from __future__ import annotations

import re
from enum import Enum

from conceptseg.errors import InputError
from conceptseg.words import tidy_words

__all__ = ["Route", "RouteChoice", "Router", "count_words", "may_take_shortcut", "route_threshold", "takes_shortcut"]

_PARENTHESISED = re.compile(r"\([^()]*\)")


class Route(str, Enum):
    """Which way a mask came about."""

    DIRECT = "direct"
    """SAM 3 alone, from the concept's words."""
    REASONED = "reasoned"
    """The MLLM's rule, translated into concept tokens."""

    def __str__(self) -> str:
        return self.value


class Router(str, Enum):
    """Who chose a route, where nobody asked for it."""

    PAPER = "eq9"
    CALIBRATED = "calibrated"

    @classmethod
    def of(cls, choice: RouteChoice) -> Router | None:
        """The router of a choice; None where the choice is the route itself."""
        known = {RouteChoice.AUTO: cls.PAPER, RouteChoice.CALIBRATED: cls.CALIBRATED}
        return known.get(choice)


class RouteChoice(str, Enum):
    """What a caller asks of the router."""

    AUTO = "auto"
    """Eq. 9 decides."""
    CALIBRATED = "calibrated"
    """The checkpoint's own router decides, which was learned (`conceptseg.models.calibrated_router`)."""
    DIRECT = "direct"
    """Always SAM 3 alone."""
    REASON = "reason"
    """Always the full reasoning."""

    @classmethod
    def of(cls, value: str | RouteChoice) -> RouteChoice:
        """The choice named `value`.

        Raises:
            InputError: there is none of that name.
        """
        try:
            return cls(value)
        except ValueError:
            raise InputError(f"Unknown route {value!r}. Choose one of: {', '.join(c.value for c in cls)}.") from None


def count_words(concept: str) -> int:
    """ℓ(𝒯): words left when parenthesised text is dropped, at least 1.

    The paper says "normalized word count"; dropping parentheses (synonyms, Latin names) is how the released code
    normalises. Blanks of any kind part words, invisible signs do not.
    """
    return max(1, len(_PARENTHESISED.sub(" ", tidy_words(concept)).split()))


def route_threshold(concept: str) -> float:
    """T = clip(0.1 · 2^(ℓ − 1), 0, 1) of Eq. 9: 0.1 for one word, 0.8 for four, 1 from five on.

    The released code does not clamp and skips SAM 3 from five words on; with T = 1 and presence below 1 that is the
    same.
    """
    return min(1.0, 0.1 * 2.0 ** min(count_words(concept) - 1, 10))


def may_take_shortcut(concept: str, choice: RouteChoice) -> bool:
    """Whether SAM 3 alone could answer at all, so that it is worth asking: by Eq. 9 never when T = 1, unless it is
    forced."""
    return choice in (RouteChoice.DIRECT, RouteChoice.CALIBRATED) or (
        choice is RouteChoice.AUTO and route_threshold(concept) < 1
    )


def takes_shortcut(presence: float, concept: str) -> bool:
    """Whether a presence score s in [0, 1] is enough: s ≥ T, and never when T = 1."""
    threshold = route_threshold(concept)
    return threshold < 1 and presence >= threshold
