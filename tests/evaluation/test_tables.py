"""Tables as text: who measured what is seen in every form."""

from __future__ import annotations

import csv
import io

import pytest

from conceptseg.evaluation.tables import Column, Origin, Row, Table

COLUMNS = [Column("F_β^ω", "CI"), Column("mIoU", "CI"), Column("n", decimals=0)]
ROWS = [
    Row("SAM 3", Origin.PAPER, [89.55, None, 3.0], "(a) one_block", "printed"),
    Row("nano | mine", Origin.OURS, [50.0, "12.0±0.1", 4.0], "(b)", "100 % of it"),
]


@pytest.fixture
def table() -> Table:
    return Table("table_99", "A title & more", COLUMNS, ROWS, ["A remark."])


def test_markdown(table):
    assert table.to_markdown().splitlines() == [
        "## A title & more",
        "",
        "| method | source | CI: F_β^ω | CI: mIoU | n |",
        "| --- | --- | --: | --: | --: |",
        "| **(a) one_block** |  |  |  |  |",
        "| SAM 3 | paper [1] | 89.5 | – | 3 |",
        "| **(b)** |  |  |  |  |",
        "| nano \\| mine | ours [2] | 50.0 | 12.0±0.1 | 4 |",
        "",
        "[1] printed  ",
        "[2] 100 % of it  ",
        "A remark.",
    ]


def test_csv_keeps_all_digits_and_the_source(table):
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert rows[0] == {
        "section": "(a) one_block",
        "method": "SAM 3",
        "source": "paper",
        "note": "printed",
        "CI: F_β^ω": "89.55",
        "CI: mIoU": "",
        "n": "3.0",
    }
    assert rows[1]["source"] == "ours" and rows[1]["CI: mIoU"] == "12.0±0.1"


def test_latex_escapes_and_sets_ours_apart(table):
    text = table.to_latex()
    assert r"\caption{A title \& more}" in text
    assert r" &  & \multicolumn{2}{c}{CI} & \multicolumn{1}{c}{} \\" in text
    assert r"Method & Source & $F_\beta^\omega$ & mIoU & n \\" in text
    assert r"\multicolumn{5}{l}{\textbf{(a) one\_block}} \\" in text
    assert r"SAM 3 & paper [1] & 89.5 & – & 3 \\" in text
    assert r"\textit{nano | mine} & \textit{ours [2]} & \textit{50.0} & \textit{12.0$\pm$0.1} & \textit{4} \\" in text
    assert r"[2] 100 \% of it" in text and text.count(r"\begin") == text.count(r"\end") == 2


def test_a_rounded_zero_has_no_sign():
    assert [Column("gain", decimals=2).show(value) for value in (-0.001, 0.0, -0.29, None)] == [
        "0.00",
        "0.00",
        "-0.29",
        "–",
    ]
