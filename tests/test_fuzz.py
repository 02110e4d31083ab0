"""Every target of `make fuzz` with a few of its inputs."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS, run


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_comes_is_read_or_refused_in_words(target, tmp_path):
    assert run(target, 25, 7, tmp_path).given >= 25
