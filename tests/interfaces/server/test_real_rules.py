"""The folder of rules with rules as they are: files that `Rule.save` wrote, questions that the engine reads."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from conceptseg.inference import Route
from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.rules_store import RuleFolder
from tests.interfaces.server.fakes import png
from tests.interfaces.server.test_segment import error_of

rules = pytest.importorskip("conceptseg.inference.rules")


def saved(path, route: Route = Route.REASONED) -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:5, 2:5] = True
    picture = rules.RulePicture(Image.new("RGB", (8, 8)), mask, (2, 2, 5, 5), (8, 8))
    rules.Rule(
        concept="crack",
        text="dark lines",
        begun="<think>a</think>",
        pictures=(picture, picture, picture),
        supports=(0, 1),
        scores=(None, None, 0.75),
        expected_iou=0.75,
        interval=(0.4, 0.9),
        judged=1,
        suspects=(),
        route=route,
        presence_threshold=0.5,
        confidence_shift=0.0,
        checkpoint="0123456789abcdef",
        model="nano",
    ).save(path)


@pytest.fixture
def client(tmp_path, engine):
    saved(tmp_path / "defect.rule")
    with TestClient(create_app(engine, RuleFolder(tmp_path, engine))) as client:
        yield client


def test_a_saved_rule_is_described_and_asked(client, engine, tmp_path):
    told = client.get("/v1/rules/defect").json()
    assert told["text"] == "dark lines" and told["references"] == 3 and told["judged"] == 1
    assert told["expected_iou"] == 0.75 and told["route"] == Route.REASONED.value
    assert client.post("/v1/rules/defect/segment", files={"image": png()}).status_code == 200
    ((query,),) = engine.batches
    assert query.rule.begun == "<think>a</think>" and query.rule.presence_threshold == 0.5
    assert len(query.references.loaded) == 2 and engine.routes == ["reason"]
    assert "another checkpoint" in query.rule.notes[0]
    saved(tmp_path / "direct.rule", Route.DIRECT)
    assert client.post("/v1/rules/direct/segment", files={"image": png()}).status_code == 200
    assert engine.routes[-1] == "direct"


def test_a_saved_rule_travels(client):
    content = client.get("/v1/rules/defect/file").content
    assert client.put("/v1/rules/copy/file", content=content).status_code == 201
    assert client.get("/v1/rules/copy/file").content == content


def test_archives_made_by_hand_are_refused(client, tmp_path):
    for name, content in (("../../evil", b"x"), ("rule.json", b"{}"), ("rule.json", b"[" * 100_000)):
        with zipfile.ZipFile(tmp_path / "hand.zip", "w") as archive:
            archive.writestr(name, content)
        response = client.put("/v1/rules/hand/file", content=(tmp_path / "hand.zip").read_bytes())
        message = error_of(response, 422)["message"]
        assert message.startswith("hand.rule") and str(tmp_path) not in message
