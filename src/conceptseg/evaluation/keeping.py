"""Which rows of an earlier run still stand: those whose question, pictures, mask and references are what they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptseg.data.states import SampleStates
from conceptseg.errors import InputError
from conceptseg.evaluation.records import read_kept
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.evaluation.sources import DataSource

__all__ = ["Kept"]


class Kept:
    """The rows that a run's folder holds when a process begins.

    Args:
        out: the run's folder.
        sources: the questions at hand.
        config: with overlaps to resolve, the questions about one picture change together.
        retry_failed: whether rows with an error are asked again.

    Raises:
        InputError: there are rows of other questions.
    """

    def __init__(
        self, out: Path, sources: Sequence[DataSource], config: EvaluationConfig, *, retry_failed: bool = False
    ) -> None:
        kept = read_kept(out)
        self._rows = {(row["data"], row["id"]): row for row in kept.rows}
        self._unusable = kept.unusable
        self._together = config.overlaps == "resolved"
        self._retry_failed = retry_failed
        self._states = SampleStates()
        self._changed = 0
        self._beside = 0
        self._unknown = 0
        _require_known(out, kept.rows, sources)

    def wanted(self, source: DataSource, places: Sequence[int]) -> tuple[int, ...]:
        """Those of a batch's questions that have to be asked: new, failed and to be retried, or changed."""
        rows = {place: self._rows.get((source.name, source.ids[place])) for place in places}
        known = {place: row for place, row in rows.items() if row is not None}
        changed = {place for place, row in known.items() if self._has_changed(source, place, row)}
        failed = {place for place, row in known.items() if self._retry_failed and row["error"] is not None}
        beside: set[int] = set()
        if changed and self._together:
            changed = set(known)
        elif failed and self._together:  # what a question had while another failed may not be its own
            beside = set(known) - failed
        self._changed += len(changed)
        self._beside += len(beside)
        return tuple(place for place, row in rows.items() if row is None or place in changed | failed | beside)

    def labels(self, source: DataSource, places: Sequence[int], wanted: Sequence[int]) -> dict[int, dict[str, Any]]:
        """What new rows say of their question's state, and which revision they are, by place; `wanted` have rows."""
        asked = places if self._together else wanted
        revisions = {place: self._revision(source, place) for place in asked}
        if source.is_made:
            return revisions
        states = {place: self._states.of(source.samples[place]).to_dict() for place in asked}
        return {place: {"state": states[place], **revisions[place]} for place in asked}

    def told(self) -> Iterator[str]:
        """A sentence about every kind of row that was not simply kept; to be asked after the last `wanted`."""
        if self._changed:
            yield (
                f"{self._changed} questions are asked again: their pictures, masks, words or references have changed "
                "since they were scored."
            )
        if self._beside:
            yield (
                f"{self._beside} questions are asked again beside those that failed: they are about the same pictures, "
                "of which they may have had more than is theirs."
            )
        if self._unusable:
            yield f"{self._unusable} damaged lines are left aside; their questions are asked again."
        if self._unknown:
            yield (
                f"{self._unknown} rows are kept that do not say what they were scored on; whether their data have "
                "changed cannot be told."
            )

    def _has_changed(self, source: DataSource, place: int, row: Mapping[str, Any]) -> bool:
        if source.is_made:
            return False
        if not row.get("state"):
            self._unknown += 1
            return False
        return not self._states.is_same(source.samples[place], row["state"])

    def _revision(self, source: DataSource, place: int) -> dict[str, int]:
        """Higher than that of the row that is there, so that the new one counts."""
        row = self._rows.get((source.name, source.ids[place]))
        return {} if row is None else {"revision": row.get("revision", 0) + 1}


def _require_known(out: Path, rows: Sequence[Mapping[str, Any]], sources: Sequence[DataSource]) -> None:
    places = {(source.name, name): place for source in sources for place, name in enumerate(source.ids)}
    strange = [row["id"] for row in rows if places.get((row["data"], row["id"])) != row["index"]]
    if strange:
        raise InputError(
            f"{out} holds rows of questions that are no longer there, or stand elsewhere, e.g. {strange[0]!r}: "
            "the data have changed since. Choose another --out."
        )
