"""`segment --engine ray` without Ray: what is refused, what travels, and what is told at the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pytest

from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.cli import cluster as command
from conceptseg.interfaces.cli import main
from conceptseg.interfaces.cluster import running, worker
from conceptseg.interfaces.cluster.reading import Done, read_unit
from tests.interfaces.fakes import FakeSegmenter
from tests.interfaces.server.fakes import mask_png, png


class FakeEngine(FakeSegmenter):
    """Knows what it was given, and fails on what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list = []
        self.fails_on = b""

    def stream(self, images, concept, references, **options):
        self.asked.append((list(images), concept, references, options))
        for image in images:
            if image == self.fails_on:
                raise RuntimeError("CUDA out of memory")
        options = {name: options[name] for name in ("batch_size", "route")}
        for image in images:
            yield from super().stream([Named(image)], concept, references, **options)


class Named(bytes):
    """Bytes with a name, as the other fake wants it."""

    name = "picture"


@pytest.fixture
def engine(monkeypatch) -> FakeEngine:
    """Ray, played by this process: units are read and answered one after the other."""
    engine = FakeEngine()

    @contextmanager
    def cluster(address, workers, *, wants_gpu):
        yield running.Pool(workers or 1, 0.0)

    def answer_units(units, asked, done, pool, *, column, block):
        assert isinstance(done, Done)
        one = worker.Worker(asked)
        for unit in units:
            rows = [vars(item) for item in read_unit(unit, done, column)]
            yield from one(pyarrow.Table.from_pylist(rows, worker.BLOCK)).to_pylist()

    monkeypatch.setattr(running, "cluster", cluster)
    monkeypatch.setattr(running, "answer_units", answer_units)
    monkeypatch.setattr("conceptseg.interfaces.cli.console.load_segmenter", lambda args: engine)
    return engine


@pytest.fixture
def desk(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / f"in/{number}.png").write_bytes(png(8 + number, 6))
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a_mask.png").write_bytes(mask_png())
    return tmp_path


ASK = ["segment", "in", "--concept", "leaf", "--out", "out", "--engine", "ray"]


def test_the_question_travels_whole(desk, engine) -> None:
    more = ["--route", "reason", "--samples", "2", "--batch-size", "5", "--mask-from", "instances"]
    assert main([*ASK, "--ref", "a.png@a_mask.png", "--unlike", "a.png@1,1,5,5", *more]) == 0
    images, concept, (reference, unlike), options = engine.asked[0]
    assert unlike.unlike and (unlike.image, unlike.box) == (png(), (1, 1, 5, 5))
    assert concept == "leaf" and len(images) == 3
    assert (reference.image, reference.mask) == (png(), mask_png())
    assert options == {
        "batch_size": 5,
        "route": "reason",
        "mask_from": "instances",
        "score_threshold": 0.5,
        "samples": 2,
        "seed": 0,
    }


def test_everything_is_told_at_the_end(desk, engine, capsys) -> None:
    (desk / "in/3.png").write_bytes(b"no picture")
    (desk / "in/notes.txt").touch()
    assert main(ASK) == 1
    said = capsys.readouterr()
    assert "4 images: 3 masks (3 direct, 0 reasoned), 1 failed" in said.out
    assert "left out, 1 no pictures: notes.txt" in said.err
    assert f"failed: {desk / 'in/3.png'}: " in said.err
    (desk / "in/3.png").write_bytes(png())
    assert main(ASK) == 0
    said = capsys.readouterr()
    assert "4 images: 1 masks (1 direct, 0 reasoned), 3 done before" in said.out
    assert "3 pictures were done before, told by their names" in said.err
    assert not list((desk / "out/failed").glob("*"))
    assert main([*ASK, "--overwrite"]) == 0
    assert "4 images: 4 masks" in capsys.readouterr().out


def test_a_batch_that_fails_costs_only_the_picture_it_fails_on(desk, engine, capsys) -> None:
    engine.fails_on = png(9, 6)
    assert main(ASK) == 1
    said = capsys.readouterr()
    assert "2 masks" in said.out and "1.png: RuntimeError: CUDA out of memory" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["segment", "in", "--concept", "x", "--out", "o", "--engine", "ray", "--two-pass"], "--two-pass is for one"),
        (["segment", "in", "--concept", "x", "--out", "o", "--engine", "ray", "--workers", "0"], "at least 1, got 0"),
        (["segment", "none", "--concept", "x", "--out", "o", "--engine", "ray"], "'none' holds no pictures"),
        (["segment", "in", "--concept", "x", "--out", "a.png", "--engine", "ray"], "a.png is a file"),
        (["segment", "s3://b", "--concept", "x"], "s3://b need --engine ray"),
        (["segment", "in", "--concept", "x", "--workers", "2"], "--workers need --engine ray"),
        (["segment", "in", "--concept", "x", "--out", "memory://x"], "memory://x need --engine ray"),
        ([*ASK, "--ref", "in/0.png@a_mask.png"], "size"),
    ],
)
def test_wrong_requests_are_told(desk, engine, words, told, capsys) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not engine.asked


def test_results_of_other_engines_and_requests_are_kept_apart(desk, engine, capsys) -> None:
    assert main(ASK) == 0
    assert main([*ASK[:3], "cat", *ASK[4:]]) == 2
    assert "another request (it differs in: concept)" in capsys.readouterr().err
    assert main(ASK[:-2]) == 2
    assert "out holds results of `conceptseg segment --engine ray`" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(desk, monkeypatch, capsys) -> None:
    monkeypatch.setattr(ConceptSegmenter, "from_pretrained", lambda *words, **more: pytest.fail("read the model"))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(ASK) == 2
    assert "pip install 'conceptseg[ray]'" in capsys.readouterr().err


def test_parts_are_small_where_there_is_little_to_do() -> None:
    from conceptseg.interfaces.cluster.sources import Unit

    def pictures(count: int) -> list[Unit]:
        return [Unit("pictures", tuple(map(str, range(64))))] * count

    assert command._block_size(pictures(9), 2, 8) == 64
    assert command._block_size(pictures(2), 2, 8) == 8
    assert command._block_size([Unit("pictures", ("a", "b", "c"))], 2, 8) == 1
    assert command._block_size([Unit("shard", ("a",))], 2, 8) == 64
