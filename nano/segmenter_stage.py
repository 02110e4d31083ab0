"""Stage (a): SAM 3-nano behind its frozen eyes: masks, presence and single objects, from words, boxes and references.

One lesson in every mixture: a picture, a prompt, and often references whose masks say where to look (`prior`). SAM 3
was trained on noun phrases and exemplar boxes; a region may also be written out, as an MLLM would write it, which gives
the prompt space a sense of place that the concept translation can speak to later. Context-dependent and -reasoning
concepts are not taught by name alone: asked for them without references, the segmenter learns to answer "not present",
which sends them to the reasoning route.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conceptseg.geometry import box_from_mask, fill_box
from conceptseg.models.eyes import Eyes
from conceptseg.models.matching import Evidence, Sight, cover_cells, match_references
from conceptseg.models.segmenter import Instances, PromptSegmenter, SegmentationLogits
from conceptseg.training.losses import segmentation_loss, shrink_truth
from nano.dense import batch_iou
from nano.groups import Group, Question
from nano.instance_loss import instance_loss

__all__ = ["SegmenterLearner"]

_PRESENCE_WEIGHT = 0.5
_INSTANCE_WEIGHT = 1.0
_EMPTY_WEIGHT = 0.3
"""Of the mask of what is not there: presence says the same, and better."""


class SegmenterLearner(nn.Module):
    """SAM 3-nano with its reference prior, as one trainable module; the trunk of its eyes stays frozen."""

    def __init__(self, segmenter: PromptSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter.requires_grad_(True)
        backbone = segmenter.sam.vision_encoder.backbone
        if isinstance(backbone, Eyes):
            backbone.freeze().trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, groups: Sequence[Group]) -> tuple[Tensor, dict[str, float], int]:
        """Masks, presence and objects of a batch of groups; every picture is looked at once."""
        segmenter = self.segmenter
        device = segmenter.sam.device
        pixels = torch.from_numpy(np.concatenate([group.images for group in groups])).to(device).permute(0, 3, 1, 2)
        glance = segmenter.glance((pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        asked, rows, evidence = [], [], []
        first = 0
        for group in groups:
            for question in group.questions:
                asked.append(question)
                rows.append(first + question.target)
                evidence.append(_evidence_for(question, group, first, glance.sight))
            first += len(group.images)
        features = segmenter.features_of(glance.select(rows), evidence)
        prompt = segmenter.embed_text([question.text for question in asked])
        if any(question.box for question in asked):
            prompt = prompt.append(segmenter.embed_boxes(features, [question.box for question in asked]))
        logits, found = segmenter.decode_with_instances(features, prompt)
        loss, numbers = _losses(asked, logits, found)
        return loss, numbers, len(asked)


def _evidence_for(question: Question, group: Group, first: int, sight: Sight) -> Evidence | None:
    if not question.references:
        return None
    marks = [group.marks[index] for index in question.references]
    if question.by_boxes:
        boxes = [box_from_mask(mark) for mark in marks]
        marks = [mark if box is None else fill_box(box, mark.shape) for mark, box in zip(marks, boxes, strict=True)]
    covers = torch.stack([cover_cells(mark, sight.grid_hw) for mark in marks]).to(sight.maps[0].device)
    shown = sight.select([first + index for index in question.references])
    with torch.no_grad(), torch.autocast(sight.maps[0].device.type, torch.bfloat16):
        return match_references(sight.select([first + question.target]), shown, covers)


def _losses(asked: Sequence[Question], logits: SegmentationLogits, found: Instances) -> tuple[Tensor, dict[str, float]]:
    semantic = logits.semantic.float()
    masks = torch.from_numpy(np.stack([question.mask for question in asked])).to(semantic.device)
    present = torch.tensor([question.present for question in asked], device=semantic.device)
    taught = torch.tensor([question.teaches_mask for question in asked], device=semantic.device)
    truth = shrink_truth(masks.float(), (semantic.shape[-2], semantic.shape[-1]))
    weight = taught * torch.where(present, 1.0, _EMPTY_WEIGHT)
    mask_loss = (segmentation_loss(semantic, truth, pixel_loss="bce") * weight).sum() / weight.sum().clamp(min=1)
    presence_loss = F.binary_cross_entropy_with_logits(logits.presence.float(), present.float())
    loss = mask_loss + _PRESENCE_WEIGHT * presence_loss
    numbers = _progress(asked, semantic.detach() > 0, truth > 0.5, logits.presence.detach().float().sigmoid())
    numbers |= {"mask_loss": float(mask_loss.detach()), "presence_loss": float(presence_loss.detach())}
    counted = [row for row, question in enumerate(asked) if question.things is not None]
    if counted:
        objects = instance_loss(found.select(counted), [asked[row].things or () for row in counted])
        numbers["instance_loss"] = float(objects.detach())
        loss = loss + _INSTANCE_WEIGHT * objects
    return loss, numbers


def _progress(asked: Sequence[Question], drawn: Tensor, truth: Tensor, presence: Tensor) -> dict[str, float]:
    """How right the batch was, by how it was asked; only what it held."""
    iou = batch_iou(drawn, truth)
    kinds: dict[str, list[float]] = {}
    for row, question in enumerate(asked):
        kinds.setdefault("presence_there" if question.present else "presence_absent", []).append(float(presence[row]))
        if question.present and question.teaches_mask:
            how = "references" if question.references else "box" if question.box else "words"
            kinds.setdefault(f"iou_{how}", []).append(float(iou[row]))
    return {kind: sum(values) / len(values) for kind, values in kinds.items()}
