"""Appendix J, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from conceptseg.errors import InputError
from conceptseg.evaluation.decomposition import (
    answer_is_right,
    calibrate,
    decompose,
    judge,
    rule_is_right,
)


def row(iou: float = 0.9, check: float | None = 0.9, rule: str | None = "Segment the red one.", **more: Any) -> dict:
    return {
        "iou": iou,
        "check_iou": check,
        "box_iou": iou,
        "rule": rule,
        "true_rule": "Segment the red one.",
        "answer": "moth",
        "true_answer": "moth",
        "response": "<think>…",
        "error": None,
    } | more


@pytest.mark.parametrize(
    ("rule", "truth", "right"),
    [
        ("segment the  red one", "Segment the red one.", True),
        ("Segment the blue one.", "Segment the red one.", False),
        (None, "Segment the red one.", False),
        ("", "Segment the red one.", False),
    ],
)
def test_a_rule_is_compared_word_by_word(rule, truth, right):
    assert rule_is_right(row(rule=rule, true_rule=truth)) is right


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("the Moths", "moth", True),
        ("a red moth", "red moth", True),
        ("glass", "glas", False),
        ("moth", "butterfly", False),
        (None, "moth", False),
        ("moth", None, None),
    ],
)
def test_an_answer_is_compared_without_article_and_plural(answer, truth, right):
    assert answer_is_right(row(answer=answer, true_answer=truth)) is right


def test_without_a_true_rule_the_answer_decides():
    assert rule_is_right(row(rule="anything", true_rule=None, answer="moth")) is True
    assert rule_is_right(row(true_rule=None, answer="bee")) is False
    assert rule_is_right(row(true_rule=None, true_answer=None)) is None


def test_half_an_overlap_is_right():
    verdict = judge(row(iou=0.5, check=0.4999, box_iou=None))
    assert (verdict.rule, verdict.check, verdict.box, verdict.mask) == (True, False, False, True)


def test_the_eight_ways_are_counted():
    rows = [
        row(),
        row(),
        row(iou=0.1),
        row(rule="wrong"),
        row(iou=0.0, check=0.0, rule=None),
        row(check=None),  # nothing withheld
        row(true_rule=None, true_answer=None),  # no truth to compare with
        row(response=None),  # taken by the shortcut
        row(error="no picture", response=None),
    ]
    found = decompose(rows)
    assert found.left_out == 2 and len(found.verdicts) == 7
    assert found.counts() == {
        (True, True, True): 2,
        (True, True, False): 1,
        (False, True, True): 1,
        (False, False, False): 1,
    }
    table = found.table("nano")
    assert len(table.rows) == 8
    first = dict(zip([column.title for column in table.columns], table.rows[0].cells, strict=True))
    assert first == {"rule": "right", "check": "right", "mask": "right", "n": 2, "share": 40.0, "box right": 100.0}
    shortcut = next(row for row in table.rows if row.label.startswith("shortcut"))
    assert list(shortcut.cells) == ["wrong", "wrong", "right", 0.0, 0.0, None]
    assert "5 samples; 2 more" in table.remarks[1] and "2 no response" in table.remarks[1]


def test_a_run_without_responses_has_nothing_to_decompose():
    found = decompose([row(response=None)])
    assert found.verdicts == () and found.calibration is None
    assert found.table("sam3").rows[0].cells[3:] == [0.0, None, None]


def test_calibration_by_hand():
    found = calibrate([0.05, 0.05, 0.55, 0.95, 1.0], [0.0, 0.3, 0.5, 0.9, 0.6])
    assert found.bins == (
        (2, pytest.approx(0.05), pytest.approx(0.15)),
        (1, pytest.approx(0.55), pytest.approx(0.5)),
        (2, pytest.approx(0.975), pytest.approx(0.75)),
    )
    assert found.error == pytest.approx((2 * 0.1 + 0.05 + 2 * 0.225) / 5)
    assert found.auroc == 1.0  # both wrong masks have the lowest checks
    assert found.spearman == pytest.approx(8.5 / 95**0.5)  # ranks 1.5 1.5 3 4 5 and 1 2 3 5 4


def test_calibration_where_nothing_varies():
    found = calibrate([0.0, 0.0], [0.9, 0.1])
    assert found.pearson is None and found.spearman is None and found.auroc == 0.5
    assert calibrate([0.3], [0.8]).auroc is None
    with pytest.raises(InputError, match="at least one, got 0 and 0"):
        calibrate([], [])
