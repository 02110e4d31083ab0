"""The metrics equal PySODMetrics (`native`) and the plainly written definitions of the paper's evaluation (`paper`)."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import py_sod_metrics as pysod
import pytest

from conceptseg.metrics import METRICS, inputs, score
from conceptseg.metrics.overlap import overlap_scores
from conceptseg.metrics.protocols import PAPER
from conceptseg.metrics.structure import s_measure
from conceptseg.metrics.weighted_f import weighted_f

from . import plain
from .pairs import KINDS, make_pair

_QUICK = range(12 * len(KINDS))
_ALL = range(2_000)


def _pysod_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    binary = {"with_dynamic": False, "with_adaptive": False, "with_binary": True}
    overlap = pysod.FmeasureV2(
        {"ber": pysod.BERHandler(**binary), "iou": pysod.IOUHandler(**binary), "mdice": pysod.DICEHandler(**binary)}
    )
    others = {"mae": pysod.MAE(), "wfm": pysod.WeightedFmeasure(), "sm": pysod.Smeasure()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # its means over empty quadrants
        for meter in (overlap, *others.values()):
            meter.step(prediction.astype(np.float64), truth, normalize=False)
        scores = {name: float(result["binary"]) for name, result in overlap.get_results().items()}
        return scores | {name: float(meter.get_results()[name]) for name, meter in others.items()}


def _small_paper_scores(prediction: np.ndarray, truth: np.ndarray, integer: bool = False) -> dict[str, float]:
    """The `paper` protocol without its resizing, so that thousands of small pairs can be compared."""
    protocol = replace(PAPER, square_px=None)
    pair = inputs.make_pair(prediction, truth, protocol, None, "exclude")
    scores = overlap_scores(pair, protocol)
    return scores | {"wfm": weighted_f(pair, protocol, integer=integer), "sm": s_measure(pair, protocol)}


def _check_native(indices: range) -> None:
    compared = 0
    for index in indices:
        kind, prediction, truth = make_pair(index)
        ours, theirs = score(prediction, truth), _pysod_scores(prediction, truth)
        assert all(np.isfinite(value) for value in ours.values()), (index, kind, ours)
        for name, value in theirs.items():
            if np.isnan(value):  # they divide nothing by nothing where the centroid is in the last row or column
                assert name == "sm", (index, kind, name)
                continue
            assert ours[name] == pytest.approx(value, abs=1e-6), (index, kind, name)
            compared += 1
    assert compared > 5.5 * len(indices)


def _check_paper(indices: range) -> None:
    for index in indices:
        kind, prediction, truth = make_pair(index)
        for integer in (False, True):
            ours = _small_paper_scores(prediction, truth, integer)
            theirs = plain.all_metrics(prediction, truth, integer)
            assert set(ours) == set(theirs) == set(METRICS)
            for name, value in theirs.items():
                assert ours[name] == pytest.approx(value, abs=1e-9), (index, kind, name, integer)


def test_native_equals_pysodmetrics() -> None:
    _check_native(_QUICK)


def test_paper_equals_plain_definitions() -> None:
    _check_paper(_QUICK)


@pytest.mark.slow
def test_native_equals_pysodmetrics_on_2000_pairs() -> None:
    _check_native(_ALL)


@pytest.mark.slow
def test_paper_equals_plain_definitions_on_2000_pairs() -> None:
    _check_paper(_ALL)


@pytest.mark.parametrize("integer", [False, True])
def test_paper_protocol_is_the_plain_definitions_on_a_600_px_square(integer: bool) -> None:
    rows, columns = np.mgrid[:300, :200]
    truth = (rows - 120) ** 2 + (columns - 90) ** 2 < 60**2
    prediction = (rows - 130) ** 2 + (columns - 70) ** 2 < 55**2
    stretched = [np.kron(mask, np.ones((2, 3), bool)) for mask in (prediction, truth)]
    ours = score(prediction, truth, protocol="paper", integer_wfm=integer)
    assert ours == pytest.approx(plain.all_metrics(*stretched, integer), abs=1e-9)


def test_large_masks_with_errors_near_and_far_equal_pysodmetrics() -> None:
    rows, columns = np.mgrid[:400, :500]
    truth = (rows - 200) ** 2 + (columns - 250) ** 2 < 40**2
    few_far = truth & (rows > 190) | ((rows - 30) ** 2 + (columns - 470) ** 2 < 10**2)
    many_far = (rows % 3 == 0) | (columns > 300)
    for prediction in (few_far, many_far):
        assert score(prediction, truth) == pytest.approx(
            _pysod_scores(prediction, truth) | {"miou": pytest.approx(score(prediction, truth)["miou"])}, abs=1e-9
        )
