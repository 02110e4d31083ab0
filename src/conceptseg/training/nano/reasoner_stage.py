"""Stage (b), second half: MLLM-nano learns to answer in the protocol's grammar.

Whole episodes: the ideal response token by token, with coordinates softened over their neighbours, and beside it, for
every image token of mosaic and target, how much of the target it covers. Meanwhile its vision tower goes on naming
what it sees: an MLLM that cannot tell a cat from a kettle induces no rule about either. The heads are thrown away
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.geometry import BoxXYXY, box_from_mask, scale_box
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt, Reasoner
from conceptseg.protocol import Mosaic, build_mosaic
from conceptseg.training.nano.dense import CELLS_PER_SIDE, coverage
from conceptseg.training.nano.photographs import Photographs
from conceptseg.training.nano.vision_stage import VisionData, VisionItem, VisionLearner
from conceptseg.training.nano.wording import ideal_response

__all__ = ["Episode", "EpisodeData", "EpisodeLearner", "LessonData", "LessonLearner", "endless_batches"]

_BOX_TAGS = ("<bbox>", "<check>")
_NAMING_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class Episode:
    """A prompt, its ideal response, and what each image token should see."""

    sample: ConceptSample
    prompt: Prompt
    response: str
    mask: Bool[np.ndarray, "h w"]
    boxes: Float[np.ndarray, "2 4"]
    """The target's box and the proxy's, as shares of the frame; NaN where there is none."""
    coverage: tuple[Float[np.ndarray, "patches patches"], ...]
    """One an image (mosaic, target): the share of each patch that is target."""
    extents: tuple[Float[np.ndarray, "patches patches 4"], ...]
    """One an image: the box, as shares of the frame, of the target that lies in each patch's picture."""


class EpisodeData(Dataset[Episode]):
    """Endless, seeded episodes; references vary in number, now and then there are none.

    Args:
        model: whose prompts the episodes hold.
        world: the made samples.
        seed: another seed gives other episodes.
        photographs: real samples beside them.
        photograph_share: how many of the episodes those are.
    """

    def __init__(
        self,
        model: ConceptSegModel,
        world: ConceptWorld,
        *,
        seed: int,
        photographs: Photographs | None = None,
        photograph_share: float = 0.0,
    ) -> None:
        self.build_prompt = model.build_prompt
        self.frame_px = model.config.protocol.frame_px
        self.patches = self.frame_px // model.reasoner.processor.image_processor.patch_size
        self.world = world
        self.seed = seed
        self.photographs = photographs
        self.photograph_share = photograph_share

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> Episode:
        rng = np.random.default_rng([self.seed, 2, index])
        real = self.photographs if self.photographs and rng.random() < self.photograph_share else None
        sample = real.sample(rng) if real else self.world[index]
        available = len(sample.references)
        count = available
        if rng.random() < 0.3:
            count = int(rng.integers(min(available, 1 if sample.level == "CR" else 0), available + 1))
        return make_episode(self, sample, count)


def make_episode(data: EpisodeData, sample: ConceptSample, references: int) -> Episode:
    """The episode of a sample with its first `references` references."""
    loaded = load_sample(sample)
    mask = np.asarray(loaded.mask)
    used = loaded.references[:references]
    mosaic = None
    if used:
        mosaic = build_mosaic([r.image for r in used], [r.box for r in used], canvas_px=data.frame_px)
    prompt = data.build_prompt(sample.concept, loaded.image, mosaic)
    frame_hw = (data.frame_px, data.frame_px)
    box = box_from_mask(mask)
    box = scale_box(box, (mask.shape[0], mask.shape[1]), frame_hw) if box else None
    check = mosaic.boxes_xyxy[mosaic.proxy_index] if mosaic and mosaic.proxy_index is not None else None
    shares = [coverage(mask, data.patches)]
    extents = [_extent(box, data.frame_px, data.patches)]
    if mosaic:
        shares.insert(0, _mosaic_coverage([r.mask for r in used], mosaic, data.patches))
        extents.insert(0, _mosaic_extents(mosaic, data.patches))
    nowhere = (float("nan"),) * 4
    boxes = np.array([box or nowhere, check or nowhere], dtype=np.float32) / data.frame_px
    response = ideal_response(sample, box, check, data.frame_px)
    return Episode(sample, prompt, response, mask, boxes, tuple(shares), tuple(extents))


def _extent(box_xyxy: BoxXYXY | None, frame_px: int, patches: int) -> Float[np.ndarray, "patches patches 4"]:
    box = np.array(box_xyxy or (0, 0, frame_px, frame_px), dtype=np.float32) / frame_px
    return np.broadcast_to(box, (patches, patches, 4)).copy()


