"""Rules over HTTP: learned, listed, shown, applied, carried as files, deleted; ids that lead nowhere."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.rules_store import NoRules
from tests.interfaces.server.fakes import b64, mask_png, png
from tests.interfaces.server.test_segment import error_of

LEARN = {"id": "leaf-1", "concept": "leaf", "references": [{"image": b64(png()), "box": [1, 1, 9, 9]}] * 2}


def test_a_rule_is_learned_listed_applied_and_deleted(client, engine, rules):
    told = client.post("/v1/rules", json=LEARN)
    assert told.status_code == 201 and told.json()["concept"] == "leaf" and told.json()["expected_iou"] == 0.8
    assert engine.learned[0][0] == "leaf" and [one.box for one in engine.learned[0][1]] == [(1, 1, 9, 9)] * 2
    assert [one["id"] for one in client.get("/v1/rules").json()["rules"]] == ["defect", "leaf-1"]
    assert client.get("/v1/rules/leaf-1").json() == told.json()
    answer = client.post("/v1/rules/leaf-1/segment", files={"image": png()})
    assert answer.status_code == 200 and answer.json()["concept"] == "leaf"
    assert engine.routes == ["reason"] and engine.batches[0][0].source == "image by rule for f00d"
    assert client.delete("/v1/rules/leaf-1").status_code == 204
    assert error_of(client.get("/v1/rules/leaf-1"), 404)["type"] == "not_found"
    assert rules.names() == ["defect"]


def test_learning_takes_multipart_and_absent_pictures(client, engine):
    files = [("reference", png()), ("reference_mask", mask_png()), ("absent", png())]
    told = client.post("/v1/rules", files=files, data={"id": "a", "concept": "leaf"})
    assert told.status_code == 201, told.text
    assert engine.learned[0][1][0].mask is not None


def test_an_id_is_taken_once(client):
    assert client.post("/v1/rules", json=LEARN).status_code == 201
    assert error_of(client.post("/v1/rules", json=LEARN), 409)["type"] == "conflict"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a.b", "x" * 65, "", "a b", "é", "x\n", "C:x"])
def test_ids_that_look_like_paths_are_refused_when_learning(client, engine, name):
    assert "id" in error_of(client.post("/v1/rules", json={**LEARN, "id": name}), 422)["message"]
    assert engine.learned == []


@pytest.mark.parametrize("name", ["..%2Fx", "%2e%2e", "a%00b", "x%0A", "defect.rule", "~", "nothing"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_ids_that_look_like_paths_are_not_found(client, rules, method, name):
    assert error_of(client.request(method, f"/v1/rules/{name}"), 404)["type"] == "not_found"
    assert rules.names() == ["defect"]


def test_a_rule_travels_as_its_file(client):
    content = client.get("/v1/rules/defect/file").content
    assert client.put("/v1/rules/copy/file", content=content).status_code == 201
    assert client.get("/v1/rules/copy").json()["concept"] == "crack"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"[]", b"{}", b"\x80\x04\x95"])
def test_files_made_by_hand_are_refused_and_not_kept(client, rules, tmp_path, content):
    error = error_of(client.put("/v1/rules/bad/file", content=content), 422)
    assert error["message"].startswith("bad.rule is no rule") and str(tmp_path) not in error["message"]
    assert [file.name for file in (tmp_path / "rules").iterdir()] == ["defect.rule"]


def test_a_damaged_file_in_the_folder_is_listed_with_its_error(client, tmp_path):
    (tmp_path / "rules" / "broken.rule").write_bytes(b"PK")
    listed = {one["id"]: one["error"] for one in client.get("/v1/rules").json()["rules"] if "error" in one}
    assert listed == {"broken": "broken.rule is no rule of ours: JSONDecodeError."}
    response = client.post("/v1/rules/broken/segment", files={"image": png()})
    assert error_of(response, 422)["message"] == "broken.rule is no rule of ours: JSONDecodeError."


def test_a_file_that_is_replaced_by_hand_is_read_again(client, tmp_path):
    assert client.get("/v1/rules/defect").json()["concept"] == "crack"
    (tmp_path / "rules" / "defect.rule").write_text('{"rule": "a much longer concept"}')
    assert client.get("/v1/rules/defect").json()["concept"] == "a much longer concept"


def test_one_rule_is_learned_at_a_time_while_pictures_are_answered(client, engine, monkeypatch):
    gate = threading.Event()
    engine.gate = gate
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/v1/rules", json=LEARN)
        assert engine.started.wait(20)
        second = client.post("/v1/rules", json={**LEARN, "id": "other"})
        assert error_of(second, 429)["type"] == "busy" and int(second.headers["retry-after"]) >= 1
        gate.set()
        assert first.result().status_code == 201


def test_learning_is_given_up_when_its_time_is_over(make_client, engine, rules):
    client = make_client(learning_limit_s=1e-9)
    assert error_of(client.post("/v1/rules", json=LEARN), 504)["type"] == "time_limit"
    assert rules.names() == ["defect"]


def test_without_a_folder_there_are_no_rules(engine):
    from starlette.testclient import TestClient

    with TestClient(create_app(engine, NoRules())) as client:
        assert client.get("/v1/rules").json() == {"rules": []}
        assert error_of(client.post("/v1/rules", json=LEARN), 409)["message"].endswith("--rules FOLDER.")
        assert error_of(client.get("/v1/rules/defect"), 404)["type"] == "not_found"
