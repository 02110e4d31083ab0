"""Frames one after the other: what is remembered, and when it is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import Reference
from conceptseg.inference import Route, SegmentationResult
from conceptseg.inference.answers import UNTOLD
from conceptseg.inference.video import segment_frames
from tests.interfaces.fakes import FakeSegmenter


class Rolling(FakeSegmenter):
    """Remembers what it was shown, and checks as it is told."""

    def __init__(self, checks: Sequence[float | None], empty: Sequence[int] = ()) -> None:
        super().__init__()
        self.checks, self.empty = checks, empty
        self.shown: list[list[Reference]] = []

    def __call__(self, image: Any, concept: str, references: Sequence[Reference] = (), **options: Any) -> Any:
        result = super().__call__(image, concept, references, **options)
        number = len(self.shown)
        self.shown.append(list(references))
        mask = np.zeros_like(result.mask) if number in self.empty else result.mask
        return replace(result, check_iou=self.checks[number], mask=mask)


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(path)
    return paths


def run(segmenter: Rolling, frames: list[Path], given: int = 1) -> list[SegmentationResult]:
    references = [Reference(frames[0], box=(0.0, 0.0, 4.0, 6.0))] * given
    return list(segment_frames(segmenter, frames, "cat", references))


def remembered(segmenter: Rolling, given: int = 1) -> list[list[int]]:
    """For each frame, by their red, the earlier frames that were shown with it."""
    return [[reference.image.getpixel((0, 0))[0] for reference in shown[given:]] for shown in segmenter.shown]


def test_earlier_frames_are_shown_up_to_four_references(frames: list[Path]) -> None:
    segmenter = Rolling([None] + [0.9] * 5)
    results = run(segmenter, frames)
    assert remembered(segmenter) == [[], [0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert all(shown[0].box is not None for shown in segmenter.shown)  # the given one stays first: it is withheld
    assert [result.notes[-1][0] for result in results] == list("012333")


def test_what_misled_the_check_is_forgotten(frames: list[Path]) -> None:
    segmenter = Rolling([None, 0.9, 0.2, None, 0.5, 0.9])
    run(segmenter, frames)
    assert remembered(segmenter) == [[], [0], [0, 1], [], [3], [3, 4]]


def test_empty_masks_are_not_shown(frames: list[Path]) -> None:
    segmenter = Rolling([None] + [0.9] * 5, empty=(1, 2))
    run(segmenter, frames)
    assert remembered(segmenter)[3] == [0]


class Alone(Rolling):
    """SAM 3 alone answers; `notes` come with every answer."""

    def __init__(self, *notes: str) -> None:
        super().__init__([None] * 6)
        self.notes = notes

    def __call__(self, *args: Any, **options: Any) -> Any:
        return replace(super().__call__(*args, **options), route=Route.DIRECT, notes=self.notes)


def test_frames_that_nobody_looked_beside_are_not_remembered_nor_counted(frames: list[Path]) -> None:
    segmenter = Alone(UNTOLD)
    results = run(segmenter, frames)
    assert remembered(segmenter) == [[]] * 6
    assert {result.notes[-1] for result in results} == {"0 earlier frames were shown as references"}


def test_frames_that_nothing_verifies_are_told(frames: list[Path]) -> None:
    segmenter = Alone()
    results = run(segmenter, frames)
    assert remembered(segmenter)[3] == [0, 1, 2]
    assert results[3].notes[-1] == "3 earlier frames were shown as references, unverified: SAM 3 alone answered"


@pytest.mark.parametrize("always", [True, False])
def test_masks_of_what_is_not_found_are_kept_where_that_is_asked_for(frames: list[Path], always: bool) -> None:
    asked: list[bool] = []

    class Asked(Rolling):
        def __call__(self, *args: Any, always: bool = False, **options: Any) -> Any:
            asked.append(always)
            return super().__call__(*args, **options)

    list(segment_frames(Asked([None] * 6), frames, "cat", [], always=always))
    assert asked == [always] * 6


@pytest.mark.parametrize("given", [0, 4])
def test_nothing_is_remembered_without_a_reference_or_without_room(frames: list[Path], given: int) -> None:
    segmenter = Rolling([0.9] * 6)
    run(segmenter, frames, given)
    assert {len(shown) for shown in segmenter.shown} == {given}


def test_a_frame_that_cannot_be_read_is_a_result_with_an_error(frames: list[Path]) -> None:
    frames[2].write_bytes(b"damaged")
    results = run(Rolling([None] + [0.9] * 5), frames)
    assert [result.error is None for result in results] == [True, True, False, True, True, True]
    assert results[2].source == str(frames[2])
