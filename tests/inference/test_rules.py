"""Rules as objects and files: kept to the bit, and read with suspicion."""

from __future__ import annotations

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.loading import LoadedReference, load_reference
from conceptseg.errors import InputError
from conceptseg.inference import rule_files
from conceptseg.inference.learning import score_of
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route
from conceptseg.inference.rules import Rule, RulePicture, interval_around, keep_picture

RNG = np.random.default_rng(0)


def picture_of(marked: bool = True, name: str = "a.jpg") -> RulePicture:
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:9, 3:14] = True
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    return RulePicture(image, mask if marked else None, (3.0, 4.0, 14.0, 9.0) if marked else None, (200, 300), name)


def test_what_is_not_judged_is_kept(rule: Rule, tmp_path: Path) -> None:
    ignore = np.zeros((20, 30), dtype=bool)
    ignore[12:] = True
    first = replace(rule.pictures[0], ignore=ignore)
    saved = replace(rule, pictures=(first, *rule.pictures[1:])).save(tmp_path / "a.rule")
    again = Rule.load(saved).pictures
    assert np.array_equal(again[0].ignore, ignore) and np.array_equal(again[0].mask, first.mask)
    assert again[2].ignore is None
    loaded = load_reference(again[0].as_reference())
    assert np.array_equal(loaded.ignore, ignore)
    small = keep_picture(loaded, 10)
    assert small.ignore is not None and small.ignore.shape == (10, 10) and small.ignore[6:].all()


def test_long_responses_are_kept_and_what_a_file_cannot_hold_is_told(rule: Rule, tmp_path: Path) -> None:
    long = replace(rule, begun="x" * 100_000, text="y" * 50_000)
    assert Rule.load(long.save(tmp_path / "long.rule")).begun == long.begun
    with pytest.raises(InputError, match="The rule cannot be kept in a file: notes"):
        replace(rule, notes=("n",) * 300).save(tmp_path / "a.rule")


def test_a_file_that_would_not_be_read_again_is_not_written(rule: Rule, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rule_files, "_LARGEST_FILE", 1000)
    with pytest.raises(InputError, match=r"too large to be kept: \d+ bytes, of 1000 at most"):
        rule.save(tmp_path / "a.rule")
    assert list(tmp_path.iterdir()) == []


def test_masks_are_judged_where_their_truth_is(rule: Rule) -> None:
    truth = rule.pictures[0]
    spilling = truth.mask.copy()
    spilling[12:] = True
    result = SegmentationResult("defect", mask=spilling)
    assert score_of(result, replace(truth, ignore=~truth.mask & spilling)) == 1.0 > score_of(result, truth)


@pytest.fixture
def rule() -> Rule:
    return Rule(
        concept="surface defect",
        text="Segment the scratch.",
        begun="<think>t</think>\n<rule>Segment the scratch.</rule>\n<check>[1, 2, 3, 4]</check>\n",
        pictures=(picture_of(), picture_of(False), picture_of(name="b – 2.png"), picture_of()),
        supports=(2, 0),
        scores=(0.125, None, 1 / 3, 0.7),
        expected_iou=0.1 + 0.2,
        interval=(0.1, 0.7),
        judged=3,
        suspects=(3,),
        route=Route.REASONED,
        presence_threshold=0.25,
        confidence_shift=-0.05,
        checkpoint="0123abcd",
        model="tiny",
        notes=("A note.",),
        calls=17,
    )


def test_a_rule_comes_back_to_the_bit(rule, tmp_path):
    again = Rule.load(rule.save(tmp_path / "defect.rule"))
    for field in fields(Rule):
        if field.name != "pictures":
            assert getattr(again, field.name) == getattr(rule, field.name), field.name
    for one, other in zip(rule.pictures, again.pictures, strict=True):
        assert one.image.tobytes() == other.image.tobytes() and one.image.size == other.image.size
        assert (one.box, one.size_hw, one.name) == (other.box, other.size_hw, other.name)
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or np.array_equal(one.mask, other.mask)


def test_the_same_rule_is_the_same_file(rule, tmp_path):
    one, other = (rule.save(tmp_path / name).read_bytes() for name in ("a.rule", "b.rule"))
    assert one == other


def test_supports_proxy_and_withheld(rule):
    assert rule.proxy == 2 and rule.withheld == (1, 3) and len(rule.references()) == 2
    assert replace(rule, supports=(0,)).proxy is None  # one mark is shown
    assert replace(rule, supports=(1, 0, 2)).proxy is None  # the first one is not marked


def test_what_a_rule_is_worth_is_said(rule):
    assert rule.describe() == "Expected IoU 0.30 (0.10…0.70) from 3 references it was not shown."
    assert "this is a guess; give 6 or more" in replace(rule, judged=2).describe()
    assert "Not verified" in replace(rule, expected_iou=None).describe()


def test_another_checkpoint_is_warned(rule):
    assert rule.applied("0123abcd").notes == ()
    assert "learned by another checkpoint (tiny, 0123abcd)" in rule.applied("ffff").notes[0]


def test_the_interval_of_one_score_is_wide_and_of_many_narrow():
    low, high = interval_around([0.5])
    assert low < 0.15 and high > 0.85
    assert interval_around([1.0])[0] < 0.5  # a single success proves little
    low, high = interval_around([0.5] * 100)
    assert 0.41 < low < 0.45 and 0.55 < high < 0.59


