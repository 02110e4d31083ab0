"""MIG-Bench: ten kinds of questions over several pictures, of which the paper takes eight.

Data set: MIG-Bench, Li et al., "Migician", ACL 2025.
Source: https://huggingface.co/datasets/Michael4933/MIG-Bench
Licence: Apache-2.0, as stated there.
Layout: MIG_data.json and images/<kind>/*. A row has `task`, `images` (paths from "./MIG-Bench/" on), `question`, and
`answer`: a box x1, y1, x2, y2 as fractions of the picture that is asked about.
Protocol: the row's own question; the other pictures are the references, unmarked; the picture asked about is the one
that the question mentions last, else the last. The paper turned the boxes into masks with SAM 3 and dropped poor ones
by hand (Appendix B); that selection is in the released `all_meta.json`, for which there is a reader of its own. Here
the masks are those that `conceptseg data build` has made in masks/; without them the samples carry the box alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.benchmarks._common import MALFORMED, Benchmark, BenchmarkInfo, Item, Scan, missing_files
from conceptseg.data.benchmarks._files import inside, read_json
from conceptseg.data.benchmarks._grounding import kept_items, mask_for, references_before, target_index
from conceptseg.errors import SampleError

__all__ = ["MIG_TASKS", "MigBench"]

MIG_TASKS = {
    "common_object": "common_consistency",
    "correspondence": "correspondence_consistency",
    "refer_grounding": "reference_consistency",
    "diff": "static_difference",
    "view_diff": "view_difference",
    "reasoning": "logical_rationality",
    "multi_view": "cross_view",
    "object_tracking": "cross_frame",
}
"""The benchmark's name of a kind → the paper's task (Appendix B). Group grounding and region locating take no part."""

_COUNTS = (477, 84, 93, 187, 85, 89, 224, 543)


class MigBench(Benchmark):
    """Reasoning over several pictures, in eight tasks."""

    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="mig_bench",
        title="MIG-Bench",
        source="https://huggingface.co/datasets/Michael4933/MIG-Bench",
        licence="Apache-2.0",
        layout="MIG_data.json, images/<kind>/*, and masks/<id>.png once they have been built",
        protocol="the row's question; the other pictures as unmarked references; masks built from the boxes",
        fetch="download MIG_data.json and images.zip from https://huggingface.co/datasets/Michael4933/MIG-Bench",
        splits=("test",),
        expected={("test", task): count for task, count in zip(MIG_TASKS.values(), _COUNTS, strict=True)},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a row of the eight kinds."""
        index = root / "MIG_data.json"
        items: list[Item] = []
        problems: list[str] = []
        try:
            rows = read_json(index)
        except SampleError as error:
            return Scan([], [str(error)])
        for number, row in enumerate(rows):
            try:
                items += [_item(root, row, number)] if row["task"] in MIG_TASKS else []
            except MALFORMED as error:
                problems.append(f"{index}, row {number}: {error!r}")
        return Scan(items, [*problems, *missing_files(items)])

    def kept(self, root: Path, items: Sequence[Item]) -> Sequence[Item]:
        """Those whose mask is good enough."""
        return kept_items(root, items)


def _item(root: Path, row: dict[str, Any], number: int) -> Item:
    images = [inside(root, name, anchors=("MIG-Bench",)) for name in row["images"]]
    target = target_index(row["question"], len(images))
    item_id = f"{row['task']}/{number:04}"
    return Item(
        id=item_id,
        task=MIG_TASKS[row["task"]],
        concept=row["question"].strip(),
        image=images[target],
        mask=mask_for(root, item_id),
        group=row["task"],
        references=references_before(images, target),
        extra={"box_fractions": [float(value) for value in row["answer"]]},
    )
