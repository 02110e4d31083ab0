"""Label Studio's ML backend: `/setup`, `/predict`, `/webhook`, `/versions`; a rule is a model version."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from conceptseg import __version__
from conceptseg.interfaces.server.answers import json_response
from conceptseg.interfaces.server.bodies import read_json
from conceptseg.interfaces.server.label_studio_predicting import Predictor
from conceptseg.interfaces.server.label_studio_references import Finished, FinishedAnnotations
from conceptseg.interfaces.server.label_studio_tasks import LabelConfig, read_drawn, read_media, references_of
from conceptseg.interfaces.server.pictures import PixelBudget
from conceptseg.interfaces.server.refusals import refuse
from conceptseg.interfaces.server.service import Service

__all__ = ["DEFAULT_VERSION", "build_label_studio_router"]

_LOG = logging.getLogger(__name__)

DEFAULT_VERSION = f"conceptseg {__version__}"
"""The model version that goes by labels and finished annotations, without a rule."""
_KEEPS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class SetupRequest(BaseModel):
    """A project that wants to know its model's version."""

    project: str = Field(default="", max_length=200)
    schema_: str = Field(default="", alias="schema")
    extra_params: Any = None


class Context(BaseModel):
    """What a person is drawing."""

    result: list[Any] = Field(default=[], max_length=1000)


class PredictParams(BaseModel):
    """Of these only the drawing matters: logins are for fetching pictures, which is not done."""

    context: Context | None = None


class PredictRequest(BaseModel):
    """Tasks to be annotated."""

    tasks: list[dict[str, Any]] = Field(min_length=1)
    model_version: str | None = Field(default=None, max_length=200)
    project: str | None = Field(default=None, max_length=200)
    label_config: str
    params: PredictParams | None = None


class WebhookRequest(BaseModel):
    """Something happened in a project."""

    model_config = ConfigDict(extra="ignore")

    action: str = Field(max_length=200)
    project: dict[str, Any] = {}
    task: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None


class SetupAnswer(BaseModel):
    """The version, which Label Studio names again when it asks for predictions."""

    model_version: str


class TaskPrediction(BaseModel):
    """Regions of a task; `notes` and `error` are for who looks at the answer."""

    result: list[dict[str, Any]]
    model_version: str
    score: float | None = None
    notes: list[str] = []
    error: dict[str, str] | None = None


class PredictAnswer(BaseModel):
    """A prediction a task, in order."""

    results: list[TaskPrediction]


def build_label_studio_router(service: Service) -> APIRouter:
    """The routes of an ML backend."""
    router = APIRouter()
    finished = FinishedAnnotations()
    predictor = Predictor(service, finished)
    background: set[asyncio.Task[None]] = set()

    @router.post("/setup", response_model=SetupAnswer, openapi_extra=_body(SetupRequest))
    async def setup(request: Request) -> Response:
        """The model version of a project: the rule that its extra parameters name, `{"rule": "defect"}`, or none."""
        asked = await read_json(request, SetupRequest)
        rule = _rule_in(asked.extra_params)
        if rule and rule not in await service.decode(service.rules.names):
            raise refuse("not_found", f"There is no rule {rule[:80]!r}, which the project's extra parameters name.")
        return json_response({"model_version": rule or DEFAULT_VERSION})

    @router.get("/versions")
    async def versions() -> Response:
        """All model versions."""
        return json_response({"versions": [DEFAULT_VERSION, *await service.decode(service.rules.names)]})

    @router.post("/predict", response_model=PredictAnswer, openapi_extra=_body(PredictRequest))
    async def predict(request: Request) -> Response:
        """Masks for tasks: of a rule's concept, of what is marked in the task, or of every label."""
        with service.in_time():
            asked = await read_json(request, PredictRequest)
            service.check_count(len(asked.tasks), service.options.max_tasks, "tasks")
            config = LabelConfig.parse(asked.label_config)
            drawing = asked.params.context.result if asked.params and asked.params.context else []
            version = await _version(service, asked.model_version)
            project = (asked.project or "").partition(".")[0]
            results = await predictor.predict(asked.tasks, config, version, project, drawing)
            return json_response({"results": results})

    @router.post("/webhook", status_code=201, openapi_extra=_body(WebhookRequest))
    async def webhook(request: Request) -> Response:
        """Finished annotations become references; START_TRAINING learns a rule of them for every label."""
        with service.in_time():
            event = await read_json(request, WebhookRequest)
            project = str(event.project.get("id", ""))[:64]
            if event.action == "START_TRAINING":
                names = await _start_learning(service, finished, project, background)
                return json_response({"learning": names}, 201)
            if event.annotation is None or event.action not in (*_KEEPS, "ANNOTATION_DELETED"):
                return json_response({"notes": [f"Nothing is done on {event.action}."]}, 201)
            notes = await service.decode(lambda: _take(service, finished, event, project))
            return json_response({"notes": notes}, 201)

    return router


