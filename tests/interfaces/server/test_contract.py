"""Schemathesis sends what the schema allows and what it does not; the answers must be those that the schema tells."""

from __future__ import annotations

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, settings

from conceptseg.interfaces.server.app import create_app


@pytest.fixture
def contract(engine, rules):
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(engine, rules))


schema = schemathesis.pytest.from_fixture("contract")


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_schema_tells(case):
    case.call_and_validate()
