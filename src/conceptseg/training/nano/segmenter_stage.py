"""Stage (a): SAM 3-nano learns named objects, presence, and regions given in words, on ConceptWorld.

SAM 3 was trained on noun phrases and on exemplar boxes. Nano has texts only, so a region is written out as the MLLM
would write it, `[x1, y1, x2, y2]`, and what is learned from it gives the prompt space a sense of place that the
concept translation can speak to later. Context-dependent and -reasoning concepts are never taught by name: asked
for them by text alone, the segmenter learns to answer "not present", which sends them to the reasoning route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor, nn
from torch.utils.data import Dataset

from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld, Scene, vocabulary_texts
from conceptseg.data.world.shapes import colours_of, shapes_of
from conceptseg.geometry import BoxXYXY, box_from_mask
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter
from conceptseg.protocol import format_box
from conceptseg.training.losses import segmentation_loss, shrink_truth
from conceptseg.training.nano.dense import UNKNOWN, CellTargets, batch_iou, cell_loss, label_cells
from conceptseg.training.nano.mixture import Mixture

__all__ = ["SegmenterData", "SegmenterItem", "SegmenterLearner", "rough_box"]

PROMPTS_PER_IMAGE = 3
_SCENE_SHARE = 0.5
_NAME_SHARE = 0.7
_NONSENSE_SHARE = 0.4
_PRESENCE_WEIGHT = 0.3
_CELL_WEIGHT = 0.5

_Question: TypeAlias = tuple[str, Bool[np.ndarray, "h w"] | None]
"""A text and its mask; None where only presence (absence) is taught."""


@dataclass(frozen=True, eq=False)
class SegmenterItem:
    """One picture with three questions about it."""

    image: UInt8[np.ndarray, "h w 3"]
    texts: tuple[str, ...]
    masks: Bool[np.ndarray, "prompts h w"]
    present: Bool[np.ndarray, " prompts"]
    has_mask: Bool[np.ndarray, " prompts"]
    """False where only presence is taught."""
    cells: CellTargets
    """What every patch shows, by the index of its name."""


class SegmenterData(Dataset[SegmenterItem]):
    """Endless, seeded items; item i is the same whoever asks, in whatever order.

    Args:
        tasks: ConceptWorld tasks.
        seed: another seed gives other items.
        size_px: side of the pictures.
        patch_px: side of a patch, for what every patch shows.
        beside: what else is shown; nothing unless given.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int,
        size_px: int,
        patch_px: int,
        beside: Mixture | None = None,
    ) -> None:
        self.world = ConceptWorld(tasks=tasks, split="train", seed=seed, size_px=size_px, references=0)
        self.beside = beside
        self.names = tuple(dict.fromkeys((*self.world.names, *(beside.names if beside else ()))))
        self.words = _words(self.world.split)
        self.side = size_px // patch_px
        self.seed = seed

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> SegmenterItem:
        rng = np.random.default_rng([self.seed, 1, index])
        source = self.beside.draw(rng) if self.beside else None
        if source is not None:
            sample = source.sample(rng, references=0)
            return self._from_sample(sample, source.absent_from(sample, self.names), rng)
        if rng.random() < _SCENE_SHARE:
            return self._from_scene(self.world.scene(index), rng)
        sample = self.world.sample(self.world.tasks[rng.integers(len(self.world.tasks))], index)
        return self._from_sample(sample, self._others([sample.answer or sample.concept]), rng)

    def _from_scene(self, scene: Scene, rng: np.random.Generator) -> SegmenterItem:
        names = sorted({thing.name for thing in scene.objects})
        name = names[int(rng.integers(len(names)))]
        asked: list[_Question] = [(name, scene.mask_of(name))]
        asked.append((self._absent(names, rng), None) if rng.random() < 0.6 else _any_name(scene, names, rng))
        thing = scene.objects[int(rng.integers(len(scene.objects)))]
        if rng.random() < 0.5:
            asked.append((_region(scene.mask_of(thing.name), rng) + f" {thing.name}", scene.mask_of(thing.name)))
        else:
            asked.append(
                (_region(thing.mask, rng) + rng.choice(["", " object", f" {self._absent(names, rng)}"]), thing.mask)
            )
        things = [(1 + self.names.index(thing.name), thing.mask) for thing in scene.objects]
        return _item(scene.image, asked, label_cells(things, self.side))

    def _from_sample(self, sample: ConceptSample, absent: Sequence[str], rng: np.random.Generator) -> SegmenterItem:
        image, mask = np.asarray(sample.image), np.asarray(sample.mask)
        answer = sample.answer or sample.concept
        is_named = answer in self.names
        other = absent[int(rng.integers(len(absent)))]
        asked: list[_Question] = [(f"{_region(mask, rng)} {_said_of(sample, other, rng)}", mask)]
        asked.append((_region(mask, rng), mask) if sample.level != "CR" else asked[0])
        unknown = self._unknown(sample, other, rng)
        is_asked = is_named and sample.level == "CI" and rng.random() < _NAME_SHARE
        asked.append((answer, mask) if is_asked else (unknown, None))
        target = [(1 + self.names.index(answer), mask)] if is_named else []
        return _item(image, asked, label_cells(target, self.side, elsewhere=UNKNOWN))

    def _unknown(self, sample: ConceptSample, other: str, rng: np.random.Generator) -> str:
        """What is not to be found: a concept that only the MLLM understands, words in no sensible order (of a concept
        never heard of, nothing should be claimed to be there), or the name of something else."""
        if sample.level != "CI" and rng.random() < 0.6:
            return sample.concept
        return " ".join(rng.choice(self.words, int(rng.integers(2, 4)))) if rng.random() < _NONSENSE_SHARE else other

    def _absent(self, present: Sequence[str], rng: np.random.Generator) -> str:
        names = self._others(present)
        return names[int(rng.integers(len(names)))]

    def _others(self, present: Sequence[str]) -> list[str]:
        return [name for name in self.world.names if name not in present]


