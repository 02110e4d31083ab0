from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptseg.data import ConceptSample, Reference, load_sample, read_samples, write_samples
from conceptseg.data.writing import append_samples
from conceptseg.errors import ImageError, InputError, SampleError
from conceptseg.ledger import lone_writer

NOISE = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
HALF = np.arange(80).reshape(8, 10) % 2 == 0


def make(sample_id: str = "set/1", **changes: object) -> ConceptSample:
    return ConceptSample(**({"id": sample_id, "task": "shadow", "concept": "shadow", "image": NOISE} | changes))


def files_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_a_sample_in_memory_survives_the_round_trip(tmp_path: Path):
    levels = np.array([[0, 128, 255, 0, 0]], np.uint8).repeat(2, axis=1).repeat(8, axis=0)
    references = (Reference(NOISE[::-1], mask=HALF), Reference(Image.fromarray(NOISE), box=(1, 2, 3, 4)))
    words = {"rule": "r: ü", "answer": "a", "group": "g", "split": "val", "extra": {"seed": 3, "tags": ["x"]}}
    assert write_samples([make(mask=levels, references=references, **words)], tmp_path) == tmp_path / "samples.jsonl"
    (sample,) = read_samples(tmp_path)
    assert {name: getattr(sample, name) for name in words} == words
    loaded = load_sample(sample)
    assert np.array_equal(np.asarray(loaded.image), NOISE)
    assert np.array_equal(loaded.mask, levels == 255) and np.array_equal(loaded.ignore, levels == 128)
    assert np.array_equal(np.asarray(loaded.references[0].image), NOISE[::-1])
    assert np.array_equal(loaded.references[0].mask, HALF)
    assert loaded.references[1].mask is None and loaded.references[1].box == (1, 2, 3, 4)


def test_masks_are_one_channel_of_0_and_255(tmp_path: Path):
    write_samples([make(mask=HALF)], tmp_path)
    with Image.open(tmp_path / "masks" / "set_1.png") as image:
        assert image.mode == "L" and set(np.unique(image)) == {0, 255}


def test_files_from_elsewhere_are_copied_once_and_as_they_are(tmp_path: Path):
    source = tmp_path / "photo of mine.jpg"
    Image.fromarray(NOISE).save(source)
    folder = tmp_path / "set"
    write_samples([make("1", image=source), make("2", image=str(source), references=(Reference(source),))], folder)
    assert files_in(folder) == ["images/photo_of_mine.jpg", "samples.jsonl"]
    assert (folder / "images" / "photo_of_mine.jpg").read_bytes() == source.read_bytes()
    first, second = read_samples(folder)
    assert first.image == second.image == second.references[0].image


def test_files_inside_are_referred_to(tmp_path: Path):
    (tmp_path / "own").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "own" / "a.png")
    write_samples([make(image=tmp_path / "own" / "a.png")], tmp_path)
    assert files_in(tmp_path) == ["own/a.png", "samples.jsonl"]


def test_reading_and_writing_back_changes_nothing(tmp_path: Path):
    write_samples([make("1", mask=HALF), make("2", image=NOISE[::-1])], tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    write_samples(read_samples(tmp_path), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_writing_twice_adds_no_copies(tmp_path: Path):
    for _ in range(2):
        write_samples([make(mask=HALF, references=(Reference(NOISE[::-1], mask=HALF),))], tmp_path)
    assert len(files_in(tmp_path)) == 5


def test_no_picture_overwrites_another(tmp_path: Path):
    (tmp_path / "images").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "images" / "a_b.png")
    samples = [
        make("a/b", image=NOISE[::-1]),
        make("a:b", image=NOISE[:, ::-1]),
        make("kept", image=tmp_path / "images" / "a_b.png"),
    ]
    write_samples(samples, tmp_path)
    pictures = [np.asarray(load_sample(sample).image) for sample in read_samples(tmp_path)]
    for picture, expected in zip(pictures, (NOISE[::-1], NOISE[:, ::-1], NOISE), strict=True):
        assert np.array_equal(picture, expected)


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(str.strip)


@given(st.lists(ids, min_size=1, max_size=3, unique=True))
def test_any_id_stays_inside_the_folder(tmp_path_factory: pytest.TempPathFactory, names: list[str]):
    folder = tmp_path_factory.mktemp("any")
    write_samples([make(name, image=NOISE[:2, :2]) for name in names], folder)
    assert [sample.id for sample in read_samples(folder)] == names


def test_a_failure_leaves_the_old_index_whole(tmp_path: Path):
    write_samples([make("old")], tmp_path)
    with pytest.raises(ImageError, match="is not an image"):
        write_samples([make("new"), make("broken", image=b"no image")], tmp_path)
    assert [sample.id for sample in read_samples(tmp_path)] == ["old"]
    assert not [name for name in files_in(tmp_path) if Path(name).name.startswith(".")]


def test_a_failure_of_the_last_step_leaves_the_old_index_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_samples([make("old")], tmp_path)
    replace = os.replace

    def fail_on_index(source: str, target: Path) -> None:
        if Path(target).name == "samples.jsonl":
            raise OSError("no space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_on_index)
    with pytest.raises(OSError, match="no space"):
        write_samples([make("new", image=NOISE[::-1])], tmp_path)
    assert [sample.id for sample in read_samples(tmp_path)] == ["old"]
    assert not [name for name in files_in(tmp_path) if Path(name).name.startswith(".")]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([make("a"), make("a")], "id 'a' occurs twice"),
        ([make(extra={"image": 1, "task": 2})], "extra must not use the names image, task"),
        ([make(extra={"array": NOISE})], "Sample 'set/1': extra cannot be written as JSON"),
        ([make(extra={"score": float("nan")})], "extra cannot be written as JSON"),
        ([make(image=Path("/nowhere/a.png"))], "no file '/nowhere/a.png'"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, samples: list[ConceptSample], message: str):
    with pytest.raises(SampleError, match=message):
        write_samples(samples, tmp_path)
    assert not (tmp_path / "samples.jsonl").exists()


def test_two_writers_do_not_lose_each_others_rows(tmp_path: Path):
    with lone_writer(tmp_path), pytest.raises(InputError, match="Another process is writing"):
        append_samples([], tmp_path)
    with lone_writer(tmp_path), pytest.raises(InputError, match="Another process is writing"):
        write_samples([], tmp_path)
