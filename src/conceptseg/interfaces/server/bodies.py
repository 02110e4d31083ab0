"""Reading a request's body: JSON or multipart, as the models of `schemas` say, with every mistake in plain words."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from conceptseg.errors import InputError
from conceptseg.interfaces.server.pictures import RawReference, decode_base64
from conceptseg.interfaces.server.refusals import refuse
from conceptseg.interfaces.server.schemas import ReferenceInput
from conceptseg.validation import explain_mistakes

__all__ = ["Upload", "parse", "raw_references", "read_body", "read_json"]

M = TypeVar("M", bound=BaseModel)
_TEXT_LIMIT = 1 << 20
_REPEATED = ("reference", "reference_mask", "reference_box", "reference_unlike", "absent")


class Upload:
    """A request's words and pictures, however they came."""

    def __init__(self, words: dict[str, Any], files: dict[str, list[bytes]], references: list[RawReference]) -> None:
        self.words, self.files, self.references = words, files, references

    def image(self) -> bytes:
        """The picture that is asked about."""
        images = self.files.get("image", [])
        if len(images) != 1:
            raise InputError(f"image: expected one picture, got {len(images)}.")
        return images[0]


def parse(model: type[M], content: bytes) -> M:
    """JSON as a model.

    Raises:
        Refusal: it is no JSON.
        InputError: it is, but not as the model wants it; all mistakes are told.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        if any(one["type"] == "json_invalid" for one in error.errors(include_url=False, include_input=False)):
            raise refuse("malformed", f"The body is no JSON: {error.errors()[0]['msg']}.") from error
        raise InputError("; ".join(explain_mistakes(error, model)[:10]) + ".") from error


async def read_json(request: Request, model: type[M]) -> M:
    """The body as JSON; errors as of `parse`.

    Raises:
        Refusal: also where it says to be something else.
    """
    kind = _content_type(request)
    if kind not in ("application/json", ""):
        raise refuse("unsupported_media_type", f"Content-Type must be application/json, got {kind[:80]!r}.")
    return parse(model, await request.body())


async def read_body(request: Request, model: type[BaseModel], most_references: int) -> Upload:
    """The body of a route that takes both forms.

    As multipart: `image` a file, `reference`, `reference_mask`, `reference_box` and `reference_unlike` (true where the
    mark is on what the concept is not) as often as there are references (or but for `reference` never; one may be
    empty), `absent` files, and the other fields as text.

    Raises:
        Refusal: it is neither, is malformed, or has too many references.
        InputError: a field is wrong.
    """
    kind = _content_type(request)
    if kind == "multipart/form-data":
        return await _read_form(request, model, most_references)
    if kind != "application/json":
        wanted = "Content-Type must be multipart/form-data (curl -F) or application/json"
        raise refuse("unsupported_media_type", f"{wanted}, got {kind[:80]!r}.")
    told: Any = await read_json(request, model)
    references, absent = getattr(told, "references", []), getattr(told, "absent", [])
    _check_most(len(references) + len(absent), most_references)
    files = {"absent": [decode_base64(one, f"absent picture {i}") for i, one in enumerate(absent, start=1)]}
    if hasattr(told, "image"):
        files["image"] = [decode_base64(told.image, "image")]
    words = told.model_dump(exclude={"image", "references", "absent"})
    return Upload(words, files, raw_references(references))


def raw_references(references: list[ReferenceInput]) -> list[RawReference]:
    """References of a JSON body as bytes."""
    return [
        RawReference(
            decode_base64(one.image, f"reference {place}"),
            None if one.mask is None else decode_base64(one.mask, f"the mask of reference {place}"),
            one.box,
            one.unlike,
        )
        for place, one in enumerate(references, start=1)
    ]


async def _read_form(request: Request, model: type[BaseModel], most: int) -> Upload:
    try:
        async with request.form(max_files=3 * most + 2, max_fields=4 * most + 16, max_part_size=_TEXT_LIMIT) as form:
            _check_most(len(form.getlist("reference")) + len(form.getlist("absent")), most)
            files = {name: [await _content(one) for one in form.getlist(name)] for name in ("image", "absent")}
            references = await _form_references(form)
            words = _form_words(form, model)
    except HTTPException as error:
        if "Too many" in str(error.detail):
            raise refuse("too_large", f"{error.detail} A request may have {most} references.") from error
        raise
    return Upload(words, files, references)


def _form_words(form: FormData, model: type[BaseModel]) -> dict[str, Any]:
    """The text fields, checked by the model as in JSON; pictures are stood in for."""
    stand_in = {"image": "-", "references": [{"image": "-"}]}
    told: dict[str, Any] = {key: value for key, value in stand_in.items() if key in model.model_fields}
    for name in dict.fromkeys(form.keys()):
        if name in ("image", *_REPEATED):
            continue
        values = form.getlist(name)
        if len(values) > 1 or not isinstance(values[0], str):
            raise InputError(f"{name[:80]}: expected one text field, got {len(values)} or a file.")
        told[name] = values[0]
    return parse(model, json.dumps(told).encode()).model_dump(exclude={"image", "references", "absent"})


async def _form_references(form: FormData) -> list[RawReference]:
    images = [await _content(one) for one in form.getlist("reference")]
    masks = [await _content(one) or None for one in form.getlist("reference_mask")]
    boxes = [_box(one, place) for place, one in enumerate(form.getlist("reference_box"), start=1)]
    unlike = [_flag(one, place) for place, one in enumerate(form.getlist("reference_unlike"), start=1)]
    for name, given in (("reference_mask", masks), ("reference_box", boxes), ("reference_unlike", unlike)):
        if given and len(given) != len(images):
            raise InputError(
                f"{name}: got {len(given)} for {len(images)} references. Give one for each, in order, or none; "
                "an empty one stands for a reference without."
            )
    nothing = [None] * len(images)
    rows = zip(images, masks or nothing, boxes or nothing, unlike or [False] * len(images), strict=True)
    return [RawReference(*one) for one in rows]


def _flag(value: UploadFile | str, place: int) -> bool:
    text = value.strip().lower() if isinstance(value, str) else "a file"
    if text not in ("", "false", "true"):
        raise InputError(f"reference_unlike {place}: expected true, false or nothing, got {text[:80]!r}.")
    return text == "true"


def _box(value: UploadFile | str, place: int) -> tuple[float, float, float, float] | None:
    text = value if isinstance(value, str) else "a file"
    if not text.strip():
        return None
    try:
        x1, y1, x2, y2 = (float(number) for number in text.strip("[] ").split(","))
    except ValueError as error:
        raise InputError(f"reference_box {place}: expected x1,y1,x2,y2 in pixels, got {text[:80]!r}.") from error
    return x1, y1, x2, y2


async def _content(part: UploadFile | str) -> bytes:
    """A file's bytes; of a text field the bytes of the base64 it must be. File names are never looked at."""
    if isinstance(part, str):
        return decode_base64(part, "a picture that is sent as text") if part else b""
    return await part.read()


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _check_most(count: int, most: int) -> None:
    if count > most:
        raise refuse("too_large", f"{count} references are more than the {most} that a request may have. Send fewer.")
