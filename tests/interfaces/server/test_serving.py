"""A server on a port: docs/server.md's commands, and SIGTERM; in threads of this process, with the fake engine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from PIL import Image

from conceptseg.inference import Query
from conceptseg.interfaces.server import serving
from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.queue import Job
from conceptseg.interfaces.server.serving import DrainingServer
from tests.interfaces.server.fakes import mask_png, png

PAGE = (Path(__file__).parents[3] / "docs" / "server.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)


@contextmanager
def listening(app) -> Iterator[tuple[str, DrainingServer, threading.Thread]]:
    """A server on a free port, in a thread."""
    ready = threading.Event()
    door = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    server = DrainingServer(config, app.state.service, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        yield f"127.0.0.1:{door.getsockname()[1]}", server, thread
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(30)
        door.close()
    assert not thread.is_alive()


def curl(*words: str) -> str:
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", *words], capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_pages_commands_run(engine, rules, tmp_path):
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(png(100, 90))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(mask_png(100, 90))
    rules.delete("defect")
    assert len(COMMANDS) >= 7
    with listening(create_app(engine, rules)) as (address, _, _):
        script = "set -e\n" + "\n".join(COMMANDS).replace("localhost:9090", address)
        environment = {**os.environ, "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=60
        )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "copy.rule").exists() and rules.names() == ["defect"]
    masked = [len(query.references.loaded) for batch in engine.batches for query in batch if query.references]
    assert masked[:2] == [2, 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_told_to_stop_it_finishes_what_is_in_flight_and_refuses_what_is_new(engine, rules, tmp_path):
    (tmp_path / "photo.png").write_bytes(png())
    engine.gate = threading.Event()
    with listening(create_app(engine, rules)) as (address, server, thread), ThreadPoolExecutor() as pool:
        ask = (f"{address}/v1/segment", "-F", f"image=@{tmp_path}/photo.png", "-F", "concept=leaf")
        first = pool.submit(curl, *ask)
        assert engine.started.wait(30)
        server.handle_exit(signal.SIGTERM, None)
        assert curl(*ask).endswith("\n503")
        assert curl(f"{address}/health").endswith("\n503")
        engine.gate.set()
        assert first.result().endswith("\n200")
        thread.join(30)
        assert not thread.is_alive()


def test_a_batch_that_nobody_waits_for_does_not_hold_the_process(engine, rules, monkeypatch):
    app, left = create_app(engine, rules), []
    service = app.state.service
    engine.gate = threading.Event()
    monkeypatch.setattr(serving.DrainingServer, "run", lambda self: service.queue.stop(0.01))
    monkeypatch.setattr(serving, "leave", lambda: left.append(True))
    service.queue.start()
    service.queue.ask(Job(lambda: Query(Image.new("RGB", (8, 8)), "leaf")))
    assert engine.started.wait(30)
    serving.serve(app, "127.0.0.1", 0)
    assert left and service.queue.is_working
    engine.gate.set()
    service.queue.stop(30)
    left.clear()
    serving.serve(app, "127.0.0.1", 0)
    assert not left and not service.queue.is_working
