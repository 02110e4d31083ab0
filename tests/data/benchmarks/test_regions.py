"""Masks from run lengths, polygons and label maps, and sources that are made when read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.benchmarks._grounding import target_index
from conceptseg.data.benchmarks._regions import (
    decode_regions,
    draw_polygon,
    labelled_polygons,
    read_labels,
)
from conceptseg.errors import ImageError
from conceptseg.images import LazyImage, describe_source, load_image, load_mask


def test_polygons_are_filled_and_cut_at_the_border() -> None:
    mask = draw_polygon([[1, 1], [3, 1], [3, 20], [1, 20]], (4, 5))
    assert mask.astype(int).tolist() == [[0] * 5, *[[0, 1, 1, 1, 0]] * 3]
    assert not draw_polygon([[1, 1]], (4, 5)).any()


def test_regions_of_both_kinds_are_joined() -> None:
    mask = decode_regions([[[0, 0, 2, 0, 2, 2, 0, 2]], {"counts": [9, 3], "size": [3, 4]}], (3, 4))
    assert mask.astype(int).tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1]]


def test_smaller_polygons_are_drawn_over_larger_ones() -> None:
    small, large = [[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [3, 0], [3, 3], [0, 3]]
    for order in ([(small, False), (large, True)], [(large, True), (small, False)]):
        levels = labelled_polygons(order, (4, 4))
        assert levels[:2, :2].tolist() == [[128, 128], [128, 128]] and levels[3, 3] == 255


def test_label_maps_keep_their_values_and_coloured_ones_are_refused(tmp_path: Path) -> None:
    labels = np.array([[7, 26], [0, 255]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    assert np.array_equal(read_labels(tmp_path / "labels.png"), labels)
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(ImageError, match=r"colour\.png is no label map"):
        read_labels(tmp_path / "colour.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"Cannot read the label map .*broken\.png"):
        read_labels(tmp_path / "broken.png")


def test_lazy_sources_are_made_when_read_and_keep_their_name() -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.eye(3, dtype=bool)

    source = LazyImage(make, "annotation 7")
    assert describe_source(source) == "'annotation 7'" and not made
    assert load_mask(source).sum() == 3 and load_image(source).size == (3, 3) and len(made) == 2
    with pytest.raises(ImageError, match="annotation 7"):
        load_mask(source, (4, 4))


@pytest.mark.parametrize(
    ("text", "pictures", "index"),
    [
        ("Which item in Image-2 share the feature of Image-1? Find it in the second image. ", 3, 1),
        ("It's in the first image.", 4, 0),
        ("Locate it in image 3, please.", 4, 2),
        ("Find it in the last frame", 5, 4),
        ("What is shared?", 4, 3),
        ("the ninth image", 2, 1),
    ],
)
def test_the_picture_asked_about_is_the_one_mentioned_last(text: str, pictures: int, index: int) -> None:
    assert target_index(text, pictures) == index
