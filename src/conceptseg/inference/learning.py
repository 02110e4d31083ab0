"""Learning a rule by competition: candidates from different supports and samples, judged on what they were not shown.

0. *Sifting.* References are compared with each other by sight alone; those whose marks the others do not find support
   nothing.
1. *Scouts.* Some sets of at most four references support a rule each; the MLLM induces it before the picture of a
   withheld reference. What it says of the references (`<think>` to `<check>`) is kept, and applied to the other
   withheld references, whose masks are compared with their truth. Withheld is withheld from the mosaic and from the
   reference prior.
2. *Finals.* The best supports, without suspects, get further candidates, from other responses. A candidate that could
   not win any more is not judged further.
3. The best one wins. SAM 3 alone, told of the same supports, wins over it where it verifies as well. What to expect is
   told by references that neither the rule nor its choice has seen (`Contest.unseen_scores`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from conceptseg.data.samples import ImageSource, Reference
from conceptseg.errors import InputError
from conceptseg.geometry import box_from_mask, box_iou, mask_iou
from conceptseg.images import read_image
from conceptseg.inference.contest import Contest, doubtful, support_sets
from conceptseg.inference.inputs import AppliedRule, PreparedReferences, Query
from conceptseg.inference.notes import fold_notes
from conceptseg.inference.pool import Pool
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route
from conceptseg.inference.rule_files import MOST_PICTURES
from conceptseg.inference.rules import Rule, RulePicture, interval_around
from conceptseg.models.calibration import part_presence
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Generation
from conceptseg.protocol import Response, parse_response, what_is_induced

__all__ = ["MOST_SUPPORTS", "Answerer", "Learner", "score_of"]

MOST_SUPPORTS = 4
"""The paper's 2×2 mosaic."""
_BATCH = 8
_JUDGED = 12
"""References that a candidate is judged on, at most."""
_TEMPERATURE = 0.7
_SHY = 4
"""So many references weigh as much as the belief that masks are as good as they look."""


@runtime_checkable
class Answerer(Protocol):
    """What learning asks of `ConceptSegmenter`."""

    model: ConceptSegModel

    def prepare(self, references: Iterable[Reference]) -> PreparedReferences | None:
        """References as the model sees them."""

    def respond(
        self, queries: Sequence[Query], *, temperature: float = 0.0, seed: int | None = None
    ) -> tuple[Generation, list[Response]]:
        """Responses of the MLLM."""

    def segment_batch(self, queries: Sequence[Query], *, route: str, always: bool) -> list[SegmentationResult]:
        """Masks."""

    def compare(self, references: Sequence[Reference]) -> Float[np.ndarray, "references others"]:
        """How well each reference's mark is found by each other one alone."""


@dataclass(frozen=True)
class _Candidate:
    """A rule that may win."""

    supports: tuple[int, ...]
    begun: str
    asked: int | None
    """The withheld reference before which it was induced; it does not judge it, where others can."""


@dataclass(frozen=True)
class _Judgement:
    place: int
    score: float
    presence: float
    confidence: float


