"""What the numbers are on inputs whose score is known by hand, and what goes in and is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.metrics import METRICS, failed_row, image_row, score
from conceptseg.metrics.protocols import get_protocol


def disc(radius_px: int, side_px: int = 600, center: tuple[int, int] | None = None) -> np.ndarray:
    rows, columns = np.mgrid[:side_px, :side_px]
    row, column = center or (side_px // 2, side_px // 2)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius_px**2


def test_four_pixels_by_hand() -> None:
    truth = np.array([[1, 1, 0, 0]], bool)
    prediction = np.array([[1, 0, 1, 0]], bool)
    scores = score(prediction, truth)
    assert scores["mae"] == 0.5
    assert scores["ber"] == 0.5  # half of the foreground hit, half of the background passed
    assert scores["iou"] == pytest.approx(1 / 3)
    assert scores["miou"] == pytest.approx(1 / 3)  # the background: one right of three in either
    assert scores["mdice"] == 0.5


def test_names_and_order_are_those_of_the_table() -> None:
    names = ["mae", "ber", "wfm", "sm", "miou", "iou", "mdice"]
    assert list(score(disc(3, 20), disc(3, 20))) == list(METRICS) == names


@pytest.mark.parametrize("protocol", ["native", "paper"])
def test_a_perfect_large_mask_is_perfect(protocol: str) -> None:
    scores = score(disc(150), disc(150), protocol=protocol)
    # the paper's S-measure mixes variances over N with a covariance over N - 1 and exceeds 1 by about 1 / N
    assert scores == pytest.approx({name: float(metric.higher_is_better) for name, metric in METRICS.items()}, abs=1e-5)


@pytest.mark.parametrize("protocol", ["native", "paper"])
@pytest.mark.parametrize("truth_is", ["empty", "full", "one pixel", "left column", "right column", "bottom row"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (9, 6)])
def test_every_input_gives_a_number(protocol: str, truth_is: str, size_hw: tuple[int, int]) -> None:
    truth = np.zeros(size_hw, bool)
    part = {
        "full": np.s_[:],
        "one pixel": np.s_[0, 0],
        "left column": np.s_[:, 0],
        "right column": np.s_[:, -1],
        "bottom row": np.s_[-1],
    }
    if truth_is != "empty":
        truth[part[truth_is]] = True
    for prediction in (truth, ~truth, np.zeros_like(truth), np.ones_like(truth), np.full(size_hw, 0.4)):
        assert all(math.isfinite(value) for value in score(prediction, truth, protocol=protocol).values())


def test_the_last_column_alone_scores_as_what_it_is() -> None:
    truth = np.zeros((20, 20), bool)
    truth[:, -1] = True
    assert score(truth, truth)["sm"] == pytest.approx(1.0)
    assert score(np.zeros_like(truth), truth)["sm"] == pytest.approx(0.5 * 0.95)  # the background's half is right


def test_empty_and_full_truths_follow_the_protocols() -> None:
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    assert score(empty, empty) == {"mae": 0, "ber": 0.5, "wfm": 0, "sm": 1, "miou": 0.5, "iou": 0, "mdice": 0}
    in_paper = score(empty, empty, protocol="paper")
    assert (in_paper["iou"], in_paper["mdice"], in_paper["miou"], in_paper["wfm"]) == (1, 1, 1, 0)
    assert score(full, full)["sm"] == score(full, full, protocol="paper")["sm"] == 1
    assert score(empty, full)["sm"] == 0
    assert score(np.full((8, 8), 0.25), empty)["sm"] == 0.75


def test_integer_weighted_f_forgives_misses_that_the_float_one_counts() -> None:
    # INTEROP §3: radius 10 eroded to 8, and 30 % of a disc missing at random
    truth, eroded = disc(10), disc(8)
    assert score(eroded, truth, protocol="paper")["wfm"] == pytest.approx(0.8421, abs=5e-5)
    assert score(eroded, truth, protocol="paper", integer_wfm=True)["wfm"] == pytest.approx(1.0, abs=2e-6)
    speckled = disc(150) & (np.random.default_rng(0).random((600, 600)) > 0.3)
    assert score(speckled, disc(150), protocol="paper")["wfm"] == pytest.approx(0.9515, abs=2e-3)
    assert score(speckled, disc(150), protocol="paper", integer_wfm=True)["wfm"] == pytest.approx(1.0, abs=2e-6)


def test_integer_weighted_f_counts_a_miss_whose_whole_neighbourhood_is_wrong() -> None:
    truth = disc(100)
    nothing = np.zeros_like(truth)
    # a miss counts where all of its 7 × 7 neighbourhood is wrong, and all of it is: outside, the nearest inside counts
    assert score(nothing, truth, protocol="paper", integer_wfm=True)["wfm"] == pytest.approx(0.0, abs=1e-6)


def test_small_perfect_disc_loses_half_its_s_measure_in_the_paper_protocol() -> None:
    assert score(disc(5), disc(5))["sm"] == pytest.approx(1.0, abs=1e-5)
    assert score(disc(5), disc(5), protocol="paper")["sm"] == pytest.approx(0.50, abs=5e-3)


def test_errors_farther_outside_cost_more() -> None:
    truth = disc(40, 300)
    near, far = (truth | disc(6, 300, center=(150, column)) for column in (200, 260))
    assert score(near, truth)["wfm"] > score(far, truth)["wfm"]
    assert score(near, truth)["iou"] == score(far, truth)["iou"]


def test_predictions_are_never_stretched() -> None:
    truth = disc(10, 40)
    faint = truth * 0.2
    assert score(faint, truth)["iou"] == 0.0
    assert score(faint, truth)["mae"] == pytest.approx(0.8 * truth.mean())


def test_one_mask_in_every_dtype_scores_the_same() -> None:
    truth, prediction = disc(10, 40), disc(8, 40)
    expected = score(prediction, truth)
    for dtype, top in ((np.uint8, 255), (np.uint8, 1), (np.int64, 1), (np.float32, 1), (np.float64, 1)):
        for order in ("C", "F"):
            assert score(*((mask * top).astype(dtype, order=order) for mask in (prediction, truth))) == expected
    assert score(prediction.tolist(), truth.tolist()) == expected


def test_inputs_are_left_as_they_were() -> None:
    prediction, truth = disc(8, 40) * 0.9, disc(10, 40).astype(np.uint8) * 255
    before = prediction.copy(), truth.copy()
    score(prediction, truth, ignore=255)
    assert np.array_equal(prediction, before[0]) and np.array_equal(truth, before[1])


def test_grey_truth_is_cut_where_each_protocol_cuts() -> None:
    truth = np.full((600, 600), 128, np.uint8)
    truth[0, 0] = 255
    full = np.ones((600, 600), bool)
    assert score(full, truth)["mae"] == pytest.approx(1 - 1 / 360_000)  # native: above 128
    assert score(full, truth, protocol="paper")["mae"] == 0.0  # paper: above 127


def test_paper_protocol_measures_on_the_square() -> None:
    # one of two columns, but stretched to half of the square: 300 of 600 columns
    row = image_row(np.array([[1, 0]], bool), np.array([[1, 1]], bool), protocol="paper")
    assert (row["intersection"], row["union"]) == (600 * 300, 600 * 600)


def test_ignored_pixels_can_be_left_out_or_counted_either_way() -> None:
    truth = np.array([[255, 1, 0, 255]], np.uint8)
    prediction = np.array([[1, 1, 0, 0]], bool)
    assert score(prediction, truth, ignore=255)["iou"] == 1.0
    assert score(prediction, truth, ignore=255)["mae"] == 0.0
    assert score(prediction, truth, ignore=255, ignore_as="foreground")["iou"] == pytest.approx(2 / 3)
    assert score(prediction, truth, ignore=255, ignore_as="background")["iou"] == 0.5


@pytest.mark.parametrize("soft", [False, True])
def test_what_is_predicted_on_ignored_pixels_changes_nothing(soft: bool) -> None:
    rng = np.random.default_rng(3)
    truth = np.where(disc(12, 50), 255, 0).astype(np.uint8)
    truth[:, 30:40] = 128
    prediction = rng.random((50, 50)) if soft else rng.random((50, 50)) < 0.5
    changed = prediction.copy()
    changed[:, 30:40] = 1 - prediction[:, 30:40]
    assert score(prediction, truth, ignore=128) == score(changed, truth, ignore=128)


@pytest.mark.parametrize("soft", [False, True])
def test_ignoring_a_strip_is_like_not_having_it(soft: bool) -> None:
    rng = np.random.default_rng(4)
    truth = np.where(disc(9, 40), 255, 0).astype(np.uint8)
    prediction = rng.random((40, 40)) if soft else rng.random((40, 40)) < 0.5
    whole = score(prediction, truth)
    wider = [np.pad(array, ((0, 0), (0, 12)), constant_values=fill) for array, fill in ((prediction, 1), (truth, 128))]
    assert score(*wider, ignore=128) == pytest.approx(whole)


def test_everything_ignored_still_gives_numbers() -> None:
    truth = np.full((4, 4), 255, np.uint8)
    assert score(np.ones((4, 4), bool), truth, ignore=255)["mae"] == 0.0
    assert all(math.isfinite(value) for value in score(truth > 0, truth, "paper", ignore=255).values())


def test_row_carries_labels_and_pixel_counts() -> None:
    row = image_row(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]), id="a", task="shadow")
    assert (row["id"], row["task"], row["intersection"], row["union"]) == ("a", "shadow", 1, 3)
    assert set(METRICS) <= set(row)


def test_failed_row_is_the_worst_of_everything() -> None:
    row = failed_row(id="b")
    assert row["mae"] == row["ber"] == 1.0
    assert all(row[name] == 0.0 for name in ("wfm", "sm", "miou", "iou", "mdice"))


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), r"one shape, got \(2, 2\) and \(2, 3\)"),
        (np.ones((2, 2, 1)), np.ones((2, 2)), r"prediction must be a two-dimensional array .* got shape \(2, 2, 1\)"),
        (np.ones((0, 2)), np.ones((0, 2)), r"got shape \(0, 2\)"),
        (np.full((2, 2), 1.5), np.ones((2, 2)), r"prediction must lie in 0..1 for dtype float64, got 1.5"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), r"prediction must lie in 0..1"),
        (np.ones((2, 2)), np.full((2, 2), -1), r"given as truth is a label map.* values -1\."),
        (np.ones((2, 2)), np.full((2, 2), 300), r"given as truth is a label map.* values 300\."),
        (np.full((2, 2), 2), np.ones((2, 2)), r"prediction holds 2, .*prediction == label"),
        (np.array([["a"]]), np.ones((1, 1)), r"prediction must be bool, integer or float"),
    ],
)
def test_wrong_arrays_are_refused_in_words(prediction: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(prediction, truth)


def test_wrong_options_are_refused_in_words() -> None:
    mask = np.ones((2, 2), bool)
    with pytest.raises(InputError, match=r"use it with protocol='paper'"):
        score(mask, mask, integer_wfm=True)
    with pytest.raises(InputError, match=r"Unknown protocol 'mine'. Known protocols: native, paper"):
        get_protocol("mine")


@pytest.mark.parametrize("protocol", ["native", "paper"])
def test_the_score_does_not_depend_on_how_the_truth_is_stored(protocol: str) -> None:
    truth, prediction = disc(10, 40), disc(8, 40)
    expected = score(prediction, truth, protocol)
    ones = truth.astype(np.uint8)
    for stored in (ones, ones * 255, ones.astype(np.uint16) * 65535, ones.astype(np.int64), ones.astype(float)):
        assert score(prediction, stored, protocol) == expected
    assert score(prediction, ones * 7, protocol, label=7) == expected
    void = ones.copy()
    void[:, 30:] = 255
    assert score(prediction, void, protocol) == score(prediction, void, protocol, ignore=255)
    assert score(prediction, void, protocol) == score(
        prediction, np.where(void == 1, 255, np.where(void == 255, 128, 0)), protocol, 128
    )


def test_truths_that_are_label_maps_are_refused() -> None:
    for labels in (disc(10, 40) * np.uint8(2), np.where(disc(10, 40), 7, 255), disc(10, 40).astype(np.uint16) * 26001):
        with pytest.raises(InputError, match=r"label map.*label=…"):
            score(disc(8, 40), labels)
    assert score(disc(10, 40), np.where(disc(10, 40), 7, 18), label=7)["iou"] == 1.0
    assert score(disc(10, 40), np.where(disc(10, 40), 7, 255), label=7, ignore=255)["mae"] == 0.0


def test_predictions_that_are_label_maps_are_refused() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:4, :4], labels[4:, 4:] = 1, 2
    truth = labels == 1
    for prediction in (labels, np.where(labels == 2, 255, labels), labels.astype(np.int64) * 40):
        with pytest.raises(InputError, match=r"a map of labels\? Pass prediction == label"):
            score(prediction, truth)
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)  # faint, but no labels
    assert score(ramp, truth)["iou"] == 0
    assert score(np.where(truth, 255, 128).astype(np.uint8), truth)["iou"] == 0.25  # 128 of 255 is more than half


def test_masked_arrays_are_refused() -> None:
    truth = np.ma.masked_array(np.ones((2, 2), bool), mask=[[True, False], [False, False]])
    with pytest.raises(InputError, match=r"The truth is a masked array.*ignore="):
        score(np.ones((2, 2), bool), truth)


def test_labels_that_were_divided_by_255_are_no_faint_masks() -> None:
    target = np.zeros((6, 6), bool)
    target[1:4, 1:4] = True
    with pytest.raises(InputError, match=r"truth's largest value is 0\.003922.*labels divided by 255"):
        score(target, target / 255)
    with pytest.raises(InputError, match=r"a map of labels\?"):
        score((target / 255).astype(np.float32), target)
    assert score(np.full((6, 6), 0.01), target)["iou"] == 0


def test_labels_that_no_float_holds_select_nothing() -> None:
    assert score(np.zeros((2, 2)), np.ones((2, 2)), label=10**400)["mae"] == 0
    assert score(np.ones((2, 2)), np.ones((2, 2)), ignore=10**400)["iou"] == 1
