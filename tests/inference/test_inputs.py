"""What callers hand over: the obvious reading, or one clear error; and nothing that was given is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import ConceptSample, Reference
from conceptseg.data.samples import _checked_box
from conceptseg.errors import ImageError, InputError, SampleError
from conceptseg.inference.inputs import InTurn, Query, as_images, check_batch_size, chunks, load_query, try_query
from conceptseg.inference.references import ReferencePreparer, as_references
from tests.training.tiny import tiny_model

MASK = np.eye(20, dtype=bool)


def picture(shade: int = 90) -> Image.Image:
    return Image.new("RGB", (20, 20), (shade, 10, 200))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_query_is_about_the_picture_as_it_is_seen(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    with Image.open(path) as opened:
        assert Query(opened, "cat").image.size == (20, 40) == load_query(path, "cat", None).image.size
        assert Query(opened.copy(), "cat").image.size == (20, 40)


def test_a_picture_that_is_ready_is_taken_as_it_is():
    ready = picture()
    assert Query(ready, "cat").image is ready


def test_a_query_sees_through_and_tells_of_frames(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "clear.png", transparency=(0, 0, 0))
    with Image.open(tmp_path / "clear.png") as opened:
        assert Query(opened, "cat").image.getpixel((0, 0)) == (255, 255, 255)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", save_all=True, append_images=[picture()])
    with Image.open(tmp_path / "a.tif") as opened:
        assert any("several frames" in note for note in Query(opened, "cat").notes)


def test_one_reference_is_a_list_of_one():
    one = Reference(picture(), box=(1, 2, 9, 9))
    assert as_references(one) == (one,) == as_references(reference for reference in [one])
    assert as_references(None) == as_references([]) == ()


@pytest.mark.parametrize("source", ["a.jpg", Path("a.jpg"), b"bytes", picture(), np.zeros((4, 4, 3), dtype=np.uint8)])
def test_a_picture_is_an_unmarked_reference(source):
    for given in (source, [source]):
        (reference,) = as_references(given)
        assert reference.image is source and reference.mask is None and reference.box is None


def test_an_array_of_pictures_is_several():
    assert len(as_references(np.zeros((3, 4, 4, 3), dtype=np.uint8))) == 3
    assert [r.image for r in as_references(np.array(["a.jpg", "b.jpg"]))] == ["a.jpg", "b.jpg"]


def test_a_pair_is_a_picture_with_its_mark():
    masked, boxed, listed, unmarked = as_references(
        [(picture(), MASK), ("a.jpg", (1, 2, 9, 9)), ["a.jpg", np.array([1, 2, 9, 9])], ("a.jpg", None)]
    )
    assert masked.mask is MASK and boxed.box == listed.box == (1, 2, 9, 9) and unmarked.mask is None


SAMPLE = ConceptSample("s", "living", "cat", picture())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "got int"),
        ([Reference("a.jpg"), 5], "Reference 2 is a int"),
        ([None], "Reference 1 is a NoneType"),
        ([{"image": "a.jpg"}], "Reference 1 is a dict"),
        ({"image": "a.jpg"}, "not a set or a mapping"),
        ({"a.jpg", "b.jpg"}, "not a set or a mapping"),
        ([("a.jpg", MASK, (1, 2, 3, 4))], "Reference 1 is a tuple"),
        ([(1, 2, 3, 4)], "Reference 1 is a tuple"),
        ([SAMPLE], r"a sample's own are its \.references"),
        (SAMPLE, "got ConceptSample"),
        ([("a.jpg", (9, 2, 1, 4))], "Reference 1: A box must be"),
    ],
)
def test_what_is_no_reference_is_named(given, message):
    with pytest.raises(InputError, match=message):
        as_references(given)


@pytest.mark.parametrize(
    "box",
    [
        "10,20,30,40", "1234", b"1234", ("1", "2", "3", "4"), (30, 20, 10, 40), (10, 20, 10, 40), (1, 2, 3),
        (1, 2, 3, 4, 5),
        (1, 2, 3, float("nan")), (1, 2, 3, float("inf")), {1, 2, 3, 4}, {"x1": 1, "y1": 2, "x2": 3, "y2": 4},
        ((1, 2), (3, 4)), (True, False, True, True), 5, 10**400,
    ],
)  # fmt: skip
def test_what_is_no_box_is_refused(box):
    with pytest.raises(SampleError, match="A box must be"):
        _checked_box(box)


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.5, 0.9), (0, 0, 1, 1), (0.0, 0.5, 1.0, 1.0)])
def test_a_box_in_fractions_is_no_speck(box):
    with pytest.raises(SampleError, match="Boxes are in pixels: fractions of the picture would be"):
        ReferencePreparer(tiny_model())([Reference(picture(), box=box)])


def test_a_box_beyond_its_picture_is_cut_and_told_of_or_refused():
    cut = [Reference(picture(), box=(5, 5, 40, 10)), Reference(picture(), box=(5, 5, 20, 10))]
    mosaic = ReferencePreparer(tiny_model())(cut).mosaic
    assert mosaic.notes == (
        "Reference 1: its box (5.0, 5.0, 40.0, 10.0) reaches beyond its picture (20×20) and was cut.",
    )
    with pytest.raises(SampleError, match="lies outside its picture of 20×20"):
        ReferencePreparer(tiny_model())([Reference(picture(), box=(30, 5, 40, 10))])


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ImageError, match="its image has 20×20"):
        ReferencePreparer(tiny_model())([Reference(picture(), mask=np.ones((10, 20), dtype=bool))])


def saved(path: Path, shade: int) -> Path:
    picture(shade).save(path)
    return path


def test_a_corrected_file_or_array_is_read_again(tmp_path):
    make = ReferencePreparer(tiny_model())
    array, mask, opened = np.full((20, 20, 3), 50, dtype=np.uint8), MASK.copy(), picture(70)
    references = [Reference(saved(tmp_path / "r.png", 10)), Reference(array, mask=mask), Reference(opened)]
    seen = [make(references)]
    assert make(list(references)) is seen[-1]
    assert make([Reference(r.image, r.mask) for r in references]) is seen[-1]  # by content, not by object
    for change in (
        lambda: saved(tmp_path / "r.png", 20),
        lambda: array.fill(99),
        lambda: mask.fill(True),
        lambda: opened.paste((0, 0, 0), (0, 0, 9, 9)),
    ):
        change()
        seen.append(make(references))
        assert seen[-1] is not seen[-2] and make(references) is seen[-1]
    assert len({prepared.mosaic.image.tobytes() for prepared in seen}) >= 4


def test_another_box_is_another_mosaic():
    make = ReferencePreparer(tiny_model())
    assert make([Reference(picture(), box=(1, 1, 9, 9))]) is not make([Reference(picture(), box=(1, 1, 9, 8))])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("photos", "got one: 'photos'"),
        (Path("a.jpg"), "got one: 'a.jpg'"),
        (b"bytes", "got one"),
        (picture(), "got one"),
        (np.zeros((4, 4, 3), dtype=np.uint8), "got one"),
        (None, "got NoneType"),
        (3, "got int"),
        ({"a.jpg": 1}, "got dict"),
    ],
)
def test_one_image_is_not_several(images, message):
    with pytest.raises(InputError, match=message):
        as_images(images)


def test_a_folder_is_told_from_a_picture(tmp_path):
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(InputError, match="is a folder: give the pictures in it"):
            as_images(folder)


@pytest.mark.parametrize("size", [0, -1, None, "8", 2.0, True])
def test_what_is_no_number_of_images(size):
    with pytest.raises(InputError, match="batch_size must be at least 1, got"):
        check_batch_size(size)


def test_numbers_of_images():
    assert check_batch_size(3) == check_batch_size(np.int64(3)) == 3


def failing(count: int) -> Iterator[int]:
    yield from range(count)
    raise RuntimeError("the camera is gone")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
def test_what_came_before_a_failure_is_given_first(count: int):
    given: list[int] = []
    with pytest.raises(RuntimeError, match="the camera is gone"):
        for chunk in chunks(failing(count), 3):
            assert 0 < len(chunk) <= 3
            given += chunk
    assert given == list(range(count))


def test_chunks_are_full_but_the_last():
    assert list(chunks(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([], 3)) == []


def test_each_item_goes_to_one_thread():
    numbers, seen = InTurn(iter(range(2000))), [[], [], []]
    threads = [threading.Thread(target=lambda got=got: got.extend(numbers)) for got in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen[0] + seen[1] + seen[2]) == list(range(2000))


def test_a_query_tidies_its_words_and_reads_its_picture():
    query = Query(Image.new("L", (3, 2), 7), "black \n cat")
    assert query.concept == "black cat" and query.image.mode == "RGB"
    image = picture()
    assert Query(image, "cat").image is image
    with pytest.raises(InputError, match="The concept is empty"):
        Query(image, " ")


def test_a_picture_that_cannot_be_read_keeps_its_name(tmp_path):
    result = try_query(tmp_path / "absent.png", "cat", None)
    assert result.error and result.source == str(tmp_path / "absent.png") and result.origin == tmp_path / "absent.png"