async def _version(service: Service, named: str | None) -> str:
    """The rule that a model version names, or the default."""
    if named and named in await service.decode(service.rules.names):
        return named
    if named and not named.startswith("conceptseg "):
        raise refuse("not_found", f"There is no model version {named[:80]!r}: GET /versions lists those there are.")
    return DEFAULT_VERSION


def _take(service: Service, finished: FinishedAnnotations, event: WebhookRequest, project: str) -> list[str]:
    """Keep, replace or forget an annotation, and tell what was left out."""
    annotation, task = event.annotation or {}, event.task or {}
    name = str(annotation.get("id", ""))[:64]
    result = annotation.get("result")
    drawn, notes = read_drawn(result if isinstance(result, list) else [])
    if event.action not in _KEEPS or annotation.get("was_cancelled") or not drawn:
        finished.remove(project, name)
        return [*notes, "The annotation is no reference."]
    config = LabelConfig.parse(str(event.project.get("label_config", "")))
    data = task.get("data")
    root, most = service.options.media_root, service.options.max_body_bytes
    image = read_media(data if isinstance(data, dict) else {}, config.key, root, most)
    references_of(drawn, PixelBudget(service.options.max_pixels).read(image, "the task's picture").image)
    dropped = finished.put(project, name, Finished(str(task.get("id", ""))[:64], image, tuple(drawn)))
    return notes + ([f"{dropped} older annotations were forgotten to make room."] if dropped else [])


async def _start_learning(
    service: Service, finished: FinishedAnnotations, project: str, background: set[asyncio.Task[None]]
) -> list[str]:
    """Begin to learn a rule for every label, and return their ids; how it went is in the log."""
    labels = finished.labels(project)
    if not labels:
        raise refuse("conflict", "There are no finished annotations of this project to learn from, since the start.")
    names = {label: _rule_id(project, label) for label in labels}

    async def learn() -> None:
        try:
            with service.in_time(service.options.learning_limit_s * len(names)):
                for label, name in names.items():
                    await _learn(service, finished, project, label, name)
        except Exception as error:  # no place, or the time is up; nobody waits for it either
            _LOG.warning("Rules of project %s could not be learned: %s", project, _reason(error))

    task = asyncio.create_task(learn())
    background.add(task)  # the loop itself keeps no hold of it
    task.add_done_callback(background.discard)
    return list(names.values())


async def _learn(service: Service, finished: FinishedAnnotations, project: str, label: str, name: str) -> None:
    kept = finished.of(project, label)
    try:
        told = await service.relearn(name, label, lambda: _references(service, kept))
        _LOG.info("Learned %s: %s", name, told.get("description"))
    except Exception as error:  # nobody waits for it: the log is all there is
        _LOG.warning("%s could not be learned: %s", name, _reason(error))


def _reason(error: Exception) -> str:
    return str(getattr(error, "detail", "") or error) or type(error).__name__


def _references(service: Service, kept: list[Finished]) -> list[Any]:
    budget = PixelBudget(service.options.max_pixels)
    found: list[Any] = []
    for one in kept:
        image = budget.read(one.image, f"the picture of task {one.task}").image
        found += [replace(reference, image=one.image) for reference in references_of(one.drawn, image)]
    return found[: service.options.max_learned_references]


def _rule_id(project: str, label: str) -> str:
    """An id that two labels never share."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:30]
    digest = hashlib.sha256(f"{project}\0{label}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"ls-{plain or 'label'}-{digest}"


def _rule_in(extra_params: Any) -> str:
    """The rule that extra parameters name: as JSON, as text of JSON, or as rule=NAME."""
    if isinstance(extra_params, str):
        try:
            extra_params = json.loads(extra_params)
        except (ValueError, RecursionError):
            return extra_params.removeprefix("rule=").strip() if extra_params.startswith("rule=") else ""
    rule = extra_params.get("rule") if isinstance(extra_params, dict) else None
    return rule if isinstance(rule, str) else ""


def _body(model: type[BaseModel]) -> dict[str, Any]:
    told = model.model_json_schema()
    names: dict[str, Any] = {name: {} for name in told["properties"]}
    schema = {"type": "object", "properties": names, "required": told.get("required", [])}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
