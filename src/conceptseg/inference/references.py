"""What callers hand over as references, and what is made of it, which is remembered as long as nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from conceptseg.data.fingerprints import fingerprint_source
from conceptseg.data.loading import LoadedReference, load_reference
from conceptseg.data.samples import ConceptSample, ImageSource, Reference
from conceptseg.errors import InputError, SampleError
from conceptseg.images import LazyImage
from conceptseg.inference.inputs import OPENED_FILES, PreparedReferences, Query, is_picture
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.locks import SharedLock

__all__ = ["ReferencePreparer", "References", "as_references", "turned_query"]

_One: TypeAlias = Reference | ImageSource | tuple[object, ...]
References: TypeAlias = Reference | ImageSource | Iterable[_One]
"""References, or one; a picture alone is an unmarked one, (picture, mask) or (picture, box) a marked one."""

_Key: TypeAlias = tuple[tuple[object, ...], ...]
_MARKS = [field.name for field in fields(Reference) if field.name not in ("image", "mask")]


def as_references(references: object) -> tuple[Reference, ...]:
    """References in order, from whatever callers give for them.

    Understood are `Reference`s, pictures (unmarked), and pairs of a picture with a mask or a box, in a list or any
    other iterable; one alone counts as a list of one.

    Raises:
        InputError: something else is among them, or they are in no order.
        SampleError: a box is none.
    """
    if references is None:
        return ()
    if isinstance(references, Reference) or is_picture(references):
        references = [references]
    if isinstance(references, (Set, Mapping)):
        raise InputError("References come in an order, the first is withheld: give a list, not a set or a mapping.")
    if not isinstance(references, Iterable):
        raise InputError(f"Expected references as a list of Reference, got {type(references).__name__}.")
    return tuple(_as_reference(number, given) for number, given in enumerate(references, start=1))


def _as_reference(number: int, given: object) -> Reference:
    if isinstance(given, Reference):
        return given
    if isinstance(given, (str, Path, bytes, Image.Image, np.ndarray, LazyImage)):
        return Reference(given)
    if isinstance(given, (tuple, list)) and len(given) == 2 and not isinstance(given[0], (int, float)):
        image, mark = given
        mark = mark.tolist() if isinstance(mark, np.ndarray) and mark.ndim == 1 else mark
        try:
            return Reference(image, box=tuple(mark)) if _is_box(mark) else Reference(image, mask=mark)
        except SampleError as error:
            raise SampleError(f"Reference {number}: {error}") from error
    hint = " (a sample's own are its .references)" if isinstance(given, ConceptSample) else ""
    raise InputError(
        f"Reference {number} is a {type(given).__name__}{hint}: expected Reference(image, mask=…) or "
        "Reference(image, box=(x1, y1, x2, y2)), a picture, or a pair of a picture and its mask or box."
    )


def _is_box(mark: object) -> bool:
    return isinstance(mark, (tuple, list))


class ReferencePreparer:
    """Prepares references, and gives the last ones again as long as they hold what they held.

    Args:
        model: whose frame and prior they are prepared for.
    """

    def __init__(self, model: ConceptSegModel) -> None:
        self._model = model
        self._last: tuple[_Key, PreparedReferences] | None = None
        self._lock = SharedLock()

    def __call__(self, references: Sequence[Reference]) -> PreparedReferences | None:
        """References as the model will see them, or None without any.

        Raises:
            ImageError: a picture or mask cannot be read.
            SampleError: a box lies outside its picture, or is in fractions of it.
        """
        if not references:
            return None
        with self._lock, OPENED_FILES:
            key = _key_of(references)
            if self._last is None or key is None or self._last[0] != key:
                prepared = self._prepare(references)
                self._last = None if key is None else (key, prepared)
                return prepared
            return self._last[1]

    @torch.no_grad()
    def _prepare(self, references: Sequence[Reference]) -> PreparedReferences:
        model, loaded = self._model, tuple(load_reference(reference) for reference in references)
        mosaic = model.lay_out(loaded)
        seen = model.see_references(loaded)
        notes = (
            *_notes(references, loaded),
            *(_notes_on_regions(loaded) if seen else ()),
            *_notes_on_unlike(loaded, told=model.tells_of_unlike, seen=seen is not None),
        )
        return PreparedReferences(replace(mosaic, notes=notes), loaded, seen)


def turned_query(query: Query, by: int, model: ConceptSegModel) -> Query:
    """A query with its references in another order, so that another one's mark is withheld.

    What a rule begins belongs to its own order, which is kept.
    """
    prepared = query.references
    if prepared is None or (query.rule and query.rule.begun):
        return query
    like, unlike = ([one for one in prepared.loaded if one.unlike is kind] for kind in (False, True))
    by %= len(like)
    if by == 0:
        return query
    loaded = (*like[by:], *like[:by], *unlike)
    mosaic = replace(model.lay_out(loaded), notes=prepared.mosaic.notes)
    return replace(query, references=replace(prepared, mosaic=mosaic, loaded=loaded))


def _notes_on_unlike(loaded: Sequence[LoadedReference], *, told: bool, seen: bool) -> Iterable[str]:
    marked = any(one.unlike and one.region is not None for one in loaded)
    if marked and not told:
        yield "What the concept is not is not shown to the MLLM: this checkpoint's template has no words for it."
    if marked and not seen:
        yield "What the concept is not does not reach SAM 3: there is no reference prior, or nothing else is marked."


def _notes_on_regions(loaded: Sequence[LoadedReference]) -> Iterable[str]:
    boxed = [str(number) for number, one in enumerate(loaded, start=1) if one.box is not None and one.mask is None]
    if boxed:
        yield f"Known by their boxes alone, not by masks, which say more: references {', '.join(boxed)}."


def _key_of(references: Sequence[Reference]) -> _Key | None:
    """What the references hold now; None where that cannot be told, so that nothing is remembered."""
    key: list[tuple[object, ...]] = []
    for reference in references:
        image = fingerprint_source(reference.image)
        mask = None if reference.mask is None else fingerprint_source(reference.mask)
        if image is None or (mask is None and reference.mask is not None):
            return None
        key.append((image, mask, *(getattr(reference, name) for name in _MARKS)))
    return tuple(key)


def _notes(references: Sequence[Reference], loaded: Sequence[LoadedReference]) -> Iterable[str]:
    for number, (given, found) in enumerate(zip(references, loaded, strict=True), start=1):
        for note in found.notes:
            yield f"Reference {number}: {note}"
        if found.mask is not None and found.box is None:
            says = "says nothing" if found.unlike else "counts as unmarked"
            yield f"Reference {number} {says}: its mask is empty."
        if given.box is not None and found.box != given.box:
            width, height = found.image.size
            yield f"Reference {number}: its box {given.box} reaches beyond its picture ({width}×{height}) and was cut."
