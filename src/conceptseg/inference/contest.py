"""Which of several rules is best, by how each fares on references that it was not shown. Numbers only.

Rules have different supports, so they are judged on different references, of which some are harder, or wrong. A rule's
merit is therefore how much better than others it does on the same references, not how well it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

__all__ = ["Contest", "doubtful", "support_sets"]

_MOST_SETS, _LEAST_SETS = 10, 4
_FEWEST = 4
"""Judged references, below which none can be called a suspect."""
_UPPER = 0.75
_HALF = 0.5
_THREE_QUARTERS, _THREE_FIFTHS = 0.75, 0.6
_MOST_AGREE = 0.75
"""The quantile of what others say of a reference: above the middle, for some of them may be wrong themselves."""
_LEAST_AGREEMENT = 0.2
"""What is usual, below which resemblance says nothing of a concept, and so of no reference that it is wrong."""


def support_sets(places: Sequence[int], size: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Supports of the first candidates: every reference is withheld from some of them and, of up to forty, supports
    others.

    Args:
        places: of the references that can support a rule.
        size: most supports of a rule.
        rng: draws the sets where there are many; of up to `size + 1` references each is left out once.
    """
    n = len(places)
    if n <= 1:
        return [tuple(places)]
    if n <= size + 1:
        return [tuple(places[(left + step) % n] for step in range(1, n)) for left in range(n)]
    wanted = min(_MOST_SETS, max(_LEAST_SETS, math.ceil(2 * n / size)))
    sets: list[tuple[int, ...]] = []
    while len(sets) < wanted:
        circle = [places[k] for k in rng.permutation(n)]
        rounds = n // math.gcd(n, size)  # after so many the circle is at its beginning again
        sets += [tuple(circle[(turn * size + step) % n] for step in range(size)) for turn in range(rounds)]
    return sets[:wanted]


def doubtful(agreement: Float[np.ndarray, "references others"]) -> list[int]:
    """References whose marks the others do not find, and whose own does not lead to theirs.

    Args:
        agreement: how well each one's mark is found by each other alone (`conceptseg.models.matching.cross_match`); the
            diagonal is not looked at.
    """
    if len(agreement) < _FEWEST + 1:
        return []
    others = np.where(np.eye(len(agreement), dtype=bool), np.nan, agreement)
    level = sum(np.nanquantile(others, _MOST_AGREE, axis=axis) for axis in (0, 1)) / 2
    usual = float(np.median(level))
    return [int(n) for n in np.flatnonzero(level < _THREE_FIFTHS * usual)] if usual >= _LEAST_AGREEMENT else []


class Contest:
    """Scores of candidates on references, as they come in.

    `scores[candidate][reference]` is an IoU; a candidate has none on its own supports.

    Args:
        aside: references whose scores help to choose, but are no IoUs: what to expect is not told by them.
    """

    def __init__(self, aside: Iterable[int] = ()) -> None:
        self.scores: list[dict[int, float]] = []
        self._aside = frozenset(aside)
        self._baseline: dict[int, float] = {}
        self._usual = 0.0

    def enter(self, scores: Mapping[int, float] | None = None) -> int:
        """A new candidate; its number."""
        self.scores.append(dict(scores or {}))
        return len(self.scores) - 1

    def fix_baseline(self) -> None:
        """What a reference is like is told by the candidates so far: their mean score on it, or on all if none was."""
        for reference in self.references():
            self._baseline[reference] = float(np.mean(self._on(reference)))
        self._usual = float(np.mean(list(self._baseline.values()))) if self._baseline else 0.0

    def references(self) -> list[int]:
        """The references that somebody was judged on."""
        return sorted({reference for scores in self.scores for reference in scores})

    def advantage(self, candidate: int, without: int | None = None) -> float:
        """How much better than usual a candidate does on its references; minus infinity where it has none.

        Args:
            candidate: its number.
            without: a reference that has no say.
        """
        gains = [self._gain(r, score) for r, score in self.scores[candidate].items() if r != without]
        return float(np.mean(gains)) if gains else -math.inf

    def winner(self, among: Iterable[int] | None = None, without: int | None = None) -> int:
        """The candidate of the largest advantage; of equals the first."""
        chosen = list(range(len(self.scores)) if among is None else among)
        return max(chosen, key=lambda candidate: (self.advantage(candidate, without), -candidate))

    def cannot_win(self, candidate: int, remaining: Sequence[int], leader: int) -> bool:
        """Whether a candidate stays behind the leader even if it is perfect on all references that remain."""
        hoped = [self._gain(r, score) for r, score in self.scores[candidate].items()]
        hoped += [self._gain(r, 1.0) for r in remaining]
        return bool(hoped) and float(np.mean(hoped)) < self.advantage(leader)

    def unseen_scores(self, *, aside: bool = False) -> dict[int, float]:
        """For each reference the score of the rule that would have won without it, had nobody seen it.

        A winner's own scores flatter it, for it was chosen by them. Here a reference is judged by the best of the rules
        that were not shown it, chosen by the other references alone: their mean is what to expect of a new picture.

        Args:
            aside: whether the scores that are no IoUs are told as well.
        """
        told: dict[int, float] = {}
        for reference in self.references():
            if reference in self._aside and not aside:
                continue
            judges = [c for c, scores in enumerate(self.scores) if reference in scores]
            told[reference] = self.scores[self.winner(judges, without=reference)][reference]
        return told

    def suspects(self, doubted: Iterable[int] = ()) -> list[int]:
        """References that even the better rules disagree with, while they agree with most others.

        Args:
            doubted: references that look wrong for another reason, of which less disagreement is enough.
        """
        references = [reference for reference in self.references() if reference not in self._aside]
        if len(references) < _FEWEST:
            return []
        levels = {r: float(np.quantile(self._on(r), _UPPER)) for r in references}
        usual = float(np.median(list(levels.values())))
        wrong = [r for r, level in levels.items() if level < _HALF * usual and level < _HALF and len(self._on(r)) > 1]
        return sorted({*wrong, *(r for r in doubted if r in levels and levels[r] < _THREE_QUARTERS * usual)})

    def _on(self, reference: int) -> list[float]:
        return [scores[reference] for scores in self.scores if reference in scores]

    def _gain(self, reference: int, score: float) -> float:
        return score - self._baseline.get(reference, self._usual)
