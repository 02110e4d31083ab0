"""The references that a rule is learned from, as the model sees them: which may support it, and which may judge it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from conceptseg.data.fingerprints import fingerprint_picture
from conceptseg.data.loading import load_reference
from conceptseg.data.samples import ImageSource, Reference
from conceptseg.errors import InputError
from conceptseg.images import describe_source
from conceptseg.inference.rules import RulePicture, keep_picture

__all__ = ["Pool"]


class Pool:
    """References, reduced to what a model sees of them, and in that form for good.

    Args:
        references: as they were given.
        longest_px: what the model stretches pictures to.

    Raises:
        ImageError: a reference cannot be read.
        InputError: none of them shows what the concept is.
    """

    def __init__(self, references: Sequence[Reference], longest_px: int) -> None:
        loaded = [load_reference(one) for one in references]
        self.notes = [f"Reference {place}: {note}" for place, one in enumerate(loaded, 1) for note in one.notes]
        self.pictures = [
            keep_picture(one, longest_px, _name_of(given.image)) for one, given in zip(loaded, references, strict=True)
        ]
        self._looks = [fingerprint_picture(one.image) for one in self.pictures]
        marked = [place for place, one in enumerate(self.pictures) if one.region is not None]
        usable = [place for place in marked if not self._repeats(place)]
        self.like = [place for place in usable if not self.pictures[place].unlike]
        """Places of those that show the concept."""
        self.unlike = [place for place in usable if self.pictures[place].unlike]
        """Places of those that show what it is not."""
        if not self.like:
            raise InputError(
                f"A rule is learned from marked references, of which there are none among {len(references)}: give each "
                "its mask (or box). An empty mask marks nothing, and unlike ones do not show the concept."
            )
        self._tell(marked, usable)

    def __getitem__(self, place: int) -> RulePicture:
        return self.pictures[place]

    def unseen(self, supports: Iterable[int]) -> list[int]:
        """Places of references of either kind whose pictures are none of the supports'."""
        shown = {self._looks[place] for place in supports}
        return [place for place in (*self.like, *self.unlike) if self._looks[place] not in shown]

    def shown_with(self, supports: Sequence[int], target: int | None = None) -> tuple[int, ...]:
        """Places of all that a model is shown when it is asked about the picture of one of the references.

        What is marked in that very picture is not shown: it would tell the answer.
        """
        look = None if target is None else self._looks[target]
        return (*supports, *(place for place in self.unlike if self._looks[place] != look))

    def _repeats(self, place: int) -> bool:
        """Whether an earlier reference is the same picture with the same mark."""
        return any(self.pictures[place].repeats(before) for before in self.pictures[:place])

    def _tell(self, marked: Sequence[int], usable: Sequence[int]) -> None:
        unmarked = [place for place in range(len(self.pictures)) if place not in marked]
        repeated = [place for place in marked if place not in usable]
        boxed = [place for place in usable if self.pictures[place].mask is None]
        for places, told in (
            (unmarked, "Not used, for nothing is marked in them"),
            (repeated, "Not used, for they repeat others"),
            (boxed, "Judged by boxes, not by masks, which say more"),
        ):
            if places:
                self.notes.append(f"{told}: references {', '.join(str(place + 1) for place in places)}.")


def _name_of(source: ImageSource) -> str:
    return Path(source).name if isinstance(source, (str, Path)) else describe_source(source).strip("'\"")
