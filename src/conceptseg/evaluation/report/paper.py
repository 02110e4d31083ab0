"""The numbers that the paper prints, kept apart from ours: read from `paper_numbers.json`, marked as the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["PAPER_NOTE", "paper_table"]

_FILE = Path(__file__).with_name("paper_numbers.json")


@cache
def _read() -> Mapping[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def paper_table(number: int) -> Mapping[str, Any]:
    """A table as printed: `title`, `columns`, and `rows` with their `values` in per cent, None where nothing stands.

    Args:
        number: 1, 2, 3, 4, 8, 9, 10, 11 or 12. Figure 7 has no numbers in print.
    """
    return _read()["tables"][str(number)]


PAPER_NOTE = "as printed in arXiv:2605.20385v1; its protocol and its full benchmarks (Tables 5 and 6)"
"""What stands beside every published number."""
