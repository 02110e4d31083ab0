"""Worlds as folders and as contact sheets."""

import numpy as np
import pytest

from conceptseg.data import load_sample, read_samples
from conceptseg.data.world import ConceptWorld, contact_sheet, write_world
from conceptseg.errors import InputError, SampleError


def test_a_written_world_reads_back_pixel_for_pixel(tmp_path):
    world = ConceptWorld(["living", "shadow"], seed=1, size_px=64, references=2)
    index = write_world(world, tmp_path / "out", 2)
    assert index.name == "samples.jsonl"
    read = [*read_samples(tmp_path / "out")]
    assert [sample.id for sample in read] == [world[i].id for i in range(4)]
    for place, sample in enumerate(read):
        made, loaded = world[place], load_sample(sample)
        assert (sample.concept, sample.rule, sample.answer) == (made.concept, made.rule, made.answer)
        assert np.array_equal(np.asarray(loaded.image), made.image) and np.array_equal(loaded.mask, made.mask)
        assert len(loaded.references) == 2
        assert np.array_equal(loaded.references[1].mask, made.references[1].mask)


def test_a_contact_sheet_has_a_row_a_sample_and_outlines_masks_in_red():
    world = ConceptWorld(["saliency", "breast_lesion"], seed=1, size_px=64, references=2)
    sheet = contact_sheet(world, 2)
    assert sheet.size == (4 * 68 + 4, 4 * (64 + 14 + 8))
    target = np.asarray(sheet)[18:82, 4 + 2 * 68 : 4 + 2 * 68 + 64]
    assert np.array_equal(target, world.sample("saliency", 0).image)
    outlined = np.asarray(sheet)[18:82, 4 + 3 * 68 : 4 + 3 * 68 + 64]
    changed = np.any(outlined != target, axis=-1)
    assert changed.any() and not changed[~world.sample("saliency", 0).mask].any()


@pytest.mark.parametrize("count", [0, -2])
def test_nothing_cannot_be_written_or_shown(tmp_path, count: int):
    world = ConceptWorld("living", size_px=64)
    with pytest.raises(InputError, match=f"got count={count}"):
        write_world(world, tmp_path, count)
    with pytest.raises(InputError, match=f"got count={count}"):
        contact_sheet(world, count)


def test_samples_that_are_there_stay(tmp_path):
    first, second = (ConceptWorld("living", split, size_px=64, references=1) for split in ("train", "seen_test"))
    write_world(first, tmp_path, 1)
    write_world(second, tmp_path, 1)
    write_world(first, tmp_path, 2)
    assert [sample.split for sample in read_samples(tmp_path)] == ["train", "seen_test", "train"]
    other = ConceptWorld("living", seed=1, size_px=64, references=1)
    with pytest.raises(SampleError, match=r"holds other samples of these ids.*--overwrite"):
        write_world(other, tmp_path, 1)
    write_world(other, tmp_path, 1, overwrite=True)
    assert len(read_samples(tmp_path)) == 1