def _words(split: str) -> list[str]:
    """Every word that is said anywhere, but for those of names, colours and shapes that the split does not show."""
    unseen = {*ConceptWorld.names_of("unseen_test"), *colours_of("unseen_test"), *shapes_of("unseen_test")}
    shown = {*ConceptWorld.names_of(split), *colours_of(split), *shapes_of(split)}
    hidden, known = ({word for name in names for word in name.split()} for names in (unseen, shown))
    said = {word for text in vocabulary_texts() for word in text.split() if word.isalpha()}
    return sorted(said - (hidden - known))


def _said_of(sample: ConceptSample, other: str, rng: np.random.Generator) -> str:
    """The answer, or what an MLLM that errs would say in its place: where a name is not in its region, the region
    decides."""
    answer = sample.answer or sample.concept
    slips = [answer, answer, sample.concept, other]
    return answer if sample.level == "CR" else slips[int(rng.integers(len(slips)))]


def _any_name(scene: Scene, names: Sequence[str], rng: np.random.Generator) -> _Question:
    name = names[int(rng.integers(len(names)))]
    return name, scene.mask_of(name)


def rough_box(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> BoxXYXY:
    """The mask's box, off by as much as an MLLM's boxes are: mostly a little, sometimes a lot."""
    box = box_from_mask(mask) or (0.0, 0.0, 1.0, 1.0)
    spread = rng.choice([0.03, 0.08, 0.16])
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    moved = np.clip(np.array(box) + rng.normal(0, spread, 4) * size, 0, mask.shape[0])
    x1, y1, x2, y2 = np.sort(moved.reshape(2, 2), axis=0).ravel().tolist()
    return (x1, y1, x2, y2)


def _region(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> str:
    """A rough box as text, in the words of the protocol."""
    return format_box(rough_box(mask, rng))


def _item(image: UInt8[np.ndarray, "h w 3"], asked: Sequence[_Question], cells: CellTargets) -> SegmenterItem:
    empty = np.zeros(image.shape[:2], dtype=bool)
    return SegmenterItem(
        image=image,
        texts=tuple(text for text, _ in asked),
        masks=np.stack([empty if mask is None else mask for _, mask in asked]),
        present=np.array([mask is not None and bool(mask.any()) for _, mask in asked]),
        has_mask=np.array([mask is not None for _, mask in asked]),
        cells=cells,
    )


class SegmenterLearner(nn.Module):
    """SAM 3-nano with training-only heads on its coarsest features: which name lies under each patch, and its box.

    Names are compared with patches through the text encoder itself, so that words and looks meet in one space.
    """

    def __init__(self, segmenter: PromptSegmenter, names: Sequence[str]) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.names = tuple(names)
        width = segmenter.prompt_size
        self.to_words = nn.Linear(width, width)
        self.to_box = nn.Linear(width, 4)
        self.nothing = nn.Parameter(torch.zeros(1, width))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def loss(self, items: Sequence[SegmenterItem]) -> tuple[Tensor, dict[str, float], int]:
        """Segmentation loss where a mask is taught, presence everywhere, cells beside; images are encoded once."""
        segmenter = self.segmenter
        device = segmenter.sam.device
        pixels = torch.from_numpy(np.stack([item.image for item in items])).to(device).permute(0, 3, 1, 2)
        features = segmenter.encode(pixels.float() / 127.5 - 1)
        rows = [index for index in range(len(items)) for _ in range(PROMPTS_PER_IMAGE)]
        prompt = segmenter.embed_text([text for item in items for text in item.texts])
        logits = segmenter.decode(features.select(rows), prompt)
        masks = torch.from_numpy(np.concatenate([item.masks for item in items])).to(device)
        present = torch.from_numpy(np.concatenate([item.present for item in items])).to(device)
        taught = torch.from_numpy(np.concatenate([item.has_mask for item in items])).to(device)
        semantic = logits.semantic.float()
        truth = shrink_truth(masks.float(), (semantic.shape[-2], semantic.shape[-1]))
        mask_loss = (_mask_loss(semantic, truth) * taught).sum() / taught.sum().clamp(min=1)
        presence_loss = F.binary_cross_entropy_with_logits(logits.presence.float(), present.float())
        numbers = _progress_numbers(semantic, truth, logits.presence, present, taught)
        numbers |= {"mask_loss": float(mask_loss.detach()), "presence_loss": float(presence_loss.detach())}
        cells, cell_numbers = self._cell_loss(features, items)
        loss = mask_loss + _PRESENCE_WEIGHT * presence_loss + _CELL_WEIGHT * cells
        return loss, numbers | cell_numbers, len(items)

    def _cell_loss(self, features: ImageFeatures, items: Sequence[SegmenterItem]) -> tuple[Tensor, dict[str, float]]:
        patches = features.vision.fpn_hidden_states[-2].flatten(2).transpose(1, 2).flatten(0, 1)
        words = self.segmenter.embed_text(self.names)
        inner = words.mask.clone()
        inner[:, 0] = False  # the start token is the same for all
        meaning = (words.embeds * inner[..., None]).sum(1) / inner.sum(1, keepdim=True)
        meaning = F.normalize(torch.cat([self.nothing, meaning]).float(), dim=1)
        scores = F.normalize(self.to_words(patches).float(), dim=1) @ meaning.T * self.scale.exp()
        labels = torch.from_numpy(np.stack([item.cells.labels for item in items])).to(patches.device).flatten()
        boxes = torch.from_numpy(np.stack([item.cells.boxes for item in items])).to(patches.device).view(-1, 4)
        return cell_loss(scores, self.to_box(patches), labels, boxes)


def _mask_loss(semantic: Tensor, truth: Tensor) -> Tensor:
    # Focal alone is a thousand times smaller than dice at the start; BCE beside it gets a fresh model moving.
    return segmentation_loss(semantic, truth, pixel_loss="bce")


@torch.no_grad()
def _progress_numbers(
    semantic: Tensor, truth: Tensor, presence: Tensor, present: Tensor, taught: Tensor
) -> dict[str, float]:
    predicted, actual = semantic > 0, truth > 0.5
    by_prompt = batch_iou(predicted, actual).view(-1, PROMPTS_PER_IMAGE)
    valid = (taught & present).view(-1, PROMPTS_PER_IMAGE)
    first, last = (float((by_prompt[:, k] * valid[:, k]).sum() / valid[:, k].sum().clamp(min=1)) for k in (0, 2))
    scores = torch.sigmoid(presence.float())
    said = [float(scores[present == there].mean()) if (present == there).any() else 0.0 for there in (True, False)]
    return {"iou_first": first, "iou_last": last, "presence_there": said[0], "presence_absent": said[1]}
