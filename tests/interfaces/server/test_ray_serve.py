"""The app as Ray Serve's ingress."""

from __future__ import annotations

import json
import socket
import urllib.request

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.server import ray_serve, serving
from conceptseg.interfaces.server.ray_serve import Arguments, build, make_app
from tests.interfaces.server.fakes import b64, png


def test_a_replica_has_the_same_app(engine, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        ConceptSegmenter, "from_pretrained", lambda *words, **more: loaded.append((words, more)) or engine
    )
    monkeypatch.setattr(serving, "warm_up", loaded.append)
    (tmp_path / "token").write_text("secret\n")
    app = make_app(Arguments(model="m", sam="s", token_file=tmp_path / "token", rules=tmp_path))
    assert loaded == [(("m",), {"device": "auto", "sam": "s"}), engine]
    with TestClient(app) as client:
        body = {"image": b64(png()), "concept": "leaf"}
        assert client.post("/v1/segment", json=body).status_code == 401
        assert client.post("/v1/segment", json=body, headers={"Authorization": "Bearer secret"}).status_code == 200
    with pytest.raises(InputError, match="does not exist: make it first"):
        make_app(Arguments(rules=tmp_path / "none"))


def test_arguments_that_are_none_are_refused():
    with pytest.raises(ValidationError, match="replica"):
        Arguments(replica=2)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="greater than 0"):
        Arguments(queue=0)


@pytest.mark.slow
def test_ray_serve_answers_with_nano():
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(Arguments()), name="conceptseg")
        body = json.dumps({"image": b64(png(64, 48)), "concept": "leaf"}).encode()
        url = f"http://127.0.0.1:{port}/v1/segment"
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            assert json.loads(answer.read())["mask"]["size"] == [48, 64]
    finally:
        serve.shutdown()
        ray.shutdown()


def test_the_builder_is_what_serve_run_names():
    assert f"{build.__module__}:{build.__name__}" in ray_serve.__doc__
