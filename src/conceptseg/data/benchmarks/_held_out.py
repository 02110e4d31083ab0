"""A test split for data sets that ship none: by a list of names in the root, otherwise a fixed selection by hash."""

from __future__ import annotations

from pathlib import Path

from conceptseg.data.benchmarks._common import Item, Scan
from conceptseg.data.benchmarks._files import read_lines
from conceptseg.data.selection import take_by_hash

__all__ = ["TEST_LIST", "split_off"]

TEST_LIST = "test.txt"
"""Names of the test pictures without ending, one a line."""


def split_off(everything: Scan, root: Path, split: str, share: float) -> Scan:
    """The items of `train` or `test`.

    Args:
        everything: All items of the data set.
        root: Where the list may lie.
        split: "train" or "test".
        share: The part of the pictures that is the test where there is no list; rounded down.
    """
    by_name = {_name(item): item for item in everything.items}
    if (root / TEST_LIST).is_file():
        test = set(read_lines(root / TEST_LIST))
        unknown = [f"{root / TEST_LIST} names {name!r}, which is not there" for name in sorted(test - by_name.keys())]
    else:
        test, unknown = take_by_hash(by_name, int(len(by_name) * share)), []
    items = [item for name, item in by_name.items() if (name in test) == (split == "test")]
    return Scan(items, [*everything.problems, *unknown])


def _name(item: Item) -> str:
    return item.id.rsplit("/", 1)[-1]
