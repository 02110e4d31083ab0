"""Schemathesis sends what the schema allows and what it does not; the answers must be those that the schema tells."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.refusals import PREDICT_PATH

QUICKLY = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_the_schema_tells(engine, rules, mode):
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(engine, rules))
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @QUICKLY
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            asked.append(case.operation.label)
            excused = [positive_data_acceptance]  # no schema says what makes text a picture
            if case.operation.path == PREDICT_PATH:
                excused.append(negative_data_rejection)  # its client gets no errors
            case.call_and_validate(excluded_checks=excused)

        if mode is GenerationMode.POSITIVE or operation.body or operation.path_parameters:
            check()
    assert len(set(asked)) >= 8
