"""From Label Studio's tasks to predictions: which questions a task asks, and their masks as brush regions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.images import ReadImage
from conceptseg.inference import SegmentationResult
from conceptseg.interfaces.server.answers import confidence_of, is_absent
from conceptseg.interfaces.server.label_studio_references import FinishedAnnotations
from conceptseg.interfaces.server.label_studio_tasks import (
    Drawn,
    LabelConfig,
    read_drawn,
    read_media,
    references_of,
)
from conceptseg.interfaces.server.pictures import PixelBudget
from conceptseg.interfaces.server.refusals import Refusal, refusal_for
from conceptseg.interfaces.server.service import Service
from conceptseg.shapes import encode_brush
from conceptseg.words import check_words

__all__ = ["Predictor"]


class Predictor:
    """Answers tasks one after the other, the labels of a task together.

    Args:
        service: asks the model.
        finished: what is known of the project.
    """

    def __init__(self, service: Service, finished: FinishedAnnotations) -> None:
        self._service, self._finished = service, finished

    async def predict(
        self, tasks: Sequence[dict[str, Any]], config: LabelConfig, version: str, project: str, drawing: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """A prediction a task, in order; a task that cannot be answered has no regions, and an `error`.

        Args:
            tasks: as Label Studio sends them.
            config: the project's.
            version: a rule's id, or any other name for none.
            project: its id.
            drawing: regions that a person draws at this moment, as prompts.

        Raises:
            InputError: no task could be answered; of the first one it is told why.
            Refusal: likewise.
        """
        results: list[dict[str, Any]] = []
        failures: list[Exception] = []
        for task in tasks:
            try:
                regions, notes = await self._predict_one(task, config, version, project, drawing)
            except (InputError, Refusal) as error:
                failures.append(error)
                refusal = refusal_for(error)
                told = {"type": refusal.kind, "message": str(refusal.detail)}
                results.append({"result": [], "model_version": version, "error": told})
                continue
            scores = [region["score"] for region in regions if "score" in region]
            score = {"score": min(scores)} if scores else {}
            results.append({"result": regions, "model_version": version, **score, "notes": notes})
        if len(failures) == len(tasks):
            raise failures[0]
        return results

    async def _predict_one(
        self, task: dict[str, Any], config: LabelConfig, version: str, project: str, drawing: Sequence[Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        service, data = self._service, task.get("data")
        root, most = service.options.media_root, service.options.max_body_bytes
        fields = data if isinstance(data, dict) else {}
        content = await service.decode(partial(read_media, fields, config.key, root, most))
        budget = PixelBudget(service.options.max_pixels)
        read = await service.decode(partial(budget.read, content, "the task's picture"))
        if version in await service.decode(service.rules.names):
            rule = await service.decode(partial(service.rules.model, version))
            label = config.label_for(rule.concept)
            unused = ["What is drawn was not used: a rule brings its own references."] if drawing else []
            result = await service.apply_rule(read, rule)
            return _regions(config, [(label, result)], task), [*unused, *result.notes]
        task_id = str(task.get("id", ""))[:64]
        drawn, notes = read_drawn(drawing)
        if drawing and not drawn:
            raise InputError("Draw a labelled box around an example: points and erasers are no prompts.")
        asked = await service.decode(partial(self._questions, read, config, project, task_id, drawn, budget))
        answers = await asyncio.gather(*(self._ask(read, label, references) for label, references in asked))
        pairs = list(zip((label for label, _ in asked), answers, strict=True))
        told = [note for _, result in pairs for note in result.notes]
        return _regions(config, pairs, task), [*notes, *dict.fromkeys(told)]

    def _questions(
        self,
        read: ReadImage,
        config: LabelConfig,
        project: str,
        task_id: str,
        drawn: Sequence[Drawn],
        budget: PixelBudget,
    ) -> list[tuple[str, list[Reference]]]:
        """Labels to be found with their references: what is drawn in this picture, else what was finished in others."""
        most = self._service.options.max_references
        if drawn:
            labels = dict.fromkeys(one.label for one in drawn)
            return [
                (label, references_of([one for one in drawn if one.label == label], read.image)[:most])
                for label in labels
            ]
        return [(label, self._finished_references(project, label, task_id, budget)) for label in config.labels]

    def _finished_references(self, project: str, label: str, task_id: str, budget: PixelBudget) -> list[Reference]:
        """The latest references of a label, as many as a request may have and its pixels allow."""
        found: list[Reference] = []
        for one in self._finished.of(project, label, without_task=task_id):
            if len(found) >= self._service.options.max_references:
                break
            try:
                image = budget.read(one.image, "a finished picture").image
            except Refusal:  # no pixels left
                break
            found += [replace(reference, image=one.image) for reference in references_of(one.drawn, image)]
        return found[: self._service.options.max_references]

    async def _ask(self, read: ReadImage, label: str, references: list[Reference]) -> SegmentationResult:
        words = check_words(label)
        return await self._service.ask(lambda: self._service.query(read, words, references), "auto")


def _regions(
    config: LabelConfig, answers: Sequence[tuple[str, SegmentationResult]], task: dict[str, Any]
) -> list[dict[str, Any]]:
    return [
        _region(config, label, result, task)
        for label, result in answers
        if result.mask is not None and result.mask.any() and not is_absent(result)
    ]


def _region(config: LabelConfig, label: str, result: SegmentationResult, task: dict[str, Any]) -> dict[str, Any]:
    assert result.mask is not None  # see above
    height, width = result.mask.shape
    name = hashlib.sha256(f"{task.get('id')}/{label}".encode("utf-8", "replace")).hexdigest()[:10]
    confidence = confidence_of(result)
    return {
        "id": name,
        "from_name": config.from_name,
        "to_name": config.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "type": "brushlabels",
        "value": {"format": "rle", "rle": encode_brush(result.mask), "brushlabels": [label]},
        **({} if confidence is None else {"score": confidence}),
    }