def _mosaic_extents(mosaic: Mosaic, patches: int) -> Float[np.ndarray, "patches patches 4"]:
    edges = [round(line * patches / mosaic.grid) for line in range(mosaic.grid + 1)]
    extents = np.zeros((patches, patches, 4), dtype=np.float32)
    for index, box in enumerate(mosaic.boxes_xyxy):
        row, column = divmod(index, mosaic.grid)
        cell = extents[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        cell[:] = np.array(box or (0, 0, 0, 0), dtype=np.float32) / mosaic.canvas_px
    return extents


def _mosaic_coverage(masks: Sequence[Any], mosaic: Mosaic, patches: int) -> Float[np.ndarray, "patches patches"]:
    edges = [round(line * patches / mosaic.grid) for line in range(mosaic.grid + 1)]
    canvas = np.zeros((patches, patches), dtype=np.float32)
    for index, mask in enumerate(masks):
        row, column = divmod(index, mosaic.grid)
        top, bottom, left, right = edges[row], edges[row + 1], edges[column], edges[column + 1]
        if mask is not None:
            canvas[top:bottom, left:right] = coverage(mask, bottom - top)[:, : right - left]
    return canvas


def endless_batches(data: Dataset[Any], batch_size: int, workers: int) -> Callable[[int], Iterator[Any]]:
    """Batches of consecutive items from a given step on, always the same ones, as plain lists."""

    def from_step(step: int) -> Iterator[Any]:
        indices = range(step * batch_size, 2**40)
        return iter(DataLoader(data, batch_size, sampler=indices, num_workers=workers, collate_fn=list))

    return from_step


class EpisodeLearner(nn.Module):
    """The reasoner with its training-only heads.

    Half-way up the language model, every image token learns how much of the target it covers and where that target
    ends: early enough for the response's own tokens to read it in the layers above. And where the response begins to
    speak of a box, the same box is read off its states by a linear head, which tells the attention where to look long
    before the four words come out right.
    """

    def __init__(self, reasoner: Reasoner, frame_px: int, *, blur_px: float = 2.0) -> None:
        super().__init__()
        self.mllm = reasoner.mllm
        self._reasoner = [reasoner]  # in a list, so that its parameters are not registered twice
        width = reasoner.hidden_size
        self.middle_norm = nn.LayerNorm(width)
        self.coverage_head = nn.Linear(width, CELLS_PER_SIDE * CELLS_PER_SIDE)
        self.extent_head = nn.Linear(width, 4)
        self.box_heads = nn.ModuleList(nn.Linear(width, 4) for _ in range(2 * len(_BOX_TAGS)))
        tokenizer = reasoner.processor.tokenizer
        numbers = tokenizer.convert_tokens_to_ids([str(n) for n in range(frame_px + 1)])
        self.number_ids: Tensor
        self.soft_numbers: Tensor
        self.register_buffer("number_ids", torch.tensor(numbers), persistent=False)
        self.register_buffer("soft_numbers", _soft_numbers(frame_px + 1, blur_px), persistent=False)

    def loss(self, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float], int]:
        """Text, coverage, extent and box losses of a batch, and how right each is."""
        reasoner = self._reasoner[0]
        inputs = reasoner.encode([e.prompt for e in episodes], [e.response for e in episodes])
        layers = self.mllm.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
        text_loss, numbers = self._text_loss(layers[-1], inputs.input_ids, [e.response for e in episodes])
        seen = self.middle_norm(layers[len(layers) // 2][inputs.input_ids == reasoner.processor.image_token_id])
        seen_loss, seen_numbers = self._seen_loss(seen, episodes)
        box_loss, off = self._box_loss(layers[-1], inputs.input_ids, episodes)
        numbers |= {**seen_numbers, "head_off": off}
        return text_loss + seen_loss + 4.0 * box_loss, numbers, len(episodes)

    def _seen_loss(self, seen: Tensor, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float]]:
        """What image tokens know of the target: its share of their four patches, and its box where they hold some."""
        coverage = np.concatenate([_merge_cells(share) for e in episodes for share in e.coverage])
        extents = np.concatenate([_merge_extents(extent) for e in episodes for extent in e.extents])
        truth, boxes = torch.from_numpy(coverage).to(seen.device), torch.from_numpy(extents).to(seen.device)
        guess = self.coverage_head(seen).float()
        coverage_loss = F.binary_cross_entropy_with_logits(guess, truth, weight=1 + 4 * truth)
        held = truth.mean(dim=1) > 0.1
        places = self.extent_head(seen).float()
        off = places[held] - boxes[held]
        extent_loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05) if held.any() else places.sum() * 0
        numbers = {
            "coverage": float(coverage_loss.detach()),
            "extent_off": float(off.detach().abs().sum()) / max(1, off.numel()),
        }
        return 2.0 * coverage_loss + 4.0 * extent_loss, numbers

    def _box_loss(self, states: Tensor, input_ids: Tensor, episodes: Sequence[Episode]) -> tuple[Tensor, float]:
        """Both boxes at the start of the thought, each again at its own opening bracket."""
        vocabulary = self._reasoner[0].processor.tokenizer.vocab
        truth = torch.from_numpy(np.stack([episode.boxes for episode in episodes])).to(states.device)
        offs = []
        for index, tag in enumerate(_BOX_TAGS):
            for head, token, step in ((index, "<think>", 0), (index + len(_BOX_TAGS), tag, 1)):
                rows, columns = torch.nonzero(input_ids == vocabulary[token], as_tuple=True)
                known = ~truth[rows, index].isnan().any(dim=1)
                guess = self.box_heads[head](states[rows[known], columns[known] + step]).float()
                offs.append(guess - truth[rows[known], index])
        off = torch.cat(offs)
        return F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05), float(offs[1].detach().abs().mean())

    def _text_loss(
        self, states: Tensor, input_ids: Int[Tensor, "batch tokens"], responses: Sequence[str]
    ) -> tuple[Tensor, dict[str, float]]:
        tokenizer = self._reasoner[0].processor.tokenizer
        lengths = [len(ids) + 1 for ids in tokenizer(list(responses)).input_ids]
        width = input_ids.shape[1]
        position = torch.arange(width, device=input_ids.device)
        starts = torch.tensor([width - length for length in lengths], device=input_ids.device)
        rows, columns = torch.nonzero(position >= starts[:, None], as_tuple=True)
        targets = input_ids[rows, columns]
        logits = self.mllm.lm_head(states[rows, columns - 1]).float()
        log_probability = logits.log_softmax(dim=-1)
        loss = -log_probability.gather(1, targets[:, None])[:, 0]
        value = torch.full((logits.shape[1],), -1, device=logits.device)
        value[self.number_ids] = torch.arange(len(self.number_ids), device=logits.device)
        numeric = value[targets] >= 0
        soft = self.soft_numbers[value[targets[numeric]]]
        loss = loss.masked_scatter(numeric, -(soft * log_probability[numeric][:, self.number_ids]).sum(dim=1))
        guess = logits.detach().argmax(dim=1)
        words_right = (guess == targets)[~numeric].float().mean()
        pixels_off = (value[guess[numeric]] - value[targets[numeric]]).abs().float().mean()
        return loss.mean(), {
            "text": float(loss.detach().mean()),
            "words_right": float(words_right),
            "off_px": float(pixels_off),
        }


