"""Label Studio's requests, replayed: setup, predict with and without drawings, webhooks, uploads."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from conceptseg.errors import ImageError
from conceptseg.interfaces.server.label_studio import DEFAULT_VERSION
from conceptseg.interfaces.server.refusals import refuse
from conceptseg.shapes import encode_brush
from conceptseg.shapes.brush_reading import decode_brush
from tests.interfaces.server.fakes import HEIGHT, WIDTH, b64, left_half, png
from tests.interfaces.server.test_segment import error_of

CONFIG = """<View><!-- a comment -->
  <Image name="photo" value="$url"/>
  <RectangleLabels name="boxes" toName="photo"><Label value="crack"/><Label value="dent"/></RectangleLabels>
  <BrushLabels name="masks" toName="photo"><Label value="crack"/><Label value="dent"/></BrushLabels>
</View>"""
URI = f"data:image/png;base64,{b64(png())}"


def task(number: int = 1, url: str = URI) -> dict:
    return {"id": number, "data": {"url": url}, "annotations": [], "predictions": []}


def region(kind: str = "rectanglelabels", label: str = "crack", **value) -> dict:
    value = value or {"x": 25, "y": 50, "width": 50, "height": 25}
    return {
        "id": "r1",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "type": kind,
        "from_name": "boxes",
        "to_name": "photo",
        "is_positive": True,
        "value": {**value, kind: [label]},
    }


def predict(client, *, tasks=None, context=None, **more):
    params = {"login": None, "password": None, "context": context}
    asked = {"tasks": tasks or [task()], "project": "7.1732546", "label_config": CONFIG, "params": params, **more}
    return client.post("/predict", json=asked)


def webhook(client, action="ANNOTATION_CREATED", *, number=5, task_number=2, result=None, url=URI, **more):
    annotation = {"id": number, "result": [region()] if result is None else result, "was_cancelled": False, **more}
    body = {
        "action": action,
        "project": {"id": 7, "label_config": CONFIG},
        "task": task(task_number, url),
        "annotation": annotation,
    }
    return client.post("/webhook", json=body)


def test_setup_and_versions(client):
    body = {"project": "7.1732546", "schema": CONFIG, "extra_params": None}
    assert client.post("/setup", json=body).json() == {"model_version": DEFAULT_VERSION}
    for extra in ({"rule": "defect"}, '{"rule": "defect"}', "rule=defect"):
        assert client.post("/setup", json={**body, "extra_params": extra}).json() == {"model_version": "defect"}
    assert error_of(client.post("/setup", json={**body, "extra_params": "rule=nothing"}), 404)
    assert client.get("/versions").json() == {"versions": [DEFAULT_VERSION, "defect"]}
    assert client.get("/health").json()["model_class"] == "fake"


def test_every_label_is_looked_for_and_comes_as_a_brush(client, engine):
    engine.confidence = 0.6
    (told,) = predict(client, model_version=DEFAULT_VERSION).json()["results"]
    assert told["model_version"] == DEFAULT_VERSION and told["score"] == 0.6
    crack, dent = told["result"]
    assert crack["value"]["brushlabels"] == ["crack"] and dent["value"]["brushlabels"] == ["dent"]
    assert (crack["from_name"], crack["to_name"], crack["type"]) == ("masks", "photo", "brushlabels")
    assert (crack["original_width"], crack["original_height"], crack["image_rotation"]) == (WIDTH, HEIGHT, 0)
    assert crack["score"] == 0.6 and crack["value"]["format"] == "rle" and crack["id"] != dent["id"]
    assert (decode_brush(crack["value"]["rle"], (HEIGHT, WIDTH)) == left_half()).all()
    assert len(engine.batches) <= 2


def test_without_a_confidence_there_is_no_score(client):
    (told,) = predict(client).json()["results"]
    assert "score" not in told and all("score" not in one for one in told["result"])


def test_what_is_not_there_has_no_region(client, engine):
    engine.found = False
    assert predict(client).json()["results"][0]["result"] == []


def test_a_rule_is_a_model_version(client, engine):
    (told,) = predict(client, model_version="defect").json()["results"]
    assert [one["value"]["brushlabels"] for one in told["result"]] == [["crack"]]
    assert told["model_version"] == "defect" and engine.routes == ["reason"]
    assert error_of(predict(client, model_version="gone"), 404)["message"].startswith("There is no model version")


def test_drawn_boxes_are_prompts_in_the_picture_itself(client, engine):
    context = {"result": [region(), region("keypointlabels", x=5, y=5, width=1)]}
    (told,) = predict(client, context=context).json()["results"]
    ((query,),) = engine.batches
    assert query.concept == "crack" and [one.box for one in query.references.loaded] == [(6, 8, 18, 12)]
    assert told["notes"][0].startswith("1 of 2 regions were not used")


def test_a_point_alone_is_no_prompt_and_says_so(client):
    response = predict(client, context={"result": [region("keypointlabels", x=5, y=5, width=1)]})
    assert "Draw a labelled box" in error_of(response, 422)["message"]


def test_finished_annotations_become_references_of_other_tasks(client, engine):
    brush = region("brushlabels", format="rle", rle=encode_brush(left_half()))
    polygon = region("polygonlabels", "dent", points=[[0, 0], [50, 0], [50, 100], [0, 100]])
    assert webhook(client, result=[brush, region(), polygon]).status_code == 201
    predict(client, tasks=[task(1)])
    asked = {query.concept: query for batch in engine.batches for query in batch}
    masked, boxed = asked["crack"].references.loaded
    assert (masked.mask == left_half()).all() and boxed.box == (6, 8, 18, 12)
    assert (asked["dent"].references.loaded[0].mask == left_half()).all()


def test_a_task_is_no_reference_of_itself_nor_other_projects_nor_what_was_deleted(client, engine):
    webhook(client)

    def references(**more) -> list:
        engine.batches.clear()
        assert predict(client, **more).status_code == 200
        return [query.references for batch in engine.batches for query in batch if query.concept == "crack"]

    assert references()[0] is not None
    assert references(tasks=[task(2)]) == [None] and references(project="8.1") == [None]
    webhook(client, "ANNOTATION_UPDATED", was_cancelled=True)
    assert references() == [None]
    webhook(client)
    webhook(client, "ANNOTATION_DELETED")
    assert references() == [None]


def test_references_are_as_many_as_a_question_may_have_the_latest_first(make_client, engine):
    client = make_client(max_references=2)
    for number in range(4):
        webhook(client, number=number, result=[region(x=number, y=0, width=50, height=50)])
    predict(client)
    query = next(query for batch in engine.batches for query in batch if query.concept == "crack")
    assert [one.box[0] for one in query.references.loaded] == pytest.approx([0.03 * WIDTH, 0.02 * WIDTH])


def test_training_learns_a_rule_for_every_label(client, engine, rules):
    assert error_of(client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}}), 409)
    webhook(client, result=[region(), region(label="dent")])
    told = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}})
    names = told.json()["learning"]
    assert told.status_code == 201 and len(names) == 2 and names[0].startswith("ls-crack-")
    deadline = time.monotonic() + 20
    while not set(names) <= set(rules.names()) and time.monotonic() < deadline:
        client.get("/health")
    assert set(names) <= set(client.get("/versions").json()["versions"])
    assert [concept for concept, _ in engine.learned] == ["crack", "dent"]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [(refuse("busy", "The queue is full."), "The queue is full."), (TimeoutError(), "TimeoutError")],
)
def test_training_that_cannot_begin_or_end_is_in_the_log(client, monkeypatch, caplog, trouble, told):
    webhook(client, result=[region()])
    service = client.app.state.service
    in_time = service.in_time

    def crowded(limit_s=None):
        if limit_s is not None:
            raise trouble
        return in_time()

    monkeypatch.setattr(service, "in_time", crowded)
    with caplog.at_level("WARNING"):
        assert client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}}).status_code == 201
        deadline = time.monotonic() + 20
        while not caplog.records and time.monotonic() < deadline:
            client.get("/health")
    assert f"Rules of project 7 could not be learned: {told}" in caplog.text


def test_a_rules_notes_reach_the_prediction(client, engine, monkeypatch):
    answer = engine._answer
    monkeypatch.setattr(engine, "_answer", lambda query: replace(answer(query), notes=("Not found.",)))
    (told,) = predict(client, model_version="defect").json()["results"]
    assert told["notes"] == ["Not found."]


def test_other_events_are_told_to_mean_nothing(client):
    response = client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {"id": 7}})
    assert response.status_code == 201 and response.json()["notes"] == ["Nothing is done on PROJECT_UPDATED."]


def test_uploads_are_read_below_the_root_alone(make_client, tmp_path):
    root = tmp_path / "media"
    (root / "upload" / "7").mkdir(parents=True)
    (root / "upload" / "7" / "a b.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    client = make_client(media_root=root)
    for url in ("/data/upload/7/a%20b.png", "/data/local-files/?d=upload/7/a%20b.png"):
        assert predict(client, tasks=[task(url=url)]).status_code == 200
    for url in (
        "/data/upload/../../secret.png",
        "/data/upload/%2e%2e/%2e%2e/secret.png",
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=link.png",
        f"/data/local-files/?d={tmp_path}/secret.png",
        "/data/local-files/?d=upload",
        "/data/local-files/",
        "/data/upload/a%00b",
    ):
        message = error_of(predict(client, tasks=[task(url=url)]), 422)["message"]
        assert "secret.png is" not in message and str(tmp_path / "media") not in message


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x.png", "https://x/y", "s3://b/k", "file:///etc/passwd", "/etc/passwd", "//x/y"]
)
def test_addresses_in_tasks_are_never_fetched(client, url):
    assert "never fetched" in error_of(predict(client, tasks=[task(url=url)]), 422)["message"]
    assert "never fetched" in error_of(webhook(client, url=url), 422)["message"]


def test_one_bad_task_costs_the_others_nothing(client):
    good, bad = predict(client, tasks=[task(1), task(2, "http://x")]).json()["results"]
    assert len(good["result"]) == 2 and bad["result"] == [] and bad["error"]["type"] == "invalid"


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "<View/>",
        '<View><BrushLabels name="m" toName="i"><Label value="a"/></BrushLabels></View>',
        '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>',
    ],
)
def test_configs_without_what_masks_need(client, config):
    assert "label_config" in error_of(predict(client, label_config=config), 422)["message"]


@pytest.mark.parametrize(
    "drawn",
    [
        region(x="a", y=0, width=1, height=1),
        region("brushlabels", format="rle", rle="AAAA"),
        region("brushlabels", format="rle", rle=encode_brush(left_half(8, 8))),
        region("brushlabels", format="rle", rle=encode_brush(left_half())[:-2]),
        region("polygonlabels", points=[[0, None], [1]]),
    ],
)
def test_regions_that_are_none(client, drawn):
    assert error_of(webhook(client, result=[drawn]), 422)
    assert error_of(predict(client, context={"result": [drawn]}), 422)


def test_too_many_tasks(make_client):
    assert "65 tasks" in error_of(predict(make_client(), tasks=[task()] * 65), 413)["message"]


def test_a_brush_is_read_as_it_was_written():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (40, 33)):
        mask = rng.random(shape) < 0.5
        assert (decode_brush(encode_brush(mask), shape) == mask).all()
    assert decode_brush(encode_brush(np.ones((300, 300), bool)), (300, 300)).all()


def test_a_brush_of_another_size_or_with_other_values():
    with pytest.raises(ImageError, match="does not fill"):
        decode_brush(encode_brush(np.ones((3, 3), bool)), (3, 4))
    with pytest.raises(ImageError, match="bytes"):
        decode_brush([1, 300], (1, 1))
    with pytest.raises(ImageError, match="ends early"):
        decode_brush([0], (1, 1))
