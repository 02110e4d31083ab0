"""Folders and files as a run, a tool or a stranger may have left them: nothing is written outside, nothing believed."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data.benchmarks.coco import Coco
from conceptseg.data.folders import pair_folders
from conceptseg.data.pictures import find_pictures
from conceptseg.errors import ConceptSegError
from conceptseg.evaluation.records import mask_path, read_config, read_kept
from conceptseg.images import load_mask
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.rule_files import RulePixels, RuleRecord, read_rule_file, write_rule_file
from conceptseg.interfaces.cli.ledger import Ledger
from conceptseg.interfaces.exports.results import read_results
from conceptseg.interfaces.server.bodies import parse, raw_references
from conceptseg.interfaces.server.refusals import Refusal
from conceptseg.interfaces.server.schemas import SegmentRequest
from conceptseg.ledger import read_object
from conceptseg.models.config import ConceptSegConfig
from conceptseg.shapes import decode_run_lengths
from conceptseg.shapes.brush_reading import decode_brush
from conceptseg.training.standing import read_state, require_whole

ODD = (
    None, True, 0, 1, -1, 3, 2**70, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", "a", "a.png", "../../escaped",
    "/escaped", "..", ".", "a\0", "\ud800", "x" * 300, "é", "a\nb", [], {}, [[]], [1, 2, 3, 4], [4, 3, 2, 1], {"a": 1},
)  # fmt: skip


def altered(value: Any, rng: random.Random, share: float | None = None) -> Any:
    """JSON with a few of its parts exchanged, taken away or doubled, or as it is."""
    share = rng.choice([0.0, 0.01, 0.03, 0.1]) if share is None else share
    if rng.random() < share:
        return rng.choice(ODD)
    if isinstance(value, dict):
        kept = {key: altered(inner, rng, share) for key, inner in value.items() if rng.random() >= share / 2}
        return kept | ({"more": rng.choice(ODD)} if rng.random() < share else {})
    if isinstance(value, list):
        times = [0 if rng.random() < share / 2 else 2 if rng.random() < share / 2 else 1 for _ in value]
        return [altered(inner, rng, share) for inner, count in zip(value, times, strict=True) for _ in range(count)]
    return value


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes as they are, or with some changed, cut off, a BOM before them, or line ends of another system."""
    content = bytearray(data)
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    if rng.random() < 0.1:
        del content[rng.randint(0, len(content)) :]
    if rng.random() < 0.05:
        content[:0] = b"\xef\xbb\xbf"
    return bytes(content.replace(b"\n", b"\r\n") if rng.random() < 0.05 else content)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _fresh(folder: Path, name: str) -> Path:
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def check_ledger(seed: int, folder: Path) -> bool:
    """Results of `segment` that were tampered with: gone on from, or refused; nothing outside is touched."""
    rng = random.Random(seed)
    home = _fresh(folder, "ledger")
    (home / "escaped.mask.png").write_bytes(b"mine")
    image, out = home / "a.png", home / "in" / "out"
    image.write_bytes(b"picture")
    out.mkdir(parents=True)
    row = {"source": str(image), "stem": "a", "error": None, "file": {"stamp": "1", "digest": "d"}, "area": 3}
    rows = [altered(row, rng) for _ in range(rng.randint(0, 3))]
    (out / "results.jsonl").write_bytes(damaged(b"\n".join(map(_json, rows)) + b"\n", rng))
    (out / "request.json").write_bytes(damaged(_json(altered({"concept": "cat"}, rng)), rng))
    before = {name for name in _files(home) if not name.startswith("in/out")}
    try:
        with Ledger(out, {"concept": "cat"}, overwrite=rng.random() < 0.2) as ledger:
            pending = ledger.pending([image])
            assert all(isinstance(line, str) for line in ledger.told())
            for path, stem in ledger.begin(pending).items():
                ledger.append(path, stem, {"area": 1, "error": None})
        assert json.loads((out / "results.jsonl").read_bytes().splitlines()[-1]) or not pending
        read_results([out])
    except ConceptSegError as error:
        assert str(error)
        return False
    finally:
        assert {name for name in _files(home) if not name.startswith("in/out")} == before
        assert (home / "escaped.mask.png").read_bytes() == b"mine"
    return True


ROW = {
    "data": "moths", "index": 0, "id": "a", "task": "saliency", "group": None, "concept": "moth", "error": None,
    "mae": 0.1, "ber": 0.1, "wfm": 0.1, "sm": 0.1, "miou": 0.1, "iou": 0.1, "mdice": 0.1, "intersection": 1, "union": 2,
    "route": "direct", "response": None, "rule": None, "answer": None, "true_rule": None, "true_answer": None,
    "check_iou": None, "box_iou": None, "presence": 0.5, "threshold": 0.2, "timings": {"encode": 0.1}, "notes": [],
    "state": {"digest": "d"}, "revision": 0,
}  # fmt: skip
RUN = {
    "config": {"data": ["moths"]},
    "checkpoint": {"sha256": {"home": "ab"}},
    "software": {},
    "questions": {"moths": 1},
}


