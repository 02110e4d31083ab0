from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import load_sample, read_samples
from conceptseg.errors import SampleError
from conceptseg.taxonomy import level_of

REAL_SETS = sorted((Path(__file__).parents[3] / "shared" / "data").glob("*/*/samples.jsonl"))


def row(**changes: object) -> dict:
    """A right row; a change to None drops the key."""
    full = {"id": "s/1", "task": "saliency", "concept": "cat", "image": "a.png", "mask": "m.png"} | changes
    return {key: value for key, value in full.items() if value is not None}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of samples from rows (objects, or lines as they are)."""
    inside = tmp_path / "set"
    inside.mkdir()
    for name in ("a.png", "b.png", "m.png"):
        Image.new("L", (6, 4), 255).save(inside / name)
    Image.new("L", (6, 4)).save(tmp_path / "outside.png")

    def write(*rows: dict | str) -> Path:
        lines = (line if isinstance(line, str) else json.dumps(line) for line in rows)
        (inside / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return inside

    return write


def test_a_full_row(folder: Callable[..., Path]):
    references = [{"image": "b.png", "mask": "m.png"}, {"image": "b.png", "box": [1, 2, 3, 4]}, {"image": "b.png"}]
    words = {"level": "CD", "rule": "r", "answer": "w", "group": "g", "split": "val"}
    path = folder(row(**words, references=references, licence="CC0", seed=3))
    (sample,) = read_samples(path)
    assert (sample.id, sample.task, sample.concept) == ("s/1", "saliency", "cat")
    assert (sample.rule, sample.answer, sample.group, sample.split) == ("r", "w", "g", "val")
    assert (sample.image, sample.mask) == ((path / "a.png").resolve(), (path / "m.png").resolve())
    assert [reference.box for reference in sample.references] == [None, (1, 2, 3, 4), None]
    assert [reference.mask for reference in sample.references] == [(path / "m.png").resolve(), None, None]
    assert sample.extra == {"licence": "CC0", "seed": 3}


def test_the_least_row(folder: Callable[..., Path]):
    (sample,) = read_samples(folder(row(mask=None)))
    assert (sample.mask, sample.references, sample.rule, sample.split, sample.extra) == (None, (), None, None, {})


def test_null_means_absent(folder: Callable[..., Path]):
    line = json.dumps(row() | dict.fromkeys(["mask", "references", "rule", "group", "split", "level", "answer"]))
    (sample,) = read_samples(folder(line))
    assert (sample.mask, sample.references, sample.rule) == (None, (), None)


def test_folder_and_file_are_the_same_and_order_is_kept(folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    path = folder(row(id="b"), "", row(id="a"), "  ")
    assert [sample.id for sample in read_samples(path)] == ["b", "a"]
    assert [sample.id for sample in read_samples(str(path / "samples.jsonl"))] == ["b", "a"]
    monkeypatch.chdir(path)
    assert read_samples("samples.jsonl")[0].image.is_absolute()


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(folder: Callable[..., Path]):
    path = folder(row())
    index = path / "samples.jsonl"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes() + b"\r\n\r\n")
    assert len(read_samples(path)) == 1


def test_split_selects_but_checks_all(folder: Callable[..., Path]):
    rows = [row(id="1", split="train"), row(id="2", split="val"), row(id="3")]
    assert [sample.id for sample in read_samples(folder(*rows), split="val")] == ["2"]
    with pytest.raises(SampleError, match="line 4"):
        read_samples(folder(*rows, row(id="4", split="train", task="x")), split="val")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "expected a JSON object, got list"),
        (row(image=None, id=None), "missing id, image"),
        (row(id=5), "'id' must be text, got 5"),
        (json.dumps(row() | {"task": None}), "'task' must be text, got None"),
        (row(rule=["a"]), "'rule' must be text"),
        (row(id=" "), "id must not be blank"),
        (row(task="unknown"), "Unknown task 'unknown'"),
        (row(level="CI"), "level 'CI' disagrees with task 'saliency', which is of level CD"),
        (row(image="absent.png"), "there is no file 'absent.png'"),
        (row(image="."), "there is no file '.'"),
        (row(image=7), "a path must be text, got 7"),
        (row(image=""), "a path must be text"),
        (row(image="a\0.png"), "a path must be text"),
        (row(image="a" * 5000), "the path 'a+' cannot be one: .*too long"),
        (row(image="\ud800.png"), "the path .* cannot be one: .*surrogates"),
        (row(mask="../outside.png"), "'../outside.png' leaves the folder"),
        (row(mask="x/../../outside.png"), "leaves the folder"),
        (row(mask="/etc/passwd"), "'/etc/passwd' leaves the folder"),
        (row(references={"image": "a.png"}), "'references' must be a list, got dict"),
        (row(references=["a.png"]), "a reference must be an object"),
        (row(references=[{"mask": "m.png"}]), "a reference must be an object with image"),
        (row(references=[{"image": "a.png", "msak": "m.png"}]), "'msak'"),
        (row(references=[{"image": "a.png", "box": [1, 2, 3]}]), r"list of four numbers .*, got \[1, 2, 3\]"),
        (row(references=[{"image": "a.png", "box": "1234"}]), "list of four numbers .*, got '1234'"),
        (row(references=[{"image": "a.png", "box": [1, 2, True, 4]}]), "list of four numbers"),
        (row(references=[{"image": "a.png", "box": [1, 2, 3, float("inf")]}]), "all finite"),
        (row(references=[{"image": "a.png", "box": [1, 2, 10**400, 3]}]), "A box must be four numbers"),
        (row(references=[{"image": "a.png", "box": [4, 2, 1, 3]}]), "x1 < x2"),
        (row(references=[{"image": "../outside.png"}]), "leaves the folder"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(folder: Callable[..., Path], line: dict | str, message: str):
    with pytest.raises(SampleError, match=rf"samples\.jsonl, line 2: .*(?:{message})"):
        read_samples(folder(row(id="right"), line))


def test_an_absolute_path_is_refused_even_inside(folder: Callable[..., Path]):
    path = folder(row())
    with pytest.raises(SampleError, match="leaves the folder; paths must be relative to it"):
        read_samples(folder(row(image=str(path / "a.png"))))


def test_a_line_that_is_not_utf_8(folder: Callable[..., Path]):
    path = folder(row())
    (path / "samples.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(SampleError, match="line 1: not JSON"):
        read_samples(path)


def test_a_link_in_the_folder_may_lead_elsewhere(folder: Callable[..., Path]):
    """The usual set-up of clusters: pictures on another disk."""
    path = folder(row(image="link.png"), row(id="s/2", image="disk/outside.png"))
    (path / "link.png").symlink_to(path.parent / "outside.png")
    (path / "disk").symlink_to(path.parent, target_is_directory=True)
    (path.parent / "outside.png").touch()
    assert [str(sample.image) for sample in read_samples(path)] == [
        str(path / n) for n in ("link.png", "disk/outside.png")
    ]


def test_a_link_that_leads_nowhere_is_told(folder: Callable[..., Path]):
    path = folder(row(image="link.png"))
    (path / "link.png").symlink_to(path.parent / "never")
    with pytest.raises(SampleError, match=r"line 1: 'link\.png' is a link that leads nowhere"):
        read_samples(path)


def test_a_folder_may_itself_be_reached_by_a_link(folder: Callable[..., Path], tmp_path: Path):
    (tmp_path / "alias").symlink_to(folder(row()), target_is_directory=True)
    assert len(read_samples(tmp_path / "alias")) == 1


def test_ids_are_unique(folder: Callable[..., Path]):
    with pytest.raises(SampleError, match="line 3: the id 's/1' occurs twice"):
        read_samples(folder(row(), row(id="other"), row()))


def test_all_mistakes_are_reported_at_once_up_to_twenty(folder: Callable[..., Path]):
    with pytest.raises(SampleError, match=r"^3 wrong row\(s\)") as caught:
        read_samples(folder(row(task="x"), row(), row(image=None), "?"))
    assert [f"line {number}:" in str(caught.value) for number in (1, 2, 3, 4)] == [True, False, True, True]
    with pytest.raises(SampleError, match=r"^50 wrong row\(s\)") as caught:
        read_samples(folder(*["?"] * 50))
    assert str(caught.value).count("not JSON") == 20
    assert str(caught.value).endswith("… and 30 more.")


def test_no_index(tmp_path: Path):
    with pytest.raises(SampleError, match=r"absent: No such file.*Expected a folder with samples\.jsonl"):
        read_samples(tmp_path / "absent")
    with pytest.raises(SampleError, match=r"samples\.jsonl: No such file"):
        read_samples(tmp_path)


@pytest.mark.skipif(not REAL_SETS, reason="the real photographs are not on this machine")
def test_every_real_set_is_read_unless_its_rows_contradict_themselves():
    for index in REAL_SETS:
        rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
        if any(row.get("level") not in (None, level_of(row["task"])) for row in rows):
            with pytest.raises(SampleError, match="level"):
                read_samples(index.parent)
            continue
        samples = read_samples(index.parent)
        assert len(samples) == index.read_bytes().count(b"\n") > 0
        referring = next((sample for sample in samples if sample.references), samples[0])
        loaded = load_sample(referring)
        assert loaded.mask is not None and loaded.mask.shape == np.asarray(loaded.image).shape[:2]
        assert len(loaded.references) == len(referring.references)


def test_a_key_that_stands_twice_is_no_choice_of_ours(folder: Callable[..., Path]):
    twice = '{"id": "s/1", "task": "saliency", "concept": "cat", "concept": "dog", "image": "a.png"}'
    with pytest.raises(SampleError, match="line 1: not JSON: the key 'concept' occurs twice"):
        read_samples(folder(twice))
