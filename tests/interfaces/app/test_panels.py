"""The answer as HTML: what is told, what is not, and that nobody's text becomes markup."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conceptseg.inference import Route, SegmentationResult
from conceptseg.interfaces.app.panels import (
    mosaic_panel,
    overlay_panel,
    problem_line,
    progress_line,
    reasons_panel,
    response_panel,
    verdict_panel,
)
from conceptseg.interfaces.app.rule_panels import batch_panel, learning_panel
from conceptseg.interfaces.mosaics import draw_proxy
from conceptseg.protocol import build_mosaic, format_response, parse_response

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def mosaic():
    pictures = [Image.new("RGB", (50, 100), "teal")] * 2
    return build_mosaic(pictures, [(0, 0, 25, 50), (5, 5, 20, 20)], canvas_px=56)


@pytest.fixture
def result() -> SegmentationResult:
    mask = np.zeros((30, 40), dtype=bool)
    mask[:15] = True
    text = format_response("It is white.", "Segment what is white.", (0, 0, 14, 28), (0, 0, 28, 28), "white thing")
    return SegmentationResult(
        "coin",
        "a.png",
        Image.new("RGB", (40, 30)),
        mask,
        Route.REASONED,
        presence=0.0625,
        threshold=0.2,
        response=parse_response(text, expect_check=True, expect_rule=True),
        box=(0.0, 0.0, 20.0, 15.0),
        check_iou=0.5,
        answer="white thing",
        notes=("Known by boxes.", "Known by boxes."),
        timings={"encode": 0.5, "reason": 1.5},
        confidence=0.61,
        found=True,
    )


def test_the_verdict_says_found_and_what_to_expect(result):
    told = verdict_panel(result)
    assert "Found" in told and "50.0% of the picture" in told and "0.61" in told and "not calibrated" in told
    assert "calibrated on known pictures" in verdict_panel(replace(result, calibrated=True))


def test_what_is_not_there_is_said_to_be_not_here(result):
    told = verdict_panel(replace(result, found=False, mask=np.zeros((30, 40), dtype=bool)))
    assert "Not here" in told and "Nothing is marked." in told and "Found" not in told
    assert "The mask was kept all the same." in verdict_panel(replace(result, found=False))


def test_layers_can_be_switched_and_only_those_there_are(result):
    told = overlay_panel(result)
    assert told.count("type='checkbox'") == 2 and "cs-layer-mask" in told and "<rect x='0.0'" in told
    empty = overlay_panel(replace(result, box=None, mask=np.zeros((30, 40), dtype=bool)))
    assert "checkbox" not in empty and "cs-base" in empty


def test_reasons_tell_rule_route_check_time_and_notes(result, mosaic):
    told = reasons_panel(result, mosaic)
    assert "Segment what is white." in told and "white thing" in told
    assert "presence s = 0.06 &lt; threshold T = 0.20" in told and "IoU 0.50" in told
    assert "0, 0, 25, 50" in told and "0, 0, 25, 100" in told, "both boxes in the reference's own pixels"
    assert "Reasoning" in told and "1.50 s" in told and "2.00 s" in told
    assert told.count("Known by boxes.") == 1


def test_the_direct_route_needs_no_rule(result):
    direct = replace(result, route=Route.DIRECT, presence=0.9, response=None, check_iou=None)
    told = reasons_panel(direct, None)
    assert "None was needed" in told and "SAM 3 alone</b>: presence s = 0.90 ≥ threshold T = 0.20" in told
    assert "Check on" not in told


def test_where_sam_3_was_not_asked_that_is_told(result):
    assert "the concept is too long for it" in reasons_panel(replace(result, presence=None, threshold=1.0), None)
    assert "SAM 3 was not asked first." in reasons_panel(replace(result, presence=None), None)


def test_the_mosaic_says_what_is_withheld(mosaic, result):
    assert "withheld from it" in mosaic_panel(mosaic) and "where it says it is" not in mosaic_panel(mosaic)
    assert "where it says it is" in mosaic_panel(mosaic, result)
    alone = build_mosaic([Image.new("RGB", (50, 50))], [(0, 0, 20, 20)], canvas_px=56)
    assert "Nothing is withheld" in mosaic_panel(alone) and mosaic_panel(None) == ""


def test_the_withheld_reference_is_cut_out_of_the_mosaic(mosaic):
    drawn = np.asarray(draw_proxy(mosaic, (0, 0, 14, 28), 112))
    assert drawn.shape == (112, 112, 3)
    assert tuple(drawn[100, 1]) == (255, 170, 0), "the check reaches to the bottom, the true box to the middle"
    assert tuple(drawn[56, 30]) == (0, 170, 0)


def test_a_response_is_open_while_it_is_written(result):
    assert " open" in response_panel("<think>", is_live=True) and " open" not in response_panel("<think>")
    assert "&lt;think&gt;" in response_panel("<think>") and response_panel("") == response_panel(None) == ""


def test_nobodys_text_becomes_markup(result, mosaic):
    response = parse_response(format_response("Looking.", EVIL, None, None, EVIL), expect_check=False, expect_rule=True)
    evil = replace(result, concept=EVIL, source=EVIL, answer=EVIL, notes=(EVIL,), response=response)
    failed = SegmentationResult(EVIL, EVIL, error=EVIL)
    panels = [verdict_panel(evil), overlay_panel(evil), reasons_panel(evil, mosaic), response_panel(EVIL)]
    panels += [problem_line(EVIL), progress_line(EVIL), batch_panel([evil, failed], 2)]
    assert all("<script" not in panel for panel in panels)


def test_a_batch_counts_what_was_found_and_what_failed(result):
    missing = replace(result, found=False)
    failed = SegmentationResult("coin", "b.png", error="no picture")
    assert "3 pictures, found in 1, not in 1, 1 could not be read." in batch_panel([result, missing, failed], 3)
    assert "1 of 3 pictures" in batch_panel([result], 3) and "value='0.333'" in batch_panel([result], 3)
    assert "2 of about 8 pictures" in learning_panel(2, 8) and "Reading the references" in learning_panel(0, 0)
