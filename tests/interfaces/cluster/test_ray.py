"""A local Ray with two workers and nano: killed at half and begun again, every picture is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from conceptseg.shapes import decode_run_lengths

pytest.importorskip("ray")

PICTURES = 24
PATIENT = {"RAY_worker_niceness": "0", "RAY_agent_register_timeout_ms": "900000"}
"""For Ray on a machine that is busy with other things."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(PICTURES):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(
            folder / ("deep" if number % 2 else ".") / "photo.png" if number < 2 else folder / f"{number}.png"
        )
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def command(photos: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "conceptseg.interfaces.cli", "segment", str(photos), "--concept", "leaf"]
    return [
        *start,
        "--out",
        str(photos.parent / "out"),
        "--engine",
        "ray",
        "--workers",
        "2",
        "--batch-size",
        "2",
        *more,
    ]


def rows(out: Path, folder: str = "parts") -> Iterator[dict]:
    for part in sorted((out / folder).glob("*.parquet")):
        yield from pyarrow.parquet.read_table(part).to_pylist()


@pytest.mark.slow
def test_killed_at_half_and_begun_again_every_picture_is_there_once(photos: Path) -> None:
    out, environment = photos.parent / "out", {**os.environ, **PATIENT}
    first = subprocess.Popen(command(photos), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while len(list((out / "parts").glob("*.parquet"))) < PICTURES // 4:  # of two pictures each
            assert first.poll() is None, first.stdout.read().decode()
            time.sleep(0.05)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    half = [row["name"] for row in rows(out)]
    assert PICTURES // 2 <= len(half) < PICTURES
    again = subprocess.run(command(photos), env=environment, capture_output=True, text=True)
    assert again.returncode == 1, again.stderr
    done_before = int(again.stdout.split(" done before")[0].rpartition(" ")[2])
    assert len(half) <= done_before < PICTURES
    assert f"{PICTURES + 1} images: {PICTURES - done_before} masks" in again.stdout
    assert "broken.jpg: " in again.stderr and "were done before" in again.stderr
    found = list(rows(out))
    assert sorted(row["name"] for row in found) == sorted(map(str, photos.rglob("*.png")))
    assert [row["name"] for row in rows(out, "failed")] == [str(photos / "broken.jpg")]
    assert all(decode_run_lengths(row["counts"], row["size_hw"]).sum() == row["area"] for row in found)
    other = subprocess.run([*command(photos), "--concept", "stone"], env=environment, capture_output=True, text=True)
    assert other.returncode == 2 and "another request (it differs in: concept)" in other.stderr
