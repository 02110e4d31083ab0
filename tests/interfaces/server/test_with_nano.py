"""One run of everything that is real: the command, nano, a socket, and SIGTERM while a question is being answered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.interfaces.server.fakes import png
from tests.interfaces.server.test_serving import curl


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_command_answers_and_on_sigterm_finishes_what_is_in_flight(tmp_path):
    (tmp_path / "photo.png").write_bytes(png(300, 200))
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "conceptseg.interfaces.cli",
        "serve",
        "--port",
        str(port),
        "--rules",
        str(tmp_path),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert f"http://127.0.0.1:{port}" in server.stdout.readline(), server.stderr.read()
        words = ["-F", f"image=@{tmp_path}/photo.png", "-F", "concept=round red thing", "-F", "route=reason"]
        url = f"127.0.0.1:{port}/v1/segment"
        told, status = curl(url, *words).rsplit("\n", 1)
        assert status == "200" and json.loads(told)["mask"]["size"] == [200, 300]
        asking = subprocess.Popen(
            ["curl", "-s", "-w", "\n%{http_code}", url, *words], stdout=subprocess.PIPE, text=True
        )
        while json.loads(curl(f"127.0.0.1:{port}/health").rsplit("\n", 1)[0])["in_flight"] == 0:
            assert asking.poll() is None, "answered before it could be interrupted"
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        assert asking.communicate(timeout=120)[0].endswith("\n200")
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.communicate()
