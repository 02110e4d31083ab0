"""/v1/segment: both forms in, both forms out, and one clear error for everything else."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import Reference, load_reference
from conceptseg.shapes import decode_run_lengths
from tests.interfaces.server.fakes import HEIGHT, WIDTH, b64, left_half, mask_png, png


def error_of(response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"type", "message"}
    assert "Traceback" not in response.text and ".py" not in response.text
    return body["error"]


def ask(client, **body):
    return client.post("/v1/segment", json={"image": b64(png()), "concept": "leaf", **body})


def test_json_in_run_lengths_out(client):
    response = ask(client)
    assert response.status_code == 200
    told = response.json()
    assert told["concept"] == "leaf" and told["route"] == "direct" and told["presence"] == 0.9
    assert told["mask"]["format"] == "rle" and told["mask"]["size"] == [HEIGHT, WIDTH]
    assert (decode_run_lengths(told["mask"]["counts"], (HEIGHT, WIDTH)) == left_half()).all()


def test_json_in_png_out(client):
    mask = ask(client, mask="png").json()["mask"]
    assert mask["size"] == [HEIGHT, WIDTH] and mask["format"] == "png"
    image = Image.open(BytesIO(base64.b64decode(mask["png"])))
    assert (np.asarray(image) == left_half() * 255).all()


def test_multipart_in_png_alone_out(client):
    response = client.post(
        "/v1/segment",
        files={"image": ("../../etc/passwd", png())},
        data={"concept": "leaf"},
        headers={"Accept": "image/png"},
    )
    assert response.headers["content-type"] == "image/png"
    assert (np.asarray(Image.open(BytesIO(response.content))) == left_half() * 255).all()
    assert json.loads(response.headers["x-conceptseg-result"])["presence"] == 0.9


def test_references_arrive_as_they_were_given_in_both_forms(client, engine):
    references = [{"image": b64(png(8, 8)), "box": [1, 2, 5, 6]}, {"image": b64(png()), "mask": b64(mask_png())}]
    assert ask(client, references=references).status_code == 200
    files = [("image", png()), ("reference", png(8, 8)), ("reference", png())]
    files += [("reference_mask", b""), ("reference_mask", mask_png())]
    data = {"concept": "leaf", "reference_box": ["1,2,5,6", ""]}
    assert client.post("/v1/segment", files=files, data=data).status_code == 200
    for (query,) in engine.batches:
        boxed, masked = query.references.loaded
        assert boxed.box == (1, 2, 5, 6) and boxed.mask is None
        assert masked.mask is not None and masked.mask.sum() == HEIGHT and masked.box == (0, 0, 1, HEIGHT)


def test_a_mark_on_what_the_concept_is_not_arrives_in_both_forms(client, engine):
    references = [
        {"image": b64(png()), "mask": b64(mask_png())},
        {"image": b64(png()), "box": [1, 2, 5, 6], "unlike": True},
    ]
    assert ask(client, references=references).status_code == 200
    files = [("image", png()), ("reference", png()), ("reference", png())]
    files += [("reference_mask", mask_png()), ("reference_mask", b"")]
    data = {"concept": "leaf", "reference_box": ["", "1,2,5,6"], "reference_unlike": ["", "true"]}
    assert client.post("/v1/segment", files=files, data=data).status_code == 200
    for (query,) in engine.batches:
        assert [one.unlike for one in query.references.loaded] == [False, True]
    wrong = client.post("/v1/segment", files=files, data=data | {"reference_unlike": ["", "perhaps"]})
    assert "reference_unlike 2: expected true, false or nothing" in error_of(wrong, 422)["message"]
    bare = [{"image": b64(png())}, {"image": b64(png()), "unlike": True}]
    assert "reference 2: A reference that is unlike" in error_of(ask(client, references=bare), 422)["message"]


def test_a_data_uri_is_base64_too(client):
    assert ask(client, image=f"data:image/png;base64,{b64(png())}").status_code == 200


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/a.png", "https://x/a.png", "file:///etc/passwd", "ftp://x/y", "data:text/html,hello"],
)
def test_addresses_are_never_fetched(client, address):
    assert "never fetched" in error_of(ask(client, image=address), 422)["message"]


@pytest.mark.parametrize("content", [b"", b"hello", png()[:40], b"GIF89a", b"\x00" * 1000])
def test_what_is_no_picture(client, content):
    response = client.post("/v1/segment", files={"image": content}, data={"concept": "leaf"})
    assert error_of(response, 422)["type"] == "invalid_image"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (65_535, 65_535)])
def test_bombs_and_100_megapixels_are_refused_by_their_header(client, size):
    error = error_of(ask(client, image=b64(bomb(*size))), 413)
    assert error["type"] == "too_large" and "40000000" in error["message"]


def test_the_pixels_of_a_request_count_together(make_client):
    client = make_client(max_pixels=3 * WIDTH * HEIGHT)
    two = [{"image": b64(png())}] * 2
    assert ask(client, references=two).status_code == 200
    error = error_of(ask(client, references=[*two, {"image": b64(png())}]), 413)
    assert error["message"].startswith("reference 3: it has 24×16 pixels")
    masked = [{"image": b64(png()), "mask": b64(bomb(9000, 9000))}]
    assert "the mask of reference 1" in error_of(ask(client, references=masked), 413)["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "image: missing"),
        ({"image": "x", "concept": 3}, "concept: expected text"),
        ({"image": "x", "concept": "leaf", "refs": []}, "refs"),
        ({"image": "x", "concept": "leaf", "route": "fast"}, "route"),
        ({"image": "?", "concept": "leaf"}, "image is no base64"),
        ({"image": "aGk=", "concept": " "}, "concept"),
        ({"image": "aGk=", "concept": "leaf", "references": [{"image": "aGk=", "box": [1, 2]}]}, "box"),
    ],
)
def test_mistakes_are_named(client, body, words):
    assert words.lower() in error_of(client.post("/v1/segment", json=body), 422)["message"].lower()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"image": NaN'])
def test_what_is_no_json(client, content):
    response = client.post("/v1/segment", content=content, headers={"Content-Type": "application/json"})
    assert error_of(response, 400)["type"] == "malformed"


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
def test_other_types_are_refused(client, content_type):
    response = client.post("/v1/segment", content=b"x", headers={"Content-Type": content_type})
    assert error_of(response, 415)["type"] == "unsupported_media_type"


def test_broken_multipart(client):
    headers = {"Content-Type": "multipart/form-data"}
    assert error_of(client.post("/v1/segment", content=b"x", headers=headers), 400)["type"] == "malformed"


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_ten_thousand_references(client, engine, form):
    if form == "json":
        response = ask(client, references=[{"image": "aGk="}] * 10_000)
    else:
        files = [("image", png()), *[("reference", b"x")] * 10_000]
        response = client.post("/v1/segment", files=files, data={"concept": "leaf"})
    assert "16" in error_of(response, 413)["message"]
    assert engine.batches == []


def test_masks_and_boxes_must_be_as_many_as_references(client):
    files = [("image", png()), ("reference", png()), ("reference", png()), ("reference_mask", mask_png())]
    response = client.post("/v1/segment", files=files, data={"concept": "leaf"})
    assert error_of(response, 422)["message"].startswith("reference_mask: got 1 for 2 references.")


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "5,5,1,1", "nan,0,1,1", "90,90,99,99"])
def test_boxes_that_are_none(client, box):
    files = [("image", png()), ("reference", png())]
    response = client.post("/v1/segment", files=files, data={"concept": "leaf", "reference_box": box})
    assert "box" in error_of(response, 422)["message"]


def test_bodies_over_the_limit_with_and_without_a_length(make_client):
    client = make_client(max_body_bytes=1000)
    assert error_of(client.post("/v1/segment", content=b"x" * 1001), 413)["type"] == "too_large"
    headers = {"Content-Type": "application/json"}
    response = client.post("/v1/segment", content=iter([b"x" * 600] * 2), headers=headers)
    assert error_of(response, 413)["type"] == "too_large"


def test_a_bug_leaks_nothing_and_the_others_of_its_batch_are_answered(client, engine):
    engine.fails_on = "bug"
    error = error_of(ask(client, concept="bug"), 500)
    assert error["type"] == "internal" and "secret" not in error["message"]
    assert ask(client).status_code == 200


def test_paths_and_methods_that_are_none(client):
    assert error_of(client.get("/nothing"), 404)["type"] == "not_found"
    assert error_of(client.get("/v1/segment"), 405)["type"] == "method_not_allowed"


def test_what_reading_a_reference_had_to_guess_is_known_to_the_model(client, engine):
    buffer = BytesIO()
    Image.fromarray(np.full((8, 8), 9000, np.uint16)).save(buffer, format="PNG")
    deep = buffer.getvalue()
    assert ask(client, references=[{"image": b64(deep), "box": [1, 2, 5, 6]}]).status_code == 200
    (reference,) = engine.batches[0][0].references.loaded
    assert reference.notes == load_reference(Reference(deep)).notes != ()