def test_a_picture_is_kept_no_larger_than_the_model_sees_it():
    mask = np.zeros((400, 60), dtype=bool)
    mask[100:200, 30:60] = True
    kept = keep_picture(LoadedReference(Image.new("RGB", (60, 400)), mask, (30.0, 100.0, 60.0, 200.0)), 100)
    assert kept.image.size == (60, 100) and kept.mask.shape == (100, 60) and kept.size_hw == (400, 60)
    assert kept.box == (30, 25, 60, 50) and kept.mask[25:50, 30:].all() and kept.mask.sum() == 25 * 30
    small = LoadedReference(Image.new("RGB", (50, 40)), None, None)
    assert keep_picture(small, 100).image is small.image


def test_a_mark_too_thin_for_the_model_is_not_lost():
    mask = np.zeros((1000, 1000), dtype=bool)
    mask[501, 501] = True
    kept = keep_picture(LoadedReference(Image.new("RGB", (1000, 1000)), mask, (501.0, 501.0, 502.0, 502.0)), 10)
    assert kept.mask.sum() == 1 and kept.mask[5, 5]


def rewritten(path: Path, **entries: bytes | None) -> Path:
    """A copy of a rule's file with some entries changed, added or (None) left out."""
    other = path.with_name("other.rule")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        content = {name: old.read(name) for name in old.namelist()} | entries
        for name, data in content.items():
            if data is not None:
                new.writestr(name, data)
    return other


def with_record(path: Path, **changes: object) -> Path:
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read("rule.json"))
    return rewritten(path, **{"rule.json": json.dumps(record | changes).encode()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pickle"}, "format"),
        ({"format_version": 2}, "format_version"),
        ({"surprise": 1}, "surprise"),
        ({"supports": [0, 9]}, "supports must be places of pictures"),
        ({"supports": [0, 0]}, "supports must be places of pictures"),
        ({"suspects": [-1]}, "suspects must be places of pictures"),
        ({"expected_iou": 1.5}, "expected_iou"),
        ({"route": "sideways"}, "route"),
        ({"concept": ""}, "concept"),
        ({"begun": "x" * 2_000_000}, "begun"),
        ({"checkpoint": "../../etc"}, "checkpoint"),
    ],
)
def test_a_record_that_is_not_ours_is_refused(rule, tmp_path, changes, message):
    with pytest.raises(InputError, match=f"(?s)is no rule of ours.*{message}"):
        Rule.load(with_record(rule.save(tmp_path / "a.rule"), **changes))


def test_a_box_beyond_its_picture_is_refused(rule, tmp_path):
    path = rule.save(tmp_path / "a.rule")
    with zipfile.ZipFile(path) as archive:
        pictures = json.loads(archive.read("rule.json"))["pictures"]
    pictures[2]["box"] = [3, 4, 1e6, 9]
    with pytest.raises(InputError, match="the box of picture 3 reaches beyond it"):
        Rule.load(with_record(path, pictures=pictures))


def test_what_the_concept_is_not_supports_nothing(rule, tmp_path):
    path = rule.save(tmp_path / "a.rule")
    with zipfile.ZipFile(path) as archive:
        pictures = json.loads(archive.read("rule.json"))["pictures"]
    for place, message in ((2, "supports must be places of pictures of the concept"), (1, "must be marked")):
        changed = [one | {"unlike": number == place} for number, one in enumerate(pictures)]
        with pytest.raises(InputError, match=message):
            Rule.load(with_record(path, pictures=changed))


def test_entries_that_lead_elsewhere_are_refused(rule, tmp_path):
    path = rule.save(tmp_path / "a.rule")
    with pytest.raises(InputError, match=r"not those that rule.json names, e.g. '../evil.png'"):
        Rule.load(rewritten(path, **{"../evil.png": b"x"}))
    with pytest.raises(InputError, match=r"pictures/0001.png"):
        Rule.load(rewritten(path, **{"pictures/0001.png": None}))


def test_a_picture_that_is_none_is_refused(rule, tmp_path):
    path = rule.save(tmp_path / "a.rule")
    with pytest.raises(InputError, match=r"0000.png is no PNG"):
        Rule.load(rewritten(path, **{"pictures/0000.png": b"GIF89a"}))
    with zipfile.ZipFile(path) as archive:
        cut = archive.read("pictures/0000.png")[:200]
    with pytest.raises(InputError, match="picture 1 cannot be read"):
        Rule.load(rewritten(path, **{"pictures/0000.png": cut}))
    with zipfile.ZipFile(path) as archive:
        larger = archive.read("pictures/0000.png")
    with pytest.raises(InputError, match="picture 1 cannot be read"):
        Rule.load(rewritten(path, **{"pictures/0000.mask.png": _png(5, 5), "pictures/0000.png": larger}))


def _png(width: int, height: int) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    Image.new("1", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_bomb_is_refused(rule, tmp_path, monkeypatch):
    path = rule.save(tmp_path / "a.rule")
    monkeypatch.setattr("conceptseg.inference.rule_files._LARGEST_INDEX", 100)
    with pytest.raises(InputError, match=r"rule.json is larger than 100 bytes"):
        Rule.load(path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="more than the limit"):  # few bytes, many pixels
        Rule.load(rewritten(path, **{"pictures/0000.png": _png(6_000, 6_000)}))


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "x.rule"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no rule, or is damaged"):
        Rule.load(path)


def test_a_damaged_file_is_refused(rule, tmp_path):
    path = rule.save(tmp_path / "a.rule")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no rule"):
        Rule.load(path)


def test_missing_files_and_folders_are_told(rule, tmp_path):
    with pytest.raises(InputError, match="There is no rule file"):
        Rule.load(tmp_path / "none.rule")
    with pytest.raises(InputError, match="name a file in a folder that exists"):
        rule.save(tmp_path / "none" / "a.rule")
    with pytest.raises(InputError, match="name a file in a folder that exists"):
        rule.save(tmp_path)