def _soft_numbers(count: int, blur_px: float) -> Float[Tensor, "count count"]:
    value = torch.arange(count, dtype=torch.float32)
    return torch.softmax(-((value[:, None] - value[None, :]) ** 2) / (2 * blur_px**2), dim=1)


def _merge_cells(coverage: Float[np.ndarray, "patches patches"]) -> Float[np.ndarray, "tokens cells"]:
    side = coverage.shape[0] // CELLS_PER_SIDE
    return (
        coverage.reshape(side, CELLS_PER_SIDE, side, CELLS_PER_SIDE)
        .transpose(0, 2, 1, 3)
        .reshape(side * side, CELLS_PER_SIDE * CELLS_PER_SIDE)
    )


def _merge_extents(extents: Float[np.ndarray, "patches patches 4"]) -> Float[np.ndarray, "tokens 4"]:
    return extents[::CELLS_PER_SIDE, ::CELLS_PER_SIDE].reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class Lesson:
    """An episode, and a picture to name things in."""

    episode: Episode
    picture: VisionItem


class LessonData(Dataset[Lesson]):
    """Episodes and pictures side by side."""

    def __init__(self, episodes: EpisodeData, pictures: VisionData) -> None:
        self.episodes, self.pictures = episodes, pictures

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Lesson:
        return Lesson(self.episodes[index], self.pictures[index])


class LessonLearner(nn.Module):
    """Learns from episodes, and from the pictures beside them."""

    def __init__(self, reasoner: Reasoner, frame_px: int, classes: int) -> None:
        super().__init__()
        self.episodes = EpisodeLearner(reasoner, frame_px)
        self.pictures = VisionLearner(reasoner, classes, owns_tower=False)

    def loss(self, lessons: Sequence[Lesson]) -> tuple[Tensor, dict[str, float], int]:
        """Both losses, and how right both are."""
        spoken, numbers, count = self.episodes.loss([lesson.episode for lesson in lessons])
        named, seen, _ = self.pictures.loss([lesson.picture for lesson in lessons])
        return spoken + _NAMING_WEIGHT * named, {**numbers, **seen}, count
