"""What --data may name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conceptseg.data import ConceptSample, Reference, write_samples
from conceptseg.data.benchmarks.duts import Duts
from conceptseg.errors import ConfigError, InputError
from conceptseg.evaluation.settings import EvaluationConfig, Shard
from conceptseg.evaluation.sources import open_sources, parse_option
from tests.data.benchmarks import layouts
from tests.evaluation.fakes import write_set

WORLD = "world:saliency,cross_view:seen_test:2:5"


def picture(shade: int) -> np.ndarray:
    return np.full((8, 8, 3), shade, np.uint8)


def sample(name: str, split: str, shade: int, task: str = "camouflage", references: int = 0) -> ConceptSample:
    mask = np.eye(8, dtype=bool)
    shown = tuple(Reference(picture(100 + n), mask) for n in range(references))
    return ConceptSample(name, task, "moth", picture(shade), mask, references=shown, split=split)


@pytest.fixture
def folder(tmp_path) -> Path:
    samples = [sample(f"train/{n}", "train", n) for n in range(6)]
    samples += [sample("val/0", "val", 50, references=4), sample("val/1", "val", 51)]
    samples += [sample("val/2", "val", 52, task="cross_frame", references=2)]
    write_samples(samples, tmp_path / "moths")
    return tmp_path / "moths"


def names(references) -> set[str]:
    return {Path(reference.image).name for reference in references}


def test_a_folder_is_what_is_not_for_training(folder):
    (source,) = open_sources([str(folder)])
    assert source.name == "moths" and source.ids == ("val/0", "val/1", "val/2")
    own, drawn, reasoning = source.samples
    assert len(own.references) == 4 and names(own.references) == {f"val_0-ref{n}.png" for n in range(4)}
    assert len(drawn.references) == 4 and names(drawn.references) < {f"train_{n}.png" for n in range(6)}
    assert len(reasoning.references) == 2
    (train,) = open_sources([f"{folder}#train"])
    assert train.name == "moths#train" and len(train.ids) == 6
    assert all(Path(s.image).name not in names(s.references) for s in train.samples)


def test_a_folder_of_training_samples_alone_is_taken_whole(tmp_path):
    write_samples([sample("a", "train", 1), sample("b", "train", 2)], tmp_path / "set")
    assert open_sources([str(tmp_path / "set")])[0].ids == ("a", "b")


def test_references_are_fewer_or_others_on_request(folder):
    one = open_sources([str(folder)], references=1)[0].samples
    assert [len(sample.references) for sample in one] == [1, 1, 2]  # of level CR they belong to the question
    assert [len(s.references) for s in open_sources([str(folder)], references=0)[0].samples] == [0, 0, 0]
    first, second = (open_sources([str(folder)], seed=seed)[0].samples for seed in (1, 2))
    assert names(first[0].references) != names(second[0].references)
    assert names(first[0].references) < {f"train_{n}.png" for n in range(6)}
    assert names(first[2].references) == {"val_2-ref0.png", "val_2-ref1.png"}
    again = open_sources([str(folder)], seed=1)[0].samples
    assert [names(s.references) for s in again] == [names(s.references) for s in first]


def test_a_folder_of_folders_is_all_of_them(tmp_path):
    for name in ("b", "a"):
        write_set(tmp_path / "sets" / name, 1)
    assert [source.name for source in open_sources([str(tmp_path / "sets")])] == ["a", "b"]


def test_a_world_is_made_when_asked_for_under_ids_that_are_known():
    (source,) = open_sources([WORLD])
    assert source.name == WORLD and len(source.samples) == 4
    assert source.ids == tuple(sample.id for sample in source.samples)
    assert [sample.task for sample in source.samples] == ["saliency"] * 2 + ["cross_view"] * 2
    assert [s.id for s in source.samples[1:3]] == list(source.ids[1:3]) and source.samples[-1].id == source.ids[3]


def pixels(references) -> list[bytes]:
    return [np.asarray(reference.image).tobytes() for reference in references]


def test_another_reference_seed_leaves_the_worlds_targets():
    first, second = (open_sources([WORLD], seed=seed)[0].samples for seed in (0, 1))
    assert np.array_equal(first[0].image, second[0].image) and np.array_equal(first[0].mask, second[0].mask)
    assert len(second[0].references) == 4
    assert not set(pixels(first[0].references)) & set(pixels(second[0].references))
    assert np.array_equal(first[2].image, second[2].image) and first[2].rule == second[2].rule  # level CR as well
    assert not set(pixels(first[2].references)) & set(pixels(second[2].references))


def test_a_world_shows_as_many_references_as_asked():
    counts = {n: [len(s.references) for s in open_sources([WORLD], references=n)[0].samples[1:3]] for n in (0, 1)}
    assert counts == {0: [0, 0], 1: [1, 4]}


def test_a_coco_file_is_addressed_with_its_folder_and_category(tmp_path):
    layouts.coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "my photos")
    (source,) = open_sources([f"coco={tmp_path}/annotations.json?images={tmp_path}/my photos&category=hot+dog"])
    assert (source.name, source.ids) == ("coco/all", ("coco/hot_dog/b/é.jpg", "coco/hot_dog/c.png"))
    assert all(len(sample.references) == 1 for sample in source.samples)
    with pytest.raises(InputError, match="'coco' does not take these options: categories"):
        open_sources([f"coco={tmp_path}/annotations.json?categories=cat"])


def test_a_benchmark_has_name_split_root_and_options(tmp_path):
    layouts.duts(tmp_path / "duts")
    layouts.coco20i(tmp_path / "coco")
    sources = open_sources([f"duts={tmp_path}/duts", f"coco20i/test={tmp_path}/coco?per_class=1"], references=1)
    assert [source.name for source in sources] == ["duts/test", "coco20i/test"]
    assert len(sources[0].ids) == 2 and all(len(s.references) == 1 for s in sources[0].samples)
    assert len(sources[1].ids) == len({s.concept for s in sources[1].samples})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "is neither a folder with samples.jsonl nor world:TASK"),
        ("world:saliency:seen_test:2", "expected world:TASK:SPLIT:COUNT:SEED"),
        ("world:saliency:seen_test:0:5", "expected at least one sample a task, and every task once"),
        ("world:saliency,shadow,saliency:seen_test:2:5", "at least one sample a task, and every task once"),
        ("world:magic:seen_test:2:0", "ConceptWorld has no tasks"),
        ("magic=/data", "Unknown benchmark 'magic'"),
        ("duts=/data?colour=3", "Benchmark 'duts' does not take these options"),
    ],
)
def test_what_means_nothing_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        open_sources([spec])


def test_sets_that_cannot_be_measured_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"has no samples of split 'test'\. Its splits: train, val"):
        open_sources([f"{folder}#test"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/samples.jsonl").touch()
    with pytest.raises(InputError, match=r"empty/samples\.jsonl is empty: there is nothing to measure on"):
        open_sources([str(tmp_path / "empty")])
    with pytest.raises(InputError, match="names a set twice: moths"):
        open_sources([str(folder), str(folder)])
    write_samples([replace(sample("a", "val", 1), mask=None)], tmp_path / "bare")
    with pytest.raises(InputError, match=r"1 of 1 samples of bare have no mask to compare with, e\.g\. 'a'"):
        open_sources([str(tmp_path / "bare")])


def test_ids_that_occur_twice_are_refused(tmp_path, monkeypatch):
    layouts.duts(tmp_path)
    read = Duts.read
    monkeypatch.setattr(Duts, "read", lambda *args, **options: [*read(*args, **options)] * 2)
    with pytest.raises(InputError, match=r"2 ids of duts/test occur more than once, e\.g\. 'duts/"):
        open_sources([f"duts={tmp_path}"])


def test_a_picture_is_known_by_its_file_and_without_one_by_the_question(tmp_path):
    write_set(tmp_path / "moths", 2)
    (folder,) = open_sources([str(tmp_path / "moths")])
    assert [Path(name).name for name in folder.pictures] == ["moths_000.png", "moths_001.png"]
    (world,) = open_sources([WORLD])
    assert world.pictures == world.ids


def test_options_are_typed():
    found = [parse_option(text) for text in ("a=1", "b=0.5", "c=none", "d=x=y")]
    assert found == [("a", 1), ("b", 0.5), ("c", None), ("d", "x=y")]
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        parse_option("a")


def test_wrong_settings_are_named_all_at_once():
    with pytest.raises(ConfigError) as caught:
        EvaluationConfig.of({"data": [], "protocol": "both", "colour": 1, "batch_size": 0})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "data",
        "protocol",
        "batch_size",
        "colour",
    ]


def test_a_shard_is_a_part():
    assert Shard.of("1", "2") == Shard(rank=1, count=2)
    for rank, count in (("2", "2"), ("x", "2"), ("-1", "2")):
        with pytest.raises(ConfigError, match=r"Expected numbers 0 ≤ rank < count"):
            Shard.of(rank, count)
