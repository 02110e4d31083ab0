"""X-AnyLabeling's requests, replayed; whatever fails, a person's shapes stay."""

from __future__ import annotations

import numpy as np
import pytest

from conceptseg.interfaces.server.simplify import perimeter, simplify_polygon
from conceptseg.interfaces.server.x_anylabeling import ANY_CONCEPT
from conceptseg.shapes import fill_polygon
from tests.interfaces.server.fakes import HEIGHT, WIDTH, b64, left_half, png


def predict(client, model: str = ANY_CONCEPT, image: str | None = None, **params) -> dict:
    params = {"conf_threshold": 0.0, "iou_threshold": 0.5, "epsilon_factor": 0.001, **params}
    asked = {"model": model, "image": image or f"data:image/png;base64,{b64(png())}", "params": params}
    response = client.post("/v1/predict", json=asked)
    assert response.status_code == 200
    body = response.json()
    assert body["success"] is True and body["data"]["replace"] is False
    return body["data"]


def test_health_has_what_the_client_looks_for(client):
    told = client.get("/health").json()
    assert told["status"] == "UP" and told["models_loaded"] == 1 and told["timestamp"] > 0


def test_models_are_the_rules_and_any_concept(client):
    told = client.get("/v1/models").json()
    assert told["success"] is True and set(told["data"]) == {ANY_CONCEPT, "defect"}
    for model in told["data"].values():
        assert model["capabilities"] == {} and set(model) >= {"display_name", "widgets", "params"}
        values = {widget["name"]: widget["value"] for widget in model["widgets"]}
        assert values["edit_conf"] is not None and values["toggle_preserve_existing_annotations"] is True
        assert ("edit_text" in values) == ("button_send" in values)
    assert told["data"]["defect"]["batch_processing_mode"] == "default"
    assert told["data"][ANY_CONCEPT]["batch_processing_mode"] == "text_prompt"


def test_a_text_prompt_gives_polygons(client, engine):
    engine.confidence = 0.7
    data = predict(client, text_prompt="leaf")
    (shape,) = data["shapes"]
    assert shape["label"] == "leaf" and shape["shape_type"] == "polygon" and shape["score"] == 0.7
    assert shape["group_id"] is None and shape["attributes"] == {}
    assert (fill_polygon(shape["points"], (HEIGHT, WIDTH)) == left_half()).all()


def test_a_rule_is_a_model(client, engine):
    (shape,) = predict(client, "defect")["shapes"]
    assert shape["label"] == "crack" and engine.routes == ["reason"]


def test_drawn_boxes_are_references_in_the_picture_itself(client, engine):
    marks = [
        {"type": "rectangle", "data": [9, 8, 2, 1], "label": 1},
        {"type": "rectangle", "data": [0, 0, 3, 3], "label": 0},
        {"type": "point", "data": [4, 4], "label": 1},
    ]
    data = predict(client, text_prompt="leaf", marks=marks)
    (reference,) = engine.batches[0][0].references.loaded
    assert reference.box == (2, 1, 9, 8) and reference.image.size == (WIDTH, HEIGHT)
    assert "2 marks were not used" in data["description"]


@pytest.mark.parametrize(
    ("confidence", "found", "params", "words"),
    [
        (0.3, None, {"conf_threshold": 0.5}, "Confidence 0.30 is below 0.50."),
        (None, False, {}, "The concept is not in this picture."),
        (None, None, {"filter_classes": ["dent"]}, "none of the classes"),
    ],
)
def test_why_there_are_no_shapes_is_told(client, engine, confidence, found, params, words):
    engine.confidence, engine.found = confidence, found
    data = predict(client, text_prompt="leaf", **params)
    assert data["shapes"] == [] and words in data["description"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "nothing"}, "not_found: There is no rule 'nothing'"),
        ({"model": "../defect"}, "not_found"),
        ({"image": "http://x/y.png", "text_prompt": "leaf"}, "never fetched"),
        ({"image": "aGVsbG8=", "text_prompt": "leaf"}, "invalid_image"),
        ({}, "Type a concept, or draw a box"),
        ({"marks": [{"type": "rectangle", "data": [1, 2], "label": 1}]}, "got 2 numbers"),
        ({"marks": "none"}, "params.marks"),
        ({"text_prompt": "bug"}, "internal: A bug of the server"),
    ],
)
def test_a_failure_is_an_answer_without_shapes(client, engine, asked, words):
    engine.fails_on = "bug"
    data = predict(client, **asked)
    assert data["shapes"] == [] and words in data["description"]


@pytest.mark.parametrize("content", [b"{", b"", b"null", b"\xff"])
def test_even_what_is_no_json(client, content):
    response = client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 200 and response.json()["data"]["replace"] is False


def test_even_a_missing_token_a_large_body_and_a_full_queue(make_client):
    for options, words in (
        ({"token": "t"}, "unauthorized"),
        ({"max_body_bytes": 10}, "too_large"),
        ({"places": 1}, "busy"),
        ({}, "stopping"),
    ):
        client = make_client(**options)
        queue = client.app.state.service.queue
        if words == "busy":
            with queue.place():
                data = predict(client, text_prompt="leaf")
        else:
            if words == "stopping":
                queue.close()
            data = predict(client, text_prompt="leaf")
        assert data["shapes"] == [] and data["description"].startswith(words)


def test_a_polygon_is_simplified_within_its_tolerance():
    circle = np.array([(50 + 40 * np.cos(a), 50 + 40 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 400)[:-1]])
    fewer = simplify_polygon(circle, 0.5)
    assert 3 <= len(fewer) < 60
    reach = np.hypot(*(fewer - 50).T)
    assert (
        np.allclose(reach, 40) and fill_polygon(fewer, (100, 100)).sum() > 0.98 * fill_polygon(circle, (100, 100)).sum()
    )
    assert perimeter(np.array([(0, 0), (4, 0), (4, 3.0)])) == 12


def test_only_what_lies_on_straight_lines_goes_at_no_tolerance():
    square = np.array([(0, 0), (1, 0), (2, 0), (2, 2), (1, 2), (0, 2.0)])
    assert simplify_polygon(square, 0.0).tolist() == [[0, 0], [2, 0], [2, 2], [0, 2]]
    assert len(simplify_polygon(np.array([(0, 0), (1, 0), (1, 1.0), (0, 1)]), 100.0)) >= 3
