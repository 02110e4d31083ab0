"""MGrounding-630k: questions over several pictures for training.

Data set: MGrounding-630k, Li et al., "Migician", ACL 2025. The paper takes 9,102 pictures of the common-object part and
5,854 of the difference part, without publishing which.
Source: https://huggingface.co/datasets/Michael4933/MGrounding-630k
Licence: Apache-2.0 for the annotations; the pictures' own terms (COCO, ImageNet, Object365 and others).
Layout: Common_Object/common_train_70k.json, Difference/diff_train_70k.json, and the pictures in folders beside them. A
row has `id`, `images` (paths from "./MGrounding-630k/" on) and `conversations`: a question, and an answer with a box
`<|box_start|>(x1,y1),(x2,y2)<|box_end|>` in thousandths of the picture that is asked about.
Protocol: training only; the first question of a row. Masks are made of the boxes by `conceptseg data build` (masks/);
without them the samples carry the box alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan, missing_files
from conceptseg.data.benchmarks._files import inside, read_json
from conceptseg.data.benchmarks._grounding import kept_items, mask_for, references_before, target_index
from conceptseg.errors import SampleError

__all__ = ["MGrounding"]

_PARTS = {
    "Common_Object/common_train_70k.json": "common_consistency",
    "Difference/diff_train_70k.json": "static_difference",
}
_BOX = re.compile(r"<\|box_start\|>\((\d+),\s*(\d+)\),\s*\((\d+),\s*(\d+)\)<\|box_end\|>")
_MARKS = re.compile(r"<image>|<\|object_ref_(?:start|end)\|>")


class MGrounding(Benchmark):
    """Training questions on what pictures share and in what they differ."""

    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="mgrounding",
        title="MGrounding-630k",
        source="https://huggingface.co/datasets/Michael4933/MGrounding-630k",
        licence="annotations Apache-2.0, pictures by their own terms",
        layout=f"{', '.join(_PARTS)}, pictures beside them, and masks/<id>.png once they have been built",
        protocol="training only; the first question of a row, the other pictures as unmarked references",
        fetch=(
            "download Common_Object and Difference from https://huggingface.co/datasets/Michael4933/MGrounding-630k "
            "and unpack the archives inside"
        ),
        splits=("train",),
        expected={("train", "common_consistency"): 9_102, ("train", "static_difference"): 5_854},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a row that has a box."""
        items: list[Item] = []
        problems: list[str] = []
        for name, task in _PARTS.items():
            try:
                rows = read_json(root / name)
            except SampleError as error:
                problems.append(str(error))
                continue
            for number, row in enumerate(rows):
                try:
                    items += _items(root, row, task, number)
                except (SampleError, KeyError, TypeError, IndexError) as error:
                    problems.append(f"{root / name}, row {number}: {error!r}")
        return Scan(items, [*problems, *missing_files(items)])

    def kept(self, root: Path, items: Sequence[Item]) -> Sequence[Item]:
        """Those whose mask is good enough."""
        return kept_items(root, items)


def _items(root: Path, row: dict[str, Any], task: str, number: int) -> list[Item]:
    """The row's first question; none where the answer has no box."""
    question, answer = (row["conversations"][turn]["value"] for turn in (0, 1))
    box = _BOX.search(answer)
    if box is None:
        return []
    images = [inside(root, name, anchors=("MGrounding-630k",)) for name in row["images"]]
    target = target_index(f"{question} {answer}", len(images))
    item_id = f"{task}/{number:06}"
    item = Item(
        id=item_id,
        task=task,
        concept=" ".join(_MARKS.sub("", question).split()),
        image=images[target],
        mask=mask_for(root, item_id),
        group=task,
        references=references_before(images, target),
        extra={"box_fractions": [int(value) / 1000 for value in box.groups()]},
    )
    return [item]
