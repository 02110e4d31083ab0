"""Stage (b), second half: MLLM-nano learns to answer in the protocol's grammar.

Whole episodes: the ideal response token by token, with coordinates softened over their neighbours, and beside it, for
every image token of mosaic and target, how much of the target it covers; some heads of its attention are told where
among the references, and in the proxy, to look (`looking`). Meanwhile its vision tower goes on naming what it sees: an
MLLM that cannot tell a cat from a kettle induces no rule about either. The training-only heads are thrown away
afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset

from conceptseg.models.reasoner import Reasoner
from nano.dense import CELLS_PER_SIDE, box_off_loss, merge_cells, target_weight
from nano.episodes import Episode, EpisodeData
from nano.looking import looking_losses
from nano.proxy_heads import ProxyHeads
from nano.vision_stage import VisionData, VisionItem, VisionLearner

__all__ = ["EpisodeLearner", "LessonData", "LessonLearner"]

_BOX_TAGS = ("<bbox>", "<check>")
_NAMING_WEIGHT = 0.5
_LOOKING_WEIGHTS = MappingProxyType({"match": 2.0, "same": 2.0, "point": 1.0, "same_proxy": 1.0})


class EpisodeLearner(nn.Module):
    """The reasoner with its training-only heads.

    Half-way up the language model, every image token learns how much of the target it covers and where that target
    ends: early enough for the response's own tokens to read it in the layers above. And where the response begins to
    speak of a box, the same box is read off its states by a linear head, which tells the attention where to look long
    before the four words come out right. The target's tokens also learn what the proxy shows (`ProxyHeads`).
    """

    def __init__(self, reasoner: Reasoner, frame_px: int, *, blur_px: float = 2.0) -> None:
        super().__init__()
        self.mllm = reasoner.mllm
        self._reasoner = [reasoner]  # in a list, so that its parameters are not registered twice
        width = reasoner.hidden_size
        self.middle_norm = nn.LayerNorm(width)
        self.coverage_head = nn.Linear(width, CELLS_PER_SIDE * CELLS_PER_SIDE)
        self.extent_head = nn.Linear(width, 4)
        self.proxy_heads = ProxyHeads(width)
        self.box_heads = nn.ModuleList(nn.Linear(width, 4) for _ in range(2 * len(_BOX_TAGS)))
        tokenizer = reasoner.processor.tokenizer
        numbers = tokenizer.convert_tokens_to_ids([str(n) for n in range(frame_px + 1)])
        self.number_ids: Tensor
        self.soft_numbers: Tensor
        self.register_buffer("number_ids", torch.tensor(numbers), persistent=False)
        self.register_buffer("soft_numbers", _soft_numbers(frame_px + 1, blur_px), persistent=False)

    def loss(self, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float], int]:
        """Text, coverage, extent, proxy, looking and box losses of a batch, and how right each is."""
        reasoner = self._reasoner[0]
        inputs = reasoner.encode([e.prompt for e in episodes], [e.response for e in episodes])
        states = self.mllm.model(**inputs, use_cache=False, output_hidden_states=True, output_attentions=True)
        layers = states.hidden_states
        text_loss, numbers = self._text_loss(layers[-1], inputs.input_ids, [e.response for e in episodes])
        is_image = inputs.input_ids == reasoner.processor.image_token_id
        seen = self.middle_norm(layers[len(layers) // 2][is_image])
        seen_loss, seen_numbers = self._seen_loss(seen, episodes)
        proxy_loss, proxy_numbers = self.proxy_heads.loss(seen.split(is_image.sum(dim=1).tolist()), episodes)
        look_losses = looking_losses(states.attentions, is_image, episodes)
        box_loss, box_numbers = self._box_loss(layers[-1], inputs.input_ids, episodes)
        numbers |= {
            **seen_numbers,
            **proxy_numbers,
            **{name: float(loss.detach()) for name, loss in look_losses.items()},
        }
        looks = sum(_LOOKING_WEIGHTS[name] * loss for name, loss in look_losses.items())
        loss = text_loss + seen_loss + proxy_loss + looks + 4.0 * box_loss
        return loss, {**numbers, **box_numbers}, len(episodes)

    def _seen_loss(self, seen: Tensor, episodes: Sequence[Episode]) -> tuple[Tensor, dict[str, float]]:
        """What image tokens know of the target: its share of their four patches, and its box where they hold some."""
        coverage = np.concatenate([merge_cells(share) for e in episodes for share in e.coverage])
        extents = np.concatenate([_merge_extents(extent) for e in episodes for extent in e.extents])
        truth, boxes = torch.from_numpy(coverage).to(seen.device), torch.from_numpy(extents).to(seen.device)
        guess = self.coverage_head(seen).float()
        coverage_loss = F.binary_cross_entropy_with_logits(guess, truth, weight=target_weight(truth))
        held = truth.mean(dim=1) > 0.1
        places = self.extent_head(seen).float()
        off = places[held] - boxes[held]
        extent_loss = box_off_loss(off)
        numbers = {
            "coverage": float(coverage_loss.detach()),
            "extent_off": float(off.detach().abs().sum()) / max(1, off.numel()),
        }
        return 2.0 * coverage_loss + 4.0 * extent_loss, numbers

    def _box_loss(
        self, states: Tensor, input_ids: Tensor, episodes: Sequence[Episode]
    ) -> tuple[Tensor, dict[str, float]]:
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
        said = offs[1].detach()
        return box_off_loss(off), {"head_off": float(said.abs().mean())} if len(said) else {}

    def _text_loss(
        self, states: Tensor, input_ids: Int[Tensor, "batch tokens"], responses: Sequence[str]
    ) -> tuple[Tensor, dict[str, float]]:
        lengths = [count + 1 for count in self._reasoner[0].count_tokens(responses)]
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


def _merge_extents(extents: Float[np.ndarray, "patches patches 4"]) -> Float[np.ndarray, "tokens 4"]:
    return extents[::CELLS_PER_SIDE, ::CELLS_PER_SIDE].reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class Lesson:
    """An episode, and a picture to name things in."""

    episode: Episode
    picture: VisionItem | None


class LessonData(Dataset[Lesson]):
    """Episodes, and a picture beside every other one."""

    def __init__(self, episodes: EpisodeData, pictures: VisionData) -> None:
        self.episodes, self.pictures = episodes, pictures

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Lesson:
        return Lesson(self.episodes[index], None if index % 2 else self.pictures[index])


class LessonLearner(nn.Module):
    """Learns from episodes, and from the pictures beside them."""

    def __init__(self, reasoner: Reasoner, frame_px: int, classes: int) -> None:
        super().__init__()
        self.episodes = EpisodeLearner(reasoner, frame_px)
        self.pictures = VisionLearner(reasoner, classes, owns_tower=False)

    def loss(self, lessons: Sequence[Lesson]) -> tuple[Tensor, dict[str, float], int]:
        """Both losses, and how right both are."""
        spoken, numbers, count = self.episodes.loss([lesson.episode for lesson in lessons])
        pictures = [lesson.picture for lesson in lessons if lesson.picture]
        if not pictures:
            return spoken, numbers, count
        named, seen, _ = self.pictures.loss(pictures)
        return spoken + _NAMING_WEIGHT * named, {**numbers, **seen}, count
