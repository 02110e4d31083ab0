"""Means, errors and data-set level IoU over rows, whatever the order and the sharding."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.metrics import METRICS, Accumulator, image_row


def row(value: float, intersection: int = 1, union: int = 2, **labels: str) -> dict[str, float | int | str]:
    return {**labels, **dict.fromkeys(METRICS, value), "intersection": intersection, "union": union}


def accumulate(rows: list[dict[str, float | int | str]], keys: tuple[str, ...] = ("task",)) -> Accumulator:
    accumulator = Accumulator(keys)
    for each in rows:
        accumulator.add(each)
    return accumulator


def test_mean_and_standard_error_by_hand() -> None:
    accumulator = accumulate([row(value) for value in (0.0, 0.5, 1.0)])
    assert len(accumulator) == 3
    assert accumulator.mean() == dict.fromkeys(METRICS, 0.5)
    assert accumulator.standard_error()["wfm"] == pytest.approx(0.5 / math.sqrt(3))


def test_standard_error_of_one_image_is_not_known() -> None:
    assert math.isnan(accumulate([row(0.3)]).standard_error()["mae"])


def test_ciou_sums_pixels_and_giou_averages_images() -> None:
    accumulator = accumulate([row(0.1, 90, 100), row(0.2, 0, 900), row(0.3, 0, 0)])
    assert accumulator.ciou() == pytest.approx(90 / 1000)
    assert accumulator.giou() == pytest.approx((0.9 + 0.0 + 1.0) / 3, abs=1e-6)


def test_order_and_sharding_do_not_change_the_last_bit() -> None:
    rng = random.Random(0)
    rows = [row(rng.random() * 10 ** rng.randint(-9, 0), rng.randint(0, 9), 10, task="shadow") for _ in range(200)]
    whole = accumulate(rows)
    rng.shuffle(rows)
    sharded = accumulate(rows[:70])
    sharded.merge(accumulate(rows[70:]))
    assert sharded.mean() == whole.mean()
    assert sharded.standard_error() == whole.standard_error()
    assert (sharded.giou(), sharded.ciou(), len(sharded)) == (whole.giou(), whole.ciou(), 200)
    assert whole.mean()["sm"] == pytest.approx(np.mean([each["sm"] for each in rows]), rel=1e-12)


def test_parts_by_task_group_and_level() -> None:
    rows = [row(0.2, task="shadow"), row(0.4, task="shadow"), row(0.9, task="transparency"), row(1.0, task="living")]
    accumulator = accumulate(rows)
    assert {name: part.mean()["iou"] for name, part in accumulator.by("level").items()} == {"CD": 0.5, "CI": 1.0}
    assert list(accumulator.by("group")) == ["Optical Property", "Diverse Classes"]
    assert accumulator.by("task")["shadow"].mean()["iou"] == pytest.approx(0.3)


def test_macro_means_weigh_parts_alike() -> None:
    rows = [row(0.2, task="shadow"), row(0.4, task="shadow"), row(0.9, task="transparency"), row(1.0, task="living")]
    accumulator = accumulate(rows)
    assert accumulator.macro_mean()["iou"] == pytest.approx((0.3 + 0.9 + 1.0) / 3)
    assert accumulator.macro_mean("group", "task")["iou"] == pytest.approx((0.6 + 1.0) / 2)
    assert accumulator.by("level")["CD"].macro_mean()["iou"] == pytest.approx(0.6)


def test_iou_of_every_class_of_a_data_set() -> None:
    rows = [row(0, 3, 4, concept="road"), row(0, 1, 4, concept="road"), row(0, 1, 5, concept="sky")]
    parts = accumulate(rows, keys=("concept",)).by("concept")
    assert {name: part.ciou() for name, part in parts.items()} == pytest.approx({"road": 0.5, "sky": 0.2})


def test_rows_survive_json() -> None:
    made = image_row(np.array([[1, 0, 1]]), np.array([[1, 1, 1]]), task="saliency")
    read_back = json.loads(json.dumps(made))
    assert accumulate([read_back]).mean() == {name: made[name] for name in METRICS}


@pytest.mark.parametrize("value", [None, "0.5", float("nan"), float("inf")])
def test_a_row_without_numbers_is_refused_and_not_counted(value: object) -> None:
    accumulator = Accumulator()
    with pytest.raises(InputError, match=r"finite number as 'sm', got "):
        accumulator.add({**row(0.5), "sm": value})
    assert len(accumulator) == 0


def test_nothing_has_no_mean() -> None:
    for question in (Accumulator().mean, Accumulator().standard_error, Accumulator().ciou, Accumulator().macro_mean):
        with pytest.raises(InputError, match="nothing to average"):
            question()


def test_unknown_parts_are_refused() -> None:
    accumulator = accumulate([row(0.5, task="shadow")])
    with pytest.raises(InputError, match="collected by task, not by 'camera'"):
        accumulator.by("camera")
    with pytest.raises(InputError, match="same keys to be merged"):
        accumulator.merge(Accumulator(("task", "id")))
