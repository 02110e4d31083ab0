"""Killed at random moments and given again, every command ends as if it had never been killed."""

from __future__ import annotations

import random

import pytest

from tests.kills import CASES, survive


@pytest.mark.slow
@pytest.mark.parametrize("build", CASES)
def test_kills_leave_no_trace(build, tmp_path, monkeypatch):
    from conceptseg.evaluation import runner
    from conceptseg.evaluation.baselines import METHODS
    from conceptseg.interfaces.cli import segment

    for place, name in ((segment, "load_segmenter"), (runner, "describe_checkpoint")):
        monkeypatch.setattr(place, name, getattr(place, name))  # what the case puts in its place is taken out again
    monkeypatch.setitem(METHODS, "fake", METHODS.get("fake"))
    assert survive(build(tmp_path), tmp_path, 6, random.Random(0)) == 6
