"""Photographs beside ConceptWorld: whom they come from, what they are shown with, and that masks follow their crops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError
from conceptseg.training.nano.mixture import Mixture
from conceptseg.training.nano.photographs import Photographs
from conceptseg.training.nano.segmenter_stage import SegmenterData

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
            red = pixels[..., 0] - pixels[..., 1] > 60
            assert (red & inside).sum() / (red | inside).sum() > 0.9


def is_grey(image: object) -> bool:
    return bool(np.ptp(np.asarray(image), axis=2).max() == 0)


def test_some_photographs_are_grey(photographs: Photographs) -> None:
    grey = [is_grey(sample.image) for sample in everything(photographs)]
    assert 2 <= sum(grey) <= 20  # of 60, at a share of 0.15


def test_the_same_generator_gives_the_same_picture(photographs: Photographs) -> None:
    first, second = (photographs.sample(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))


def test_absent_names_share_no_word_with_their_set(photographs: Photographs) -> None:
    cat = next(s for s in (photographs.sample(np.random.default_rng(k)) for k in range(40)) if s.concept == "cat")
    assert photographs.absent_from(cat, ["cat", "black cat", "hot dog", "chair"]) == ["chair"]


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="No set of photographs under"):
        Photographs(tmp_path, SIDE)


def test_segmenter_items_ask_for_photographed_names_and_for_absent_ones(photographs: Photographs) -> None:
    beside = Mixture(168, photographs, photograph_share=1.0)
    data = SegmenterData(("living",), seed=0, size_px=168, patch_px=14, beside=beside)
    items = [data[index] for index in range(40)]
    assert {"cat", "big dog"} <= set(data.names)
    asked = {(text, bool(there)) for item in items for text, there in zip(item.texts, item.present, strict=True)}
    assert ("cat", True) in asked
    assert ("skin lesion", False) in asked  # left to the reasoner, as everything context-dependent
    assert not {text for text, there in asked if not there} & {"cat", "dog"}
