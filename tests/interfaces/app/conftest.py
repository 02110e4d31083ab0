"""A tiny model, a folder of uploads, and pictures to upload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.options import ServerOptions
from tests.training.tiny import square_sample, tiny_model


@pytest.fixture(scope="session")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=6))


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def uploads(folder) -> Uploads:
    return Uploads([folder], ServerOptions(max_body_bytes=1 << 20, max_pixels=200_000))


@pytest.fixture
def put(folder) -> Callable[..., dict[str, Any]]:
    """Uploads a picture, and gives its entry on a board."""

    def put(name: str = "a.png", size_wh: tuple[int, int] = (40, 30), **entry: Any) -> dict[str, Any]:
        Image.new("RGB", size_wh, "teal").save(folder / name)
        return {"path": str(folder / name), "name": name, "marks": [], **entry}

    return put


@pytest.fixture
def squares(folder) -> list[dict[str, Any]]:
    """Four references with masks, as entries of a board."""
    entries = []
    for number in range(4):
        sample = square_sample(number, references=0)
        image, mask = folder / f"square-{number}.png", folder / f"square-{number}.mask.png"
        Image.fromarray(np.asarray(sample.image)).save(image)
        Image.fromarray(np.asarray(sample.mask)).save(mask)
        entries.append({"path": str(image), "name": image.name, "mask": str(mask), "marks": []})
    return entries