def check_run(seed: int, folder: Path) -> bool:
    """An evaluation run that was tampered with: rows that may be relied on, or none."""
    rng = random.Random(seed)
    out = _fresh(folder, "run")
    rows = [altered(ROW, rng) for _ in range(rng.randint(1, 4))]
    (out / "rows-000.jsonl").write_bytes(damaged(b"\n".join(map(_json, rows)) + b"\n", rng))
    (out / "run.json").write_bytes(damaged(_json(altered(RUN, rng)), rng))
    kept = read_kept(out)
    for row in kept.rows:
        assert all(row["index"] >= 0 and isinstance(row[name], (int, float)) for name in ("iou", "miou", "union"))
        assert mask_path(out, row).resolve().is_relative_to((out / "masks").resolve())
    try:
        read_config(out)
    except ConceptSegError as error:
        assert str(error)
        return False
    return bool(kept.rows)


STATE = {"config": {"stage": "warmup"}, "step": 3, "files": {"ctm.safetensors": 3, "mllm/config.json": 2}}


def check_checkpoint(seed: int, folder: Path) -> bool:
    """A checkpoint's state and configuration, as edited by anybody."""
    rng = random.Random(seed)
    out = _fresh(folder, "checkpoint")
    (out / "ctm.safetensors").write_bytes(b"abc")
    state, config = out / "training_state.json", out / "config.json"
    state.write_bytes(damaged(_json(altered(STATE, rng)), rng))
    config.write_bytes(damaged(_json(altered(_config(), rng)), rng))
    (out / "trainer_state.json").write_bytes(damaged(b'{"global_step": 3}', rng))
    done = 0
    for read in (
        lambda: require_whole(out, read_state(state)),
        lambda: ConceptSegConfig.read(out),
        lambda: read_object(config),
    ):
        try:
            read()
            done += 1
        except ConceptSegError as error:
            assert str(error)
    return done > 1


def _config() -> Any:
    from conceptseg.models.checkpoints import bundled_folder

    path = bundled_folder() / "config.json"
    return json.loads(path.read_bytes()) if path.exists() else {"format_version": 1}


def check_rule(seed: int, folder: Path) -> bool:
    """A rule's file with some bytes or words changed."""
    rng = random.Random(seed)
    path = folder / "x.rule"
    record = RuleRecord.model_validate(_RULE)
    pixels = [RulePixels(Image.new("RGB", (4, 3)), np.ones((3, 4), bool)), RulePixels(Image.new("RGB", (2, 2)), None)]
    write_rule_file(record, pixels, path)
    path.write_bytes(damaged(path.read_bytes(), rng))
    try:
        told, found = read_rule_file(path)
    except ConceptSegError as error:
        assert str(error)
        return False
    assert len(told.pictures) == len(found)
    return True


_RULE = {
    "conceptseg": "1", "concept": "cat", "text": "t", "begun": "", "pictures": [
        {"size_hw": [3, 4], "has_mask": True, "box": [0, 0, 2, 2]}, {"size_hw": [2, 2], "has_mask": False}],
    "supports": [0], "expected_iou": 0.5, "interval": [0.4, 0.6], "judged": 1, "suspects": [], "route": "direct",
    "presence_threshold": 0.2, "confidence_shift": 0, "checkpoint": "ab", "model": "nano", "notes": [], "calls": 1,
}  # fmt: skip


def check_rule_words(seed: int, folder: Path) -> bool:
    """A rule's own words, changed by anybody, in a file that is whole."""
    rng = random.Random(seed)
    path = folder / "y.rule"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rule.json", damaged(_json(altered(_RULE, rng)), rng) if rng.random() < 0.9 else b"null")
        for name in ("0000.png", "0000.mask.png", "0001.png", *(["../../escaped.png"] if rng.random() < 0.1 else [])):
            archive.writestr(f"pictures/{name}", _PNGS[name != "0001.png"])
    try:
        told, found = read_rule_file(path)
    except ConceptSegError as error:
        assert str(error)
        return False
    assert len(told.pictures) == len(found) and told.concept
    return True


def _png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", size, 1).save(buffer, "PNG")
    return buffer.getvalue()


_PNGS = (_png((2, 2)), _png((4, 3)))
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8},
               {"id": 2, "file_name": "b.png", "height": 6, "width": 8}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]], "bbox": [1, 1, 4, 3]},
        {"id": 2, "image_id": 2, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [10, 8, 30]},
         "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 2, "segmentation": {"size": [6, 8], "counts": "T1d06"}},
    ],
}  # fmt: skip


