"""Strata by confidence (Appendix B, iNaturalist): the classes that SAM 3 is least sure of are ultra-rare.

The list is written where the reader looks for it, `ultra_rare.txt` in the data set, with `strata/manifest.json`: every
class's mean confidence over its pictures, and hashes of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from conceptseg.data.benchmarks._common import Benchmark, group_items
from conceptseg.data.benchmarks.inaturalist import ULTRA_RARE_LIST
from conceptseg.data.building.progress import resume, write_json
from conceptseg.digests import file_sha256
from conceptseg.errors import InputError
from conceptseg.files import replacing
from conceptseg.images import load_image

__all__ = ["build_strata"]

_FOLDER = "strata"


def build_strata(
    benchmark: Benchmark,
    root: Path,
    confidence: Callable[[Image.Image, str], float],
    *,
    settings: Mapping[str, Any],
    rare_share: float = 0.01,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Find the classes of the lowest mean confidence.

    A run that was stopped goes on where it was.

    Args:
        benchmark: iNaturalist: its items' groups are the classes, one picture in ten of each, at least two.
        root: the data set; the list is written into it.
        confidence: how sure the model is, 0 to 1, that a picture shows what the words say.
        settings: what the model is; other settings ask anew.
        rare_share: the part of the classes that is ultra-rare, rounded up.
        progress: told how many pictures are done, of how many.

    Returns:
        The ultra-rare classes, least sure first.

    Raises:
        SampleError: the data set is not complete.
        InputError: the share is not between 0 and 1.
    """
    if not 0 < rare_share < 1:
        raise InputError(f"The share of ultra-rare classes must lie between 0 and 1, got {rare_share}.")
    items = {item.id: item for item in benchmark.complete_items(root)}

    def ask(item_id: str) -> dict[str, Any]:
        item = items[item_id]
        sureness = confidence(load_image(item.image), item.concept)
        return {"confidence": sureness, "image_sha256": file_sha256(str(item.image))}

    written = {"benchmark": benchmark.info.name, **settings}
    records: dict[str, dict[str, Any]] = {}
    for record in resume(root / _FOLDER, items, written, ask):
        records[record["id"]] = record
        progress(len(records), len(items))
    means = {
        name: fmean(records[item.id]["confidence"] for item in members)
        for name, members in group_items(items.values()).items()
    }
    rare = sorted(means, key=lambda name: (means[name], name))[: math.ceil(rare_share * len(means))]
    with replacing(root / ULTRA_RARE_LIST) as fresh:
        fresh.write_text("".join(f"{name}\n" for name in rare), encoding="utf-8")
    write_json(
        root / _FOLDER / "manifest.json",
        {"settings": {**written, "rare_share": rare_share}, "classes": means, "pictures": list(records.values())},
    )
    return rare
