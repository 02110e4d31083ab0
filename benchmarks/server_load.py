"""Many clients at a server with a real model: what they are answered, how long it takes, what memory it takes.

    python benchmarks/server_load.py [--clients 32] [--seconds 60] [--queue 32]

Starts `conceptseg serve`, lets every client ask about bundled pictures in turn (by words, with a reference, as JSON),
one question after the other, and reads the server's memory every five seconds. A client that is told 429 waits as long
as it is told. At the end the server is told to stop while questions are in flight, all of which must be answered.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import conceptseg

PICTURES = Path(conceptseg.__file__).parent / "assets" / "demo"
BOUNDARY = "a-boundary"


def form(fields: dict[str, str], files: dict[str, bytes]) -> tuple[bytes, str]:
    """A multipart body and its type."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    parts += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"; filename="{k}"\r\n\r\n'.encode() + v + b"\r\n"
        for k, v in files.items()
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()]), f"multipart/form-data; boundary={BOUNDARY}"


def questions() -> list[tuple[bytes, str]]:
    """By words, with a reference and its mask, and as JSON."""
    read = {path.stem: path.read_bytes() for path in (PICTURES / "images").iterdir()}
    flower, mask = read["flower"], (PICTURES / "masks" / "flower.png").read_bytes()
    told = json.dumps({"image": base64.b64encode(read["cup"]).decode(), "concept": "cup", "route": "direct"})
    return [
        form({"concept": "cat"}, {"image": read["cat"]}),
        form({"concept": "flower"}, {"image": read["rocket"], "reference": flower, "reference_mask": mask}),
        (told.encode(), "application/json"),
    ]


class Load:
    """Clients that ask until they are told to stop."""

    def __init__(self, port: int, clients: int) -> None:
        self.port, self.asked = port, questions()
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)]

    def _client(self, number: int) -> None:
        for turn in count(number):
            if self.stop.is_set():
                return
            body, kind = self.asked[turn % len(self.asked)]
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
                connection.request("POST", "/v1/segment", body, {"Content-Type": kind})
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                if not self.stop.is_set():
                    self.failures.append(repr(error))
                return
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.seconds.append(time.monotonic() - began)
            else:
                self.stop.wait(float(answer.headers.get("Retry-After", "1")))


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"clients": 32, "seconds": 60, "queue": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    start = [
        sys.executable,
        "-m",
        "conceptseg.interfaces.cli",
        "serve",
        "--port",
        str(port),
        "--queue",
        str(args.queue),
    ]
    server = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
    print(server.stdout.readline().strip(), flush=True)
    load = Load(port, args.clients)
    memory = [resident_mb(server.pid)]
    began = time.monotonic()
    for thread in load.threads:
        thread.start()
    while time.monotonic() - began < args.seconds:
        time.sleep(5)
        memory.append(resident_mb(server.pid))
    load.stop.set()
    asked = Counter(load.statuses)
    server.send_signal(signal.SIGTERM)
    for thread in load.threads:
        thread.join(300)
    status = server.wait(300)
    print(f"answers {dict(asked)} in {args.seconds} s; {load.failures or 'no'} failures")
    if len(load.seconds) > 1:
        late = quantiles(load.seconds, n=20)[-1]
        print(f"{len(load.seconds)} masks, p50 {median(load.seconds):.2f} s, p95 {late:.2f} s")
    print(f"memory every 5 s, MB: {' '.join(f'{value:.0f}' for value in memory)}")
    after = load.statuses - asked
    print(f"SIGTERM: {dict(after)} for what was in flight, exit status {status}")


if __name__ == "__main__":
    main()
