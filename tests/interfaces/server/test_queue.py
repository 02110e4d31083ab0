"""The queue: batches of what waits, a bound, a time limit, the end; over HTTP with many clients."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.inference import Query
from conceptseg.interfaces.server.queue import BatchQueue, Job
from conceptseg.interfaces.server.refusals import Refusal
from tests.interfaces.server.fakes import FakeEngine, b64, png
from tests.interfaces.server.test_segment import error_of

PICTURE = Image.new("RGB", (8, 8))


def query(concept: str = "leaf") -> Query:
    return Query(PICTURE, concept)


@pytest.fixture
def queue(engine):
    queue = BatchQueue(lambda asked, route: engine.segment_batch(asked, route=route), places=4, batch_size=3)
    yield queue
    queue.stop()


def ask(queue: BatchQueue, concept: str, route: str = "auto"):
    return queue.ask(Job(lambda: query(concept), route))


def test_what_waits_is_answered_in_batches_of_one_route_in_order(queue, engine):
    waiting = [ask(queue, word, route) for word, route in zip("abcdef", ["auto", "reason"] * 3, strict=True)]
    waiting.append(ask(queue, "g"))
    queue.start()
    assert [one.result(20).concept for one in waiting] == list("abcdefg")
    assert [[asked.concept for asked in batch] for batch in engine.batches] == [list("ace"), list("bdf"), ["g"]]
    assert engine.routes == ["auto", "reason", "auto"]


def test_a_question_that_cannot_be_built_fails_alone(queue):
    def fail() -> Query:
        raise InputError("no such box")

    bad, good = queue.ask(Job(fail)), ask(queue, "good")
    queue.start()
    assert good.result(20).concept == "good"
    with pytest.raises(InputError, match="no such box"):
        bad.result(20)


def test_a_question_that_breaks_a_batch_fails_alone(queue, engine):
    engine.fails_on = "bad"
    waiting = [ask(queue, word) for word in ("one", "bad", "two")]
    queue.start()
    assert waiting[0].result(20).concept == "one" and waiting[2].result(20).concept == "two"
    with pytest.raises(RuntimeError, match="secret"):
        waiting[1].result(20)


def test_what_was_cancelled_is_not_asked(queue, engine):
    waiting = [ask(queue, word) for word in "ab"]
    waiting[0].cancel()
    queue.start()
    waiting[1].result(20)
    assert [asked.concept for batch in engine.batches for asked in batch] == ["b"]


def test_places_are_bounded_and_given_back(queue):
    with queue.place(), queue.place(), queue.place(), queue.place():
        assert queue.in_flight == 4
        with pytest.raises(Refusal) as refused, queue.place():
            pass
        assert refused.value.status_code == 429 and int(refused.value.headers["Retry-After"]) >= 1
    assert queue.in_flight == 0


def test_a_closed_queue_refuses_what_is_new_and_answers_what_is_in(queue):
    waiting = ask(queue, "in")
    queue.close()
    with pytest.raises(Refusal) as refused, queue.place():
        pass
    assert refused.value.status_code == 503
    threading.Thread(target=queue.stop).start()  # answers what waits
    queue._work()
    assert waiting.result(20).concept == "in"


def segment(client) -> tuple[int, str | None]:
    response = client.post("/v1/segment", json={"image": b64(png()), "concept": "leaf"})
    return response.status_code, response.headers.get("retry-after")


def test_32_clients_get_200_or_429_and_nothing_else(make_client, engine):
    client = make_client(places=6, batch_size=4)
    original = FakeEngine.segment_batch

    def slowly(queries, **options):
        time.sleep(0.002 * len(queries))
        return original(engine, queries, **options)

    engine.segment_batch = slowly
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: segment(client), range(160)))
    counts = Counter(status for status, _ in answers)
    assert set(counts) == {200, 429} and sum(counts.values()) == 160
    assert all((wait is not None and int(wait) >= 1) == (status == 429) for status, wait in answers)
    assert sum(len(batch) for batch in engine.batches) == counts[200]
    assert max(len(batch) for batch in engine.batches) <= 4
    assert client.get("/health").json()["in_flight"] == 0


def test_a_request_that_takes_too_long_is_told_so_and_its_place_is_free_again(make_client, engine):
    engine.gate = threading.Event()
    client = make_client(time_limit_s=0.2, places=1)
    try:
        error = error_of(client.post("/v1/segment", json={"image": b64(png()), "concept": "leaf"}), 504)
        assert error["type"] == "time_limit"
        assert client.get("/health").json()["in_flight"] == 0
    finally:
        engine.gate.set()


def test_a_stopping_server_says_so_and_answers_what_is_in_flight(client, engine):
    engine.gate = threading.Event()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(segment, client)
        assert engine.started.wait(20)
        client.app.state.service.queue.close()
        response = client.post("/v1/segment", json={"image": b64(png()), "concept": "leaf"})
        assert error_of(response, 503)["type"] == "stopping" and "retry-after" in response.headers
        health = client.get("/health")
        assert health.status_code == 503 and health.json()["status"] == "STOPPING"
        engine.gate.set()
        assert first.result()[0] == 200


def test_signals_drain_first_and_a_second_one_does_not_wait(client):
    import uvicorn

    from conceptseg.interfaces.server.serving import DrainingServer

    service = client.app.state.service
    server = DrainingServer(uvicorn.Config(client.app), service)
    assert asyncio.run(server.on_tick(1)) is False
    with service.queue.place():
        server.handle_exit(15, None)
        assert service.queue.is_closed and asyncio.run(server.on_tick(1)) is False
        server.handle_exit(15, None)
        assert server.force_exit and asyncio.run(server.on_tick(1)) is True
    drained = DrainingServer(uvicorn.Config(client.app), service)
    drained.handle_exit(15, None)
    assert asyncio.run(drained.on_tick(1)) is True and not drained.force_exit


TOKEN = "s3cret"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Token": TOKEN},
        {"Authorization": "Basic " + base64.b64encode(f"anyone:{TOKEN}".encode()).decode()},
    ],
)
def test_the_token_opens(make_client, headers):
    assert make_client(token=TOKEN).get("/v1/rules", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer s3cre"}, {"Token": "ü"}, {"Authorization": "Basic ??"}],
)
@pytest.mark.parametrize("path", ["/v1/rules", "/metrics", "/openapi.json", "/nothing"])
def test_without_the_token_nothing_but_health_is_told(make_client, headers, path):
    client = make_client(token=TOKEN)
    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers.items()]
    response = client.get(path, headers=raw)
    assert error_of(response, 401)["type"] == "unauthorized" and response.headers["www-authenticate"] == "Bearer"
    assert client.get("/health").json()["status"] == "UP"


def test_metrics_count_by_pattern(client):
    segment(client)
    client.get("/v1/rules/defect")
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    assert 'conceptseg_requests_total{route="/v1/segment",status="200"} 1.0' in text
    assert 'conceptseg_requests_total{route="/v1/rules/{rule_id}",status="200"} 1.0' in text
    assert 'conceptseg_requests_total{route="other",status="404"} 1.0' in text
    assert 'conceptseg_masks_total{route="direct"} 1.0' in text and "conceptseg_batch_size_count 1.0" in text
    assert "conceptseg_in_flight 0.0" in text and 'conceptseg_stage_seconds_total{stage="encode"} 0.5' in text


def test_openapi_has_examples_and_every_refusal(client):
    paths = client.get("/openapi.json").json()["paths"]
    segment_body = paths["/v1/segment"]["post"]["requestBody"]["content"]
    assert set(segment_body) == {"application/json", "multipart/form-data"}
    examples = segment_body["application/json"]["schema"]["examples"]
    assert [client.post("/v1/segment", json=example).status_code for example in examples] == [200, 200]
    client.delete("/v1/rules/defect")
    learning = paths["/v1/rules"]["post"]["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
    assert client.post("/v1/rules", json=learning).status_code == 201
    assert {"401", "413", "429", "503", "504"} <= set(paths["/v1/segment"]["post"]["responses"])
