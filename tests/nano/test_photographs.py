"""Photographs beside ConceptWorld: whom they come from, what they are shown with, and that masks follow their crops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError
from nano.photographs import Photographs

SIDE = 64


def write_set(
    root: Path, name: str, concepts: list[str], *, level: str = "CI", split: str = "train", shade: int | None = None
) -> None:
    """A set in which the target is the red part of each picture; sets of one shade show the same pictures."""
    folder = root / name
    folder.mkdir(parents=True)
    rows = []
    for number, concept in enumerate(concepts):
        picture = np.full((40, 60, 3), shade or 60 + sum(name.encode()) % 60, dtype=np.uint8)
        picture[10:30, 10 + number : 40 + number] = (220, 20, 20)
        Image.fromarray(picture).save(folder / f"{number}.png")
        Image.fromarray(((picture[..., 0] > 200) * 255).astype(np.uint8)).save(folder / f"{number}_mask.png")
        task = "living" if level == "CI" else "skin_lesion"
        row = {"id": f"{name}/{number}", "level": level, "task": task, "split": split, "concept": concept}
        rows.append(json.dumps(row | {"image": f"{number}.png", "mask": f"{number}_mask.png"}))
    (folder / "samples.jsonl").write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture
def photographs(tmp_path: Path) -> Photographs:
    write_set(tmp_path, "animals", ["cat", "cat", "cat", "big dog"])
    write_set(tmp_path, "skins", ["skin lesion"] * 3, level="CD")
    write_set(tmp_path, "measured", ["heron"], split="val")
    return Photographs(tmp_path, SIDE)


def test_only_training_rows_are_shown(photographs: Photographs) -> None:
    shown = {photographs.sample(np.random.default_rng(seed)).concept for seed in range(60)}
    assert shown == {"cat", "big dog", "skin lesion"}
    assert photographs.names == ("big dog", "cat")


def test_a_picture_that_a_set_holds_out_is_shown_by_none(tmp_path: Path) -> None:
    write_set(tmp_path, "garments", ["shirt", "shoe", "shirt"], shade=90)
    write_set(tmp_path, "people", ["person"], split="val", shade=90)
    shown = {str(photograph.id) for photograph in everything(Photographs(tmp_path, SIDE))}
    assert shown == {"garments/1", "garments/2"}


def test_what_a_set_with_shared_pictures_names_is_not_taken_to_be_absent(tmp_path: Path) -> None:
    write_set(tmp_path, "garments", ["shirt", "shoe"], shade=90)
    write_set(tmp_path, "people", ["person", "person"], shade=90)
    photographs = Photographs(tmp_path, SIDE)
    for sample in everything(photographs):
        assert photographs.absent_from(sample, ["person", "left shoe", "kettle"]) == ["kettle"]


def everything(photographs: Photographs) -> list[ConceptSample]:
    return [photographs.sample(np.random.default_rng(seed)) for seed in range(60)]


def test_references_share_the_concept_and_are_other_pictures(photographs: Photographs) -> None:
    for seed in range(40):
        sample = photographs.sample(np.random.default_rng(seed))
        assert len(sample.references) == (0 if sample.concept == "big dog" else 2)
    assert photographs.sample(np.random.default_rng(0), references=0).references == ()


def test_masks_follow_crop_and_mirror(photographs: Photographs) -> None:
    for seed in range(30):
        sample = photographs.sample(np.random.default_rng(seed))
        for image, mask in ((sample.image, sample.mask), *((r.image, r.mask) for r in sample.references)):
            pixels, inside = np.asarray(image).astype(int), np.asarray(mask)
            assert pixels.shape == (SIDE, SIDE, 3)
            if is_grey(image):
                continue
            redness = pixels[..., 0] - pixels[..., 1]
            red = redness > redness.max() / 2  # the middle of an edge that may be blurred
            assert (red & inside).sum() / (red | inside).sum() > 0.9


def is_grey(image: object) -> bool:
    return bool(np.ptp(np.asarray(image), axis=2).max() == 0)


def test_some_photographs_are_grey(photographs: Photographs) -> None:
    grey = [is_grey(sample.image) for sample in everything(photographs)]
    assert 2 <= sum(grey) <= 20  # of 60, at a share of 0.12


def test_the_same_generator_gives_the_same_picture(photographs: Photographs) -> None:
    first, second = (photographs.sample(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))


def test_absent_names_share_no_word_with_their_set(photographs: Photographs) -> None:
    cat = next(s for s in (photographs.sample(np.random.default_rng(k)) for k in range(40)) if s.concept == "cat")
    assert photographs.absent_from(cat, ["cat", "black cat", "hot dog", "chair"]) == ["chair"]


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="No set of photographs under"):
        Photographs(tmp_path, SIDE)


def test_a_family_is_of_one_concept_and_its_stranger_of_none(photographs: Photographs) -> None:
    for seed in range(40):
        family = photographs.family(np.random.default_rng(seed), 5)
        assert len(family.views) == (1 if family.concept == "big dog" else 3)
        for image, mask in family.views:
            assert image.shape == (SIDE, SIDE, 3)
            assert mask.any()
        assert family.stranger is not None or family.level == "CD"


def test_a_disguised_family_keeps_what_is_where_and_names_nothing(photographs: Photographs) -> None:
    plain = photographs.family(np.random.default_rng(3), 5)
    seen_inverted = set()
    for seed in range(40):
        other = plain.disguised(np.random.default_rng(seed))
        assert (other.concept, other.level) == ("marked object", "CD")
        inverted = bool((other.views[0][1] != plain.views[0][1]).all())
        seen_inverted.add(inverted)
        assert (other.stranger is None) == inverted  # a picture without the thing shows what surrounds it
        for (image, mask), (was, marked) in zip(other.views, plain.views, strict=True):
            np.testing.assert_array_equal(mask, ~marked if inverted else marked)
            channels = np.sort(image.reshape(-1, 3).astype(int).sum(axis=0))
            kept, negative = (np.sort(one.reshape(-1, 3).astype(int).sum(axis=0)) for one in (was, 255 - was))
            assert (channels == kept).all() or (channels == negative).all()
    assert seen_inverted == {True, False}


def test_sets_are_shown_as_often_as_they_weigh(tmp_path: Path) -> None:
    write_set(tmp_path, "animals", ["cat", "cat"])
    write_set(tmp_path, "tools", ["saw", "saw"])
    write_set(tmp_path, "left out", ["cup", "cup"])
    weighed = Photographs(tmp_path, SIDE, {"animals": 9.0, "left out": 0.0})
    concepts = [sample.concept for sample in everything(weighed)]
    assert concepts.count("cat") > 3 * concepts.count("saw") > 0
    assert "cup" not in concepts
    with pytest.raises(SampleError, match=r"Weights for sets that are not under .*: spoons"):
        Photographs(tmp_path, SIDE, {"spoons": 2.0})


def test_the_same_photographs_come_in_another_size(photographs: Photographs) -> None:
    assert np.asarray(photographs.at(96).sample(np.random.default_rng(0)).image).shape == (96, 96, 3)
    assert np.asarray(photographs.sample(np.random.default_rng(0)).image).shape == (SIDE, SIDE, 3)
