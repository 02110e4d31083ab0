"""Clips: their frames, their references by number, and the overlays as a clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import ImageError, InputError, MissingExtraError
from conceptseg.interfaces.cli import main, segment
from conceptseg.interfaces.video import open_clip, write_clip
from tests.interfaces.fakes import FakeSegmenter


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five frames of 16 × 32 pixels, lighter and lighter."""
    pictures = []
    for number in range(5):
        pictures.append(tmp_path / f"made-{number}.png")
        Image.new("RGB", (32, 16), (40 * number, 40 * number, 40 * number)).save(pictures[-1])
    return write_clip(pictures, tmp_path / "my clip.mp4", 12.5)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSegmenter:
    segmenter = FakeSegmenter()
    monkeypatch.setattr(segment, "load_segmenter", lambda args: segmenter)
    return segmenter


def shade(path: Path) -> float:
    return float(np.asarray(Image.open(path).convert("L")).mean())


def test_frames_come_out_in_order_and_size(clip: Path, tmp_path: Path) -> None:
    opened = open_clip(clip, tmp_path / "frames")
    assert len(opened.frames) == 5 and opened.rate == 12.5 and opened.damage is None
    assert [round(shade(frame) / 40) for frame in opened.frames] == [0, 1, 2, 3, 4]
    assert {Image.open(frame).size for frame in opened.frames} == {(32, 16)}
    assert not list(tmp_path.glob(".*"))


def test_frames_are_written_once(clip: Path, tmp_path: Path) -> None:
    first = open_clip(clip, tmp_path / "frames").frames[0].stat().st_mtime_ns
    assert open_clip(clip, tmp_path / "frames").frames[0].stat().st_mtime_ns == first
    clip.write_bytes(clip.read_bytes() + b"more")
    with pytest.raises(InputError, match="holds frames of another clip"):
        open_clip(clip, tmp_path / "frames")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="is in the way of the clip's frames"):
        open_clip(clip, tmp_path / "other")


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    Image.new("RGB", (31, 15)).save(tmp_path / "odd.png")
    with av.open(str(write_clip([tmp_path / "odd.png"], tmp_path / "odd.mp4", 25.0))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (32, 16)


@pytest.mark.parametrize("content", [b"", b"no clip at all"])
def test_what_is_no_clip_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.mp4 cannot be read as a clip"):
        open_clip(tmp_path / "x.mp4", tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_the_extra_is_named_where_it_is_missing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'conceptseg\[video\]'"):
        open_clip(clip, tmp_path / "frames")


def test_segment_takes_a_clip(clip: Path, tmp_path: Path, fake: FakeSegmenter, capsys: pytest.CaptureFixture) -> None:
    Image.fromarray(np.full((16, 32), 255, np.uint8)).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    words = ["segment", str(clip), "--concept", "cat", "--ref", f"1@{tmp_path / 'mask.png'}", "--out", str(out)]
    assert main(words) == 0
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [Path(row["source"]).name for row in rows] == [f"{number:06}.png" for number in range(5)]
    assert [row["notes"][-1][0] for row in rows] == list("01233")
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    assert "overlays as a clip" in capsys.readouterr().out
    assert main(words) == 0
    assert "5 done before" in capsys.readouterr().out
    (out / "000003.mask.png").unlink()
    assert main(words) == 0
    assert "5 images: 5 masks" in capsys.readouterr().out  # frames lean on those before them
    assert main(["export", str(out), "--to", "coco"]) == 0


def test_wrong_requests_are_told(
    clip: Path, tmp_path: Path, fake: FakeSegmenter, capsys: pytest.CaptureFixture
) -> None:
    start = ["segment", str(clip), "--concept", "cat", "--out", str(tmp_path / "out")]
    for more, told in {
        ("--ref", "9@1,1,5,5"): "my clip.mp4 has frames 0 to 4, none of number 9",
        ("--two-pass",): "--two-pass, --rule, --samples and --mask-from are not for clips",
        ("--samples", "2"): "--two-pass, --rule, --samples and --mask-from are not for clips",
    }.items():
        assert main([*start, *more]) == 2
        assert told in capsys.readouterr().err
    assert main(["segment", str(clip), str(tmp_path), *start[2:]]) == 2
    assert "is a clip: give it alone" in capsys.readouterr().err


def test_a_clip_that_is_cut_off_keeps_its_frames_and_says_so(
    tmp_path: Path, fake: FakeSegmenter, capsys: pytest.CaptureFixture
) -> None:
    pictures = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(pictures):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
    path = write_clip(pictures, tmp_path / "whole.mkv", 25.0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert main(["segment", str(path), "--concept", "cat", "--out", str(tmp_path / "out")]) == 1
    frames = len(list((tmp_path / "out-frames").glob("*.png")))
    assert 0 < frames < 27
    assert f"whole.mkv is damaged after frame {frames - 1}: " in capsys.readouterr().err