def check_coco(seed: int, folder: Path) -> bool:
    """An annotation file, edited by anybody: samples whose masks can be drawn, or errors of ours."""
    rng = random.Random(seed)
    home = folder / "coco"
    home.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        (home / name).touch()
    (home / "annotations.json").write_bytes(damaged(_json(altered(COCO, rng)), rng))
    done = 0
    try:
        for sample in Coco(missing=rng.choice(["refuse", "skip"])).read(home, references=0):
            assert Path(str(sample.image)).resolve().is_relative_to(home.resolve())
            try:
                done += load_mask(sample.mask).ndim == 2
            except ConceptSegError as error:
                assert str(error)
    except ConceptSegError as error:
        assert str(error)
        return False
    return done > 0


def check_run_lengths(seed: int) -> bool:
    """Run lengths and brushes of any content: a mask of the size asked for, or an error of ours."""
    rng = random.Random(seed)
    size = (rng.randint(1, 6), rng.randint(1, 6))
    total = size[0] * size[1]
    counts: Any = [
        rng.choice([0, 1, total, rng.randint(0, total), -1, 2**70, 1.5, True, None, "3"])
        for _ in range(rng.randint(0, 4))
    ]
    if rng.random() < 0.5:
        cut = rng.randint(0, total)
        counts = rng.choice(
            [[cut, total - cut], [total], [0, total], "".join(map(chr, rng.choices(range(40, 130), k=4))), "\ud800é"]
        )
    brush = list(rng.randbytes(rng.randint(0, 40)))
    done = 0
    for decode in (lambda: decode_run_lengths(counts, size), lambda: decode_brush(brush, size)):
        try:
            mask = decode()
        except ConceptSegError as error:
            assert str(error)
            continue
        assert mask.shape == size and mask.dtype == bool
        done += 1
    return done > 0


NAMES = ("a.png", "b.jpg", "A.PNG", "a_mask.png", "é.png", "e\u0301.png", ".a.png", "x.heic", "no",
         "t.txt", "a b.png", "-1.png", "results.jsonl", "request.json", "a.overlay.jpg", "a.mask.png", "\udcff.png",
         "n" * 240 + ".png", "c.fit", "d")  # fmt: skip


def check_tree(seed: int, folder: Path) -> bool:
    """Folders of odd names, links in circles and links to nowhere: every file is a picture or is told of."""
    rng = random.Random(seed)
    home = _fresh(folder, "tree")
    places = [home / "images", home / "masks"]
    for place in places:
        place.mkdir()
    for _ in range(rng.randint(1, 10)):
        path = rng.choice(places) / rng.choice(NAMES)
        if not path.exists() and not path.is_symlink():
            _make(path, places, rng)
    found = find_pictures(places[0])
    assert len({picture.inside for picture in found.found}) == len(found.found)
    there = sum(not path.is_dir() for path in places[0].iterdir())
    told = sum(found.left_out.counts.values())
    assert told + len(found.found) >= there, "a file was passed over without a word"
    try:
        paired = pair_folders(places[0], places[1], task="other_cd", concept="x")
    except ConceptSegError as error:
        assert str(error)
        return False
    return len(paired.samples) > 0


def _make(path: Path, places: list[Path], rng: random.Random) -> None:
    kind = rng.choice(["picture", "picture", "picture", "text", "link", "loop", "nowhere", "folder"])
    if kind == "picture":
        path.write_bytes(_PNGS[0])
    elif kind == "text":
        path.write_bytes(rng.choice([b"", b"words", b"\0" * 20]))
    elif kind == "folder":
        path.mkdir()
        (path / "a.png").write_bytes(_PNGS[0])
        places.append(path) if len(places) < 5 else None
    else:
        path.symlink_to(rng.choice(places) if kind == "loop" else path.parent / ("a.png" if kind == "link" else "gone"))


def check_name(seed: int, folder: Path) -> bool:
    """Results of any name saved to one folder: nothing outside, and none replaces another's."""
    rng = random.Random(seed)
    home = _fresh(folder, "names")
    out = home / "out"
    mask = np.zeros((2, 3), bool)
    names = [
        rng.choice(["", "../", "/x/", "b/"]) + rng.choice([*NAMES, "", "..", "a\nb.png", "CON.png"]) for _ in range(3)
    ]
    results = [
        SegmentationResult("cat", name, Image.new("RGB", (3, 2), (place, 0, 0)), mask, origin=None)
        for place, name in enumerate(names)
    ]
    saved = set()
    for result in results:
        try:
            path = result.save(out)
            assert path.parent == out
            saved.add(path.name)
        except ConceptSegError as error:
            assert str(error)
    assert {path.name for path in home.iterdir()} <= {"out"}
    assert len(saved) == len(results)
    return True


BODY = {
    "image": "aGk=",
    "concept": "cat",
    "references": [{"image": "aGk=", "box": [0, 0, 2, 2]}, {"image": "data:;base64,aGk=", "mask": "aGk="}],
    "route": "auto",
}


def check_body(seed: int) -> bool:
    """The body of a request to the server."""
    rng = random.Random(seed)
    try:
        told = parse(SegmentRequest, damaged(_json(altered(BODY, rng)), rng))
        raw_references(told.references)
    except (ConceptSegError, Refusal) as error:
        assert str(error)
        return False
    return True
