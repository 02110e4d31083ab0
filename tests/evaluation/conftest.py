"""A fake method among the known ones, and a checkpoint that is only described."""

from __future__ import annotations

import pytest

from conceptseg.evaluation import runner
from conceptseg.evaluation.baselines import METHODS
from tests.evaluation.fakes import FakeMethod


@pytest.fixture
def fake_method(monkeypatch: pytest.MonkeyPatch) -> type[FakeMethod]:
    monkeypatch.setitem(METHODS, "fake", FakeMethod)
    monkeypatch.setattr(FakeMethod, "asked", [])
    described = {"name": "fake", "layout": "none", "concept_tokens": 8, "sha256": {"home": "0123456789"}}
    monkeypatch.setattr(runner, "describe_checkpoint", lambda model, sam, **_: dict(described))
    return FakeMethod
