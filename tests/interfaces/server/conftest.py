"""An app over the fake engine, with a folder of one rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from conceptseg.inference import Query
from conceptseg.interfaces.server import rules_store
from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.options import ServerOptions
from conceptseg.interfaces.server.rules_store import RuleFolder
from tests.interfaces.server.fakes import FakeEngine, FakeRule


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.model.digest = lambda: "f00d"
    return engine


@pytest.fixture
def rules(tmp_path, engine, monkeypatch) -> RuleFolder:
    folder = tmp_path / "rules"
    folder.mkdir()
    FakeRule("crack").save(folder / "defect.rule")

    def query(image: Any, concept: str, *, source: str, notes: Any, references: Any, rule: Any) -> Query:
        return Query(image, concept, references, source=f"{source} by rule for {rule}", notes=notes)

    monkeypatch.setattr(rules_store, "Query", query)
    return RuleFolder(folder, engine, load=FakeRule.load)


@pytest.fixture
def make_client(engine, rules) -> Iterator[Callable[..., TestClient]]:
    """Clients of apps with other options."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(TestClient(create_app(engine, rules, ServerOptions(**options))))


@pytest.fixture
def client(make_client) -> TestClient:
    return make_client()
