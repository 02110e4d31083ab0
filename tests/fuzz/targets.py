"""The targets by name: what kind of input, how it is made, what must hold of it, and how many of 10⁵ it gets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import pixels, places, words

__all__ = ["TARGETS", "Tally", "Target", "run"]


_TOGETHER = 10
"""How many seeds that follow each other make one example: hypothesis takes longer to draw one than most checks."""


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[..., bool]
    """Whether an input was usable; raises what is not ours, or where a promise is broken. May want a folder."""
    count: int


@dataclass
class Tally:
    """How many inputs a target was given, and how many of them were usable."""

    given: int = 0
    usable: int = 0


TARGETS: tuple[Target, ...] = (
    Target("masks, arrays", st.tuples(pixels.mask_arrays(), pixels.LABELS, pixels.LABELS), pixels.check_array, 800),
    Target("masks as people store them", pixels.SEEDS, pixels.check_stored, 9_000),
    Target("picture and mask files", pixels.SEEDS, pixels.check_file, 9_000),
    Target("truths and predictions", st.tuples(pixels.mask_arrays(), pixels.mask_arrays() | st.none(), pixels.LABELS),
           pixels.check_score, 600),
    Target("response texts", pixels.SEEDS, words.check_response, 28_000),
    Target("concepts", st.text(), words.check_text, 3_000),
    Target("YAML", words.TEXTS, words.check_yaml, 2_500),
    Target("recipes and overrides", st.tuples(words.STAGES, words.TEXTS, words.OVERRIDES), words.check_recipe, 200),
    Target("recipes of any values", st.tuples(words.STAGES, st.dictionaries(st.sampled_from(words.WORDS), words.VALUES)
           .map(json.dumps), st.just([])), words.check_recipe, 200),
    Target("samples.jsonl, near", pixels.SEEDS.map(words.index_line), words.check_index, 5_000),
    Target("samples.jsonl, far", st.lists(words.ROWS.map(lambda row: json.dumps(row).encode())
           | st.binary(max_size=20), max_size=3).map(b"\n".join), words.check_index, 300),
    Target("references in Python", words.HANDED, words.check_handed, 2_000),
    Target("words of the command line", words.ARGUMENTS, words.check_argument, 1_000),
    Target("ledgers of results", pixels.SEEDS, places.check_ledger, 1_000),
    Target("rows of evaluations", pixels.SEEDS, places.check_run, 4_000),
    Target("checkpoints' states", pixels.SEEDS, places.check_checkpoint, 2_000),
    Target("rule files, bytes", pixels.SEEDS, places.check_rule, 500),
    Target("rule files, words", pixels.SEEDS, places.check_rule_words, 2_000),
    Target("COCO files", pixels.SEEDS, places.check_coco, 4_000),
    Target("run lengths and brushes", pixels.SEEDS, places.check_run_lengths, 16_000),
    Target("folders", pixels.SEEDS, places.check_tree, 1_000),
    Target("names of results", pixels.SEEDS, places.check_name, 200),
    Target("requests to the server", pixels.SEEDS, places.check_body, 9_000),
)  # fmt: skip


def run(target: Target, count: int, number: int, folder: Path) -> Tally:
    """Give a target so many inputs.

    Args:
        target: the target.
        count: of inputs; targets of few possible inputs may end earlier.
        number: the seed; the same number, the same inputs.
        folder: to write to.

    Raises:
        Exception: what the target's check raised, of the smallest input that was found to raise it.
    """
    tally = Tally()
    batch = _TOGETHER if target.inputs is pixels.SEEDS else 1
    needs_folder = len(inspect.signature(target.check).parameters) == 2

    @seed(number)
    @settings(
        max_examples=-(-count // batch),
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def one(value: Any) -> None:
        for one_of_them in range(value, value + batch) if batch > 1 else (value,):
            tally.given += 1
            tally.usable += target.check(one_of_them, folder) if needs_folder else target.check(one_of_them)

    one()
    return tally