class Learner:
    """Learns one rule; for arguments see `ConceptSegmenter.learn`."""

    def __init__(
        self,
        segmenter: Answerer,
        concept: str,
        *,
        samples: int = 4,
        budget: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if samples < 1 or (budget is not None and budget < 2):
            raise InputError(f"Learning needs at least 1 sample and a budget of 2, got {samples} and {budget}.")
        if seed < 0:
            raise InputError(f"A seed is a whole number from 0 on, got {seed}.")
        self._segmenter = segmenter
        self._concept = concept
        self._samples = samples
        self._budget = budget
        self._seed = seed
        self._progress = progress or (lambda done, planned: None)
        self._pool: Pool
        self._prepared: dict[tuple[int, ...], PreparedReferences | None] = {}
        self._candidates: list[_Candidate] = []
        self._judgements: list[dict[int, _Judgement]] = []
        self._contest = Contest()
        self._served: Counter[int] = Counter()
        self._doubted: set[int] = set()
        self._calls = self._planned = 0
        self._notes: list[str] = []

    def learn(self, references: Sequence[Reference], absent: Sequence[ImageSource]) -> Rule:
        """The rule that verifies best."""
        if len(references) > MOST_PICTURES:
            raise InputError(f"A rule keeps at most {MOST_PICTURES} references, got {len(references)}: give fewer.")
        model = self._segmenter.model
        self._pool = Pool(references, max(model.segmenter.image_px, model.config.protocol.frame_px))
        self._notes, self._contest = self._pool.notes, Contest(self._pool.unlike)
        self._doubted = self._sift(self._pool.like)
        self._scout(self._pool.like)
        self._run_finals(self._pool.like)
        winner = self._contest.winner()
        return self._rule(winner, *self._choose_route(winner), absent)

    def _sift(self, marked: Sequence[int]) -> set[int]:
        """References that look wrong beside the others; none where there are few, or enough would not be left."""
        if len(marked) <= MOST_SUPPORTS:
            return set()
        agreement = self._segmenter.compare([self._pool[place].as_reference() for place in marked])
        doubted = {marked[n] for n in doubtful(agreement)}
        return doubted if len(marked) - len(doubted) >= MOST_SUPPORTS else set()

    def _scout(self, marked: Sequence[int]) -> None:
        trusted = [place for place in marked if place not in self._doubted]
        sets = support_sets(trusted, MOST_SUPPORTS, np.random.default_rng(self._seed))
        judged = min(_JUDGED, len(marked) - len(sets[0])) + min(_JUDGED, len(self._pool.unlike))
        self._planned = len(sets) * (1 + judged) + self._samples * (1 + judged) + len(marked)
        if self._budget is not None:
            sets = sets[: max(1, self._budget // (1 + judged))]
        self._induce([(supports, 0) for supports in sets], marked)
        pairs = [(c, place) for c in range(len(self._candidates)) for place in self._jury(c)]
        self._judge(pairs)
        self._contest.fix_baseline()

    def _run_finals(self, marked: Sequence[int]) -> None:
        """Further responses for the best supports; each candidate is judged until it cannot win any more."""
        best = self._without_suspects(self._candidates[self._contest.winner()].supports, marked)
        known = any(one.supports == best for one in self._candidates)
        first = len(self._candidates)
        self._induce([(best, number) for number in range(1 if known else 0, self._samples)], marked)
        for candidate in range(first, len(self._candidates)):
            jury = self._jury(candidate)
            for start in range(0, len(jury), _BATCH // 2):
                leader = self._contest.winner()
                if leader != candidate and self._contest.cannot_win(candidate, jury[start:], leader):
                    break
                self._judge([(candidate, place) for place in jury[start : start + _BATCH // 2]])

    def _without_suspects(self, supports: tuple[int, ...], marked: Sequence[int]) -> tuple[int, ...]:
        """Supports in which suspects are replaced by the references whose rules did best."""
        suspects = {*self._contest.suspects(self._doubted), *self._doubted}
        spare = [p for p in marked if p not in suspects and p not in supports]
        spare.sort(key=lambda place: -self._worth(place))
        kept = [place for place in supports if place not in suspects]
        return (*kept, *spare[: len(supports) - len(kept)]) if kept or spare else supports

    def _worth(self, place: int) -> float:
        supported = [c for c, one in enumerate(self._candidates) if place in one.supports]
        return float(np.mean([self._contest.advantage(c) for c in supported])) if supported else 0.0

    def _induce(self, wanted: Sequence[tuple[tuple[int, ...], int]], marked: Sequence[int]) -> None:
        """New candidates: response number 0 is the likeliest, others are drawn, each before another picture."""
        for number in sorted({number for _, number in wanted}):
            sets = [supports for supports, which in wanted if which == number]
            for start in range(0, len(sets), _BATCH):
                chunk = sets[start : start + self._afford(min(_BATCH, len(sets) - start))]
                if chunk:
                    self._enter(chunk, number, marked)

    def _enter(self, sets: Sequence[tuple[int, ...]], number: int, marked: Sequence[int]) -> None:
        asked = [self._asked_before(supports, marked) for supports in sets]
        queries = [self._query(place, supports) for place, supports in zip(asked, sets, strict=True)]
        chance: dict[str, Any] = {"temperature": _TEMPERATURE, "seed": self._seed * 1009 + number} if number else {}
        _, responses = self._segmenter.respond(queries, **chance)
        self._count(len(queries))
        for supports, place, response in zip(sets, asked, responses, strict=True):
            begun = what_is_induced(response.text)
            same = any(one.supports == supports and one.begun == begun for one in self._candidates)
            if not same and (begun or number == 0):
                self._candidates.append(_Candidate(supports, begun, place if place not in supports else None))
                self._judgements.append({})
                self._contest.enter()

    def _asked_before(self, supports: Sequence[int], marked: Sequence[int]) -> int:
        """The picture before which a rule is induced: a withheld one, that which has served least in this way."""
        unseen = set(self._pool.unseen(supports))
        others = [place for place in marked if place in unseen] or list(supports)
        chosen = min(others, key=lambda place: (self._served[place], place))
        self._served[chosen] += 1
        return chosen

    def _jury(self, candidate: int) -> list[int]:
        """Who judges a candidate: references that it was not shown, those first that have judged least; then what the
        concept is not."""
        one = self._candidates[candidate]
        others = self._pool.unseen(one.supports)
        like = [place for place in others if not self._pool[place].unlike]
        strict = [place for place in like if place != one.asked] or like
        return [*self._idlest(strict), *self._idlest([place for place in others if self._pool[place].unlike])]

    def _idlest(self, places: Sequence[int]) -> list[int]:
        counts = {place: sum(place in judged for judged in self._judgements) for place in places}
        return sorted(places, key=lambda place: (counts[place], place))[:_JUDGED]

    def _judge(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Apply candidates to references that they were not shown, and compare the masks with the truth."""
        for start in range(0, len(pairs), _BATCH):
            chunk = pairs[start : start + self._afford(min(_BATCH, len(pairs) - start))]
            if not chunk:
                return
            told = [(place, self._candidates[c].supports, AppliedRule(self._candidates[c].begun)) for c, place in chunk]
            for (candidate, place), judged in zip(chunk, self._apply(told, "reason"), strict=True):
                self._judgements[candidate][place] = judged
                self._contest.scores[candidate][place] = judged.score

    def _apply(self, told: Sequence[tuple[int, tuple[int, ...], AppliedRule]], route: str) -> list[_Judgement]:
        queries = [self._query(place, supports, rule) for place, supports, rule in told]
        results = self._segmenter.segment_batch(queries, route=route, always=True)
        self._count(len(queries))
        return [self._judged(result, place) for result, (place, _, _) in zip(results, told, strict=True)]

    def _judged(self, result: SegmentationResult, place: int) -> _Judgement:
        presence = result.signals.presence if result.signals else 0.0
        return _Judgement(place, score_of(result, self._pool[place]), presence, result.confidence or 0.0)

    def _query(self, place: int, supports: tuple[int, ...], rule: AppliedRule | None = None) -> Query:
        references = self._prepare(self._pool.shown_with(supports, place))
        return Query(self._pool[place].image, self._concept, references, rule=rule)

    def _prepare(self, shown: tuple[int, ...]) -> PreparedReferences | None:
        if shown not in self._prepared:
            self._prepared[shown] = self._segmenter.prepare([self._pool[place].as_reference() for place in shown])
        return self._prepared[shown]

    def _choose_route(self, winner: int) -> tuple[Route, dict[int, float], list[_Judgement]]:
        """Direct where SAM 3 alone, told of the same supports, verifies as well; with the scores that tell, by
        reference, and the judgements that go with them."""
        reasoned = self._contest.unseen_scores(aside=True)
        own = [judged for place, judged in self._judgements[winner].items() if not self._pool[place].unlike]
        references = list(reasoned)[: self._afford(len(reasoned))]
        told = [(place, self._supports_without(place, winner), AppliedRule()) for place in references]
        direct: list[_Judgement] = []
        for start in range(0, len(told), _BATCH):
            direct += self._apply(told[start : start + _BATCH], "direct")
        scores = {place: judged.score for place, judged in zip(references, direct, strict=True)}
        alike = [judged for place, judged in zip(references, direct, strict=True) if not self._pool[place].unlike]
        if not scores or len(scores) < len(reasoned) or sum(scores.values()) < sum(reasoned.values()):
            return Route.REASONED, reasoned, own
        return Route.DIRECT, scores, alike

    def _supports_without(self, place: int, winner: int) -> tuple[int, ...]:
        """The winner's supports, or where a reference is among them the best of others."""
        others = [c for c, judged in enumerate(self._judgements) if place in judged]
        own = self._candidates[winner].supports
        if place in self._pool.unseen(own):
            return own
        return self._candidates[self._contest.winner(others, without=place)].supports

    def _rule(
        self,
        winner: int,
        route: Route,
        scores: dict[int, float],
        judged: Sequence[_Judgement],
        absent: Sequence[ImageSource],
    ) -> Rule:
        one, model, suspects = self._candidates[winner], self._segmenter.model, self._contest.suspects(self._doubted)
        begun = "" if route is Route.DIRECT else one.begun
        present = [judgement for judgement in judged if judgement.place not in suspects] or judged
        threshold = self._presence_threshold(one, route, present, absent)
        told = [score for place, score in scores.items() if not self._pool[place].unlike]
        self._tell_of_scores(scores, suspects, begun, route)
        return Rule(
            concept=self._concept,
            text=parse_response(one.begun).rule or "" if route is Route.REASONED else "",
            begun=begun,
            pictures=tuple(self._pool.pictures),
            supports=one.supports,
            scores=tuple(scores.get(place) for place in range(len(self._pool.pictures))),
            expected_iou=float(np.mean(told)) if told else None,
            interval=interval_around(told) if told else None,
            judged=len(told),
            suspects=tuple(suspects),
            route=route,
            presence_threshold=threshold,
            confidence_shift=_shift(judged),
            checkpoint=model.digest(),
            model=model.config.name,
            notes=fold_notes(self._notes),
            calls=self._calls,
        )

    def _presence_threshold(
        self, one: _Candidate, route: Route, judged: Sequence[_Judgement], absent: Sequence[ImageSource]
    ) -> float | None:
        """From where on the concept is there: parts the references from the pictures without it; without such, half of
        the least presence that a reference had."""
        present = [judgement.presence for judgement in judged]
        if not present:
            return None
        missing = self._presence_where_absent(one, route, absent)
        if missing:
            threshold = part_presence(np.array(present), np.array(missing))
            self._tell_of_absent([n for n, value in enumerate(missing, 1) if value >= threshold], len(missing))
            return threshold
        calibration = self._segmenter.model.calibration
        half = min(present) / 2
        return min(half, calibration.presence_threshold) if calibration else half

    def _tell_of_absent(self, passing: Sequence[int], count: int) -> None:
        if passing:
            self._notes.append(
                f"In {len(passing)} of {count} pictures that were said to lack the concept it seems to be there all "
                f"the same: absent pictures {', '.join(map(str, passing))}. Look at them; the like of them get masks."
            )

    def _presence_where_absent(self, one: _Candidate, route: Route, absent: Sequence[ImageSource]) -> list[float]:
        rule = AppliedRule(one.begun)
        how = "direct" if route is Route.DIRECT else "reason"
        presence: list[float] = []
        for start in range(0, len(absent), _BATCH):
            chunk = absent[start : start + self._afford(min(_BATCH, len(absent) - start))]
            references = self._prepare(self._pool.shown_with(one.supports))
            read = [read_image(image) for image in chunk]
            self._notes += [
                f"Absent picture {n}: {note}" for n, one in enumerate(read, start + 1) for note in one.notes
            ]
            queries = [Query(one.image, self._concept, references, rule=rule) for one in read]
            results = self._segmenter.segment_batch(queries, route=how, always=True) if queries else []
            self._count(len(queries))
            presence += [result.signals.presence for result in results if result.signals]
        return presence

    def _tell_of_scores(self, scores: dict[int, float], suspects: Sequence[int], begun: str, route: Route) -> None:
        if route is Route.REASONED and not begun:
            self._notes.append("The response could not be parted into rule and answer: it is written anew every time.")
        clear = [score for place, score in scores.items() if self._pool[place].unlike]
        if clear:
            self._notes.append(f"Of what the concept is not, masks keep clear of {np.mean(clear):.0%} on average.")
        others = [score for place, score in scores.items() if place not in {*suspects, *self._pool.unlike}]
        if suspects and others:
            names = ", ".join(str(place + 1) for place in suspects)
            self._notes.append(
                f"Every rule disagrees with references {names}: look at them. They count in what to expect; without "
                f"them it would be {np.mean(others):.2f}."
            )

    def _afford(self, wanted: int) -> int:
        """How many of so many calls the budget still allows; that it does not allow all is told, once."""
        if self._budget is None or self._calls + wanted <= self._budget:
            return wanted
        note = f"The budget of {self._budget} pictures was used up before all candidates were judged."
        if note not in self._notes:
            self._notes.append(note)
        return max(0, self._budget - self._calls)

    def _count(self, calls: int) -> None:
        self._calls += calls
        self._progress(self._calls, max(self._calls, self._planned))


def score_of(result: SegmentationResult, truth: RulePicture) -> float:
    """IoU with the truth's mask, or of the mask's box where the truth is one; where the truth is what the concept is
    not, the share of it that the mask keeps clear of."""
    if result.mask is None:
        return 0.0
    if truth.unlike and truth.region is not None:
        return 1.0 - float(result.mask[truth.region].mean())
    if truth.mask is not None and truth.mask.any():
        judged = result.mask if truth.ignore is None else result.mask & ~truth.ignore
        return mask_iou(judged, truth.mask)
    box = box_from_mask(result.mask)
    return box_iou(box, truth.box) if box and truth.box else 0.0


def _shift(judged: Sequence[_Judgement]) -> float:
    """How much better than they looked masks were, the less believed the fewer they are."""
    if not judged:
        return 0.0
    return float(np.mean([one.score - one.confidence for one in judged])) * len(judged) / (len(judged) + _SHY)
