"""COCO's run lengths: by hand, and as pycocotools has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from conceptseg.errors import ImageError
from conceptseg.shapes import compress_runs, decode_run_lengths, encode_run_lengths, to_coco_rle

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_runs_go_down_the_columns_background_first() -> None:
    mask = np.array([[0, 0], [1, 1], [1, 1]], dtype=bool)
    assert encode_run_lengths(mask) == [1, 2, 1, 2]
    assert np.array_equal(decode_run_lengths([1, 2, 1, 2], (3, 2)), mask)


def test_a_target_that_begins_at_once_has_no_background_before() -> None:
    assert encode_run_lengths(np.ones((2, 3), dtype=bool)) == [0, 6]
    assert encode_run_lengths(np.zeros((2, 3), dtype=bool)) == [6]


@pytest.mark.parametrize(
    ("text", "runs"),
    [("0b0n0", [0, 18, 30]), ("524S1", [5, 2, 4, 37]), ("5:4If0", [5, 10, 4, 3, 26])],
)
def test_compressed_runs_by_hand(text: str, runs: list[int]) -> None:
    # 18 = digit 18 with "more" (98, "b") and 0; from the fourth run on the difference to the last but one is written
    assert np.array_equal(decode_run_lengths(text, (6, 8)), decode_run_lengths(runs, (6, 8)))
    assert compress_runs([0, 18, 30]) == "0b0n0"


@given(masks)
def test_pycocotools_writes_and_reads_the_same(mask: np.ndarray) -> None:
    ours = to_coco_rle(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    assert np.array_equal(coco.decode(ours), mask)


@given(masks, st.booleans())
def test_there_and_back(mask: np.ndarray, compressed: bool) -> None:
    rle = to_coco_rle(mask, compressed=compressed)
    assert np.array_equal(decode_run_lengths(rle["counts"], mask.shape), mask)


def test_runs_that_do_not_fill_the_picture_are_refused() -> None:
    with pytest.raises(ImageError, match="Run lengths of 5 pixels do not fill a picture of 2×3"):
        decode_run_lengths([2, 3], (2, 3))
    with pytest.raises(ImageError, match="do not fill"):
        decode_run_lengths("no run lengths", (2, 3))
    with pytest.raises(ImageError, match="must be whole numbers"):
        decode_run_lengths([2.5, 3.5], (2, 3))
