"""A benchmark's selection as a folder of samples, with a manifest of hashes by which two copies can be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from conceptseg.data.benchmarks._common import Benchmark
from conceptseg.data.building.progress import write_json
from conceptseg.data.reading import read_samples
from conceptseg.data.writing import write_samples
from conceptseg.digests import file_sha256

__all__ = ["build_selection"]


def build_selection(
    benchmark: Benchmark,
    root: Path,
    out: Path,
    *,
    split: str | None = None,
    references: int | None = None,
    seed: int = 0,
) -> Path:
    """Write a split as `conceptseg.data.read_samples` reads it, references and drawn masks included.

    What is selected is the reader's doing: 100 pictures a class of COCO, ESDIs without kinds 3 and 5, MIG's eight
    tasks. The same data, split, references and seed give the same bytes; a run that was stopped may be repeated.

    Args:
        benchmark: any.
        root: the data set.
        out: the folder to write.
        split: as for `Benchmark.read`, and so are `references` and `seed`.
        references: see `Benchmark.read`.
        seed: see `Benchmark.read`.

    Returns:
        The manifest's path: `manifest.json` in `out`, with the SHA-256 of every sample's picture and mask, and one
        digest over all of them.

    Raises:
        SampleError: the data set is not complete.
    """
    samples = benchmark.read(root, split, references=references, seed=seed)
    write_samples(samples, out)
    entries = [_entry(sample.id, sample.image, sample.mask) for sample in read_samples(out)]
    whole = hashlib.sha256("".join(map(str, entries)).encode()).hexdigest()
    settings = {
        "benchmark": benchmark.info.name,
        "split": split or benchmark.info.splits[-1],
        "references": references,
        "seed": seed,
    }
    return write_json(out / "manifest.json", {"settings": settings, "sha256": whole, "samples": entries})


def _entry(sample_id: str, image: Any, mask: Any) -> dict[str, Any]:
    return {
        "id": sample_id,
        "image_sha256": file_sha256(image),
        "mask_sha256": None if mask is None else file_sha256(mask),
    }
