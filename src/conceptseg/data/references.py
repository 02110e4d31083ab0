"""Which references a sample is shown with: decided by (seed, sample id, draw), never by order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from filecmp import cmp
from itertools import islice
from pathlib import Path

import numpy as np

from conceptseg.data.samples import ConceptSample, ImageSource, Reference
from conceptseg.taxonomy import Level

__all__ = ["ReferenceDrawer", "is_same_picture"]


class ReferenceDrawer:
    """Chooses a sample's references; the same ones whenever it is asked for the same sample and draw.

    A sample's own references are thinned to `count`, order kept, not counting those that mark what its concept is not,
    which all stay; a sample of level CR keeps all of them, since there
    they are part of the question (Table 12, "Default"). A sample without any is given up to `count` other samples of
    the same task, concept and group, never a picture of itself.

    Args:
        others: samples that may serve as references.
        seed: of the draws.
        count: how many references to show, at most.
        from_others: whether a sample without references is given some.
    """

    def __init__(self, others: Sequence[ConceptSample], seed: int, *, count: int, from_others: bool = True) -> None:
        self._seed, self._count, self._from_others = seed, count, from_others
        self._kin: Mapping[tuple[str, str, str | None], list[ConceptSample]] = _by_kind(others)

    def references_of(self, sample: ConceptSample, draw: int = 0) -> tuple[Reference, ...]:
        """The references to show with a sample.

        Args:
            sample: the one to be asked about.
            draw: 0 is what is measured with; every other number is another choice, where there is one.
        """
        count = self._count
        if sample.references:
            own = sample.references
            return own if sample.level is Level.CR and count else _thinned(own, count, self._rng(sample, draw))
        if not (self._from_others and count):
            return ()
        kin = self._kin.get(_kind(sample), [])
        shuffled = (kin[i] for i in self._rng(sample, draw).permutation(len(kin)))
        chosen = islice((other for other in shuffled if _may_stand_for(other, sample)), count)
        return tuple(Reference(other.image, other.mask) for other in chosen)

    def _rng(self, sample: ConceptSample, draw: int) -> np.random.Generator:
        digest = hashlib.blake2b(sample.id.encode(), digest_size=8).digest()
        later = [draw] if draw else []  # the first is what it was before there were others
        return np.random.default_rng([self._seed, int.from_bytes(digest, "little"), *later])


def is_same_picture(a: ImageSource, b: ImageSource) -> bool:
    """Whether two sources are one picture: the same object, the same file, or files with the same bytes."""
    if a is b:
        return True
    paths = [source for source in (a, b) if isinstance(source, (str, Path))]
    if len(paths) < 2:
        return False
    first, second = (Path(path) for path in paths)
    return first.resolve() == second.resolve() or cmp(first, second, shallow=False)


def _kind(sample: ConceptSample) -> tuple[str, str, str | None]:
    return sample.task, sample.concept, sample.group


def _by_kind(samples: Sequence[ConceptSample]) -> dict[tuple[str, str, str | None], list[ConceptSample]]:
    kinds: dict[tuple[str, str, str | None], list[ConceptSample]] = defaultdict(list)
    for sample in samples:
        if sample.mask is not None:
            kinds[_kind(sample)].append(sample)
    return dict(kinds)


def _may_stand_for(other: ConceptSample, sample: ConceptSample) -> bool:
    return other.id != sample.id and not is_same_picture(other.image, sample.image)


def _thinned(items: tuple[Reference, ...], count: int, rng: np.random.Generator) -> tuple[Reference, ...]:
    """`count` of the references at random, in their order, and where there are any, all that are unlike the concept."""
    like = [place for place, one in enumerate(items) if not one.unlike]
    if count >= len(like) or not count:
        return items if count else ()
    chosen = {like[i] for i in rng.permutation(len(like))[:count]}
    return tuple(one for place, one in enumerate(items) if place in chosen or one.unlike)
