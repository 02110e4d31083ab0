"""What goes over the wire: connections after refusals, bodies without a length, requests of other sites' pages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn

from conceptseg.interfaces.server.app import create_app
from conceptseg.interfaces.server.options import ServerOptions
from tests.interfaces.server.fakes import b64, png
from tests.interfaces.server.test_serving import listening

LIMIT = 5000
QUESTION = json.dumps({"image": b64(png()), "concept": "leaf"}).encode()


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    told = f"Content-Length: {len(body) if length is None else length}"
    lines = ["POST /v1/segment HTTP/1.1", "Host: x", "Content-Type: application/json", told, *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


class Wire:
    """One connection."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._file = self._socket.makefile("rb")

    def send(self, content: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the server need not read what it has refused
            self._socket.sendall(content)

    def answer(self) -> tuple[int, dict[str, str], dict]:
        """Status, headers and JSON."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip().decode("latin-1"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers["content-length"]))
        return status, headers, json.loads(body)

    def is_over(self) -> bool:
        """Whether the server has closed the connection, with nothing more to say."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture(params=["h11", "httptools"])
def wire(request, engine, rules, monkeypatch) -> Iterator[Wire]:
    pytest.importorskip(request.param)
    configured = uvicorn.Config.__init__

    def configure(self, *words, **more) -> None:
        configured(self, *words, **more, http=request.param)

    monkeypatch.setattr(uvicorn.Config, "__init__", configure)
    with listening(create_app(engine, rules, ServerOptions(max_body_bytes=LIMIT))) as (address, _, _):
        wire = Wire(address)
        yield wire
        wire.close()


def test_a_connection_answers_one_question_after_the_other(wire):
    for _ in range(2):
        wire.send(post(QUESTION))
        assert wire.answer()[0] == 200


def test_after_a_body_that_says_to_be_too_large_nothing_of_it_is_taken_for_a_request(wire):
    wire.send(post(post(QUESTION), length=LIMIT + 1))
    status, _, told = wire.answer()
    assert status == 413 and told["error"]["type"] == "too_large"
    assert wire.is_over()


def test_a_body_in_pieces_is_refused_where_it_passes_the_limit(wire):
    head = (
        "POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    wire.send(head.encode() + chunk(b" " * LIMIT) + chunk(QUESTION))
    status, _, told = wire.answer()
    assert status == 413 and told["error"]["type"] == "too_large"
    wire.send(b"0\r\n\r\n" + post(QUESTION))
    assert wire.answer()[0] == 200  # what is left of the body is passed over, and the next request is one


def test_who_asks_before_sending_too_much_is_told_so(wire):
    wire.send(post(b"", "Expect: 100-continue", length=LIMIT + 1))
    assert wire.answer()[0] == 413


def test_two_lengths_or_none_that_is_a_number_are_refused(wire):
    wire.send(post(QUESTION, "Content-Length: 5"))
    assert wire._file.readline().split()[1] == b"400"


def test_a_form_of_a_thousand_parts(wire):
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    head = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(part * 60) + 7}\r\n\r\n"
    wire.send(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\n" + head.encode() + part * 60 + b"--b--\r\n")
    status, _, told = wire.answer()
    assert status == 422 and told["error"]["message"].startswith("x: expected one text field, got 60")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://x:81", "http://[broken"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
def test_pages_of_other_sites_are_allowed_nothing(make_client, engine, method, origin):
    asks = {"Origin": origin, "Host": "x", "Access-Control-Request-Method": "POST"}
    answer = make_client().request(method, "/v1/segment", content=QUESTION, headers=asks)
    assert answer.status_code == 403 and "Pages of other sites" in answer.json()["error"]["message"]
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert not engine.batches


def test_ones_own_pages_and_those_that_know_the_token_are_answered(make_client):
    json_type = {"Content-Type": "application/json"}
    own = {"Origin": "http://x", "Host": "x", **json_type}
    assert make_client().post("/v1/segment", content=QUESTION, headers=own).status_code == 200
    knowing = {"Origin": "http://elsewhere", "Authorization": "Bearer t", **json_type}
    assert make_client(token="t").post("/v1/segment", content=QUESTION, headers=knowing).status_code == 200
