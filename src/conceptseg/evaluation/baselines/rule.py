"""`rule`: a rule is learned from a question's references, or read from a file, and applied to its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from conceptseg.evaluation.baselines.base import Method
from conceptseg.inference import PreparedReferences, Query, RouteChoice, Rule, SegmentationResult

__all__ = ["LearnedRule"]


@dataclass
class LearnedRule(Method):
    """Every set of references becomes a rule of its own; questions that share one share the rule."""

    file: str = ""
    """A rule to apply to every question instead."""
    samples: int = 4
    """Responses that compete for the best supports."""
    budget: int = 0
    """Pictures that the model may answer for a rule; 0 for as many as the way takes."""
    seed: int = 0
    """Of the competition."""

    name: ClassVar[str] = "rule"

    def __post_init__(self) -> None:
        self._read = Rule.load(self.file) if self.file else None
        self._last: tuple[PreparedReferences, str, Rule] | None = None

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; `route` other than auto goes before what the rule says. Without marks it is asked anew."""
        return [self._answer(query, route) for query in queries]

    def _answer(self, query: Query, route: RouteChoice) -> SegmentationResult:
        rule = self._read or self._learn(query)
        if rule is None:
            result = self.segmenter.segment_batch([query], route=route)[0]
            return replace(result, notes=(*result.notes, "No rule: no reference is marked."))
        question = self.segmenter.put(rule)
        asked = replace(query, concept=question.concept, references=question.references, rule=question.rule)
        choice = (
            RouteChoice.of("direct" if rule.route == "direct" else "reason")
            if route in ("auto", "calibrated")
            else route
        )
        return self.segmenter.segment_batch([asked], route=choice)[0]

    def _learn(self, query: Query) -> Rule | None:
        given = query.references
        if given is None or not any(one.region is not None for one in given.loaded):
            return None
        if self._last is None or self._last[0] is not given or self._last[1] != query.concept:
            references = [one.as_reference() for one in given.loaded]
            rule = self.segmenter.learn(
                query.concept, references, samples=self.samples, budget=self.budget or None, seed=self.seed
            )
            self._last = (given, query.concept, rule)
        return self._last[2]
