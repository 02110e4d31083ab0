"""The loop that writes responses: one pass a step, which may confirm several drafted tokens and keeps their states.

transformers' own `generate` writes a token a pass, keeps finished rows, and has no place for the states that the
concept translation reads. Here every pass reads, for each row, the token that was chosen last and what is drafted
behind it. Of a draft those tokens stay that are the row's own choice; greedily this is the text without drafts, and
sampled it has the same distribution, since each token is drawn as it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.generation import TemperatureLogitsWarper, TopPLogitsWarper

from conceptseg.models.drafting import Drafts
from conceptseg.models.families import Mllm
from conceptseg.models.listening import tell_listener

__all__ = ["Choose", "Opening", "Row", "Writer", "chooser"]

_MOST, _LEAST = 32, 6
"""Drafted tokens of a pass, over all rows, and of a row in any case: so many cost less than the passes they save."""

_NO_PICTURES: Mapping[str, Any] = MappingProxyType({})

Choose = Callable[[Float[Tensor, "... vocabulary"]], Int[Tensor, "..."]]
"""From logits to a token each."""


def chooser(temperature: float, top_p: float) -> Choose:
    """The likeliest token at no temperature; otherwise one drawn from the likeliest that make up `top_p`."""
    if temperature <= 0:
        return lambda logits: logits.argmax(dim=-1)
    warpers = [TemperatureLogitsWarper(temperature), *([TopPLogitsWarper(top_p)] if top_p < 1 else [])]

    def draw(logits: Tensor) -> Tensor:
        scores = logits.flatten(0, -2).float()
        for warp in warpers:
            scores = warp(None, scores)
        return torch.multinomial(scores.softmax(dim=-1), 1).view(logits.shape[:-1])

    return draw


@dataclass(eq=False)
class Row:
    """One response as it is written."""

    drafts: Drafts
    tokens: list[int]
    """What was said so far, what was begun included."""
    states: list[Float[Tensor, "tokens width"]] = field(default_factory=list)
    """The final states of all tokens that were read, the response's only."""
    written: int = 0
    """Tokens beyond what was begun."""
    ended: bool = False
    """Whether its last token is one that ends it."""
    done: bool = False
    """Whether nothing is left to be chosen or read of it."""


@dataclass(eq=False)
class Opening:
    """What rows are written from: the cache of what is read already, and what is to be read in the first pass."""

    cache: Any
    read: Int[Tensor, "rows past"]
    """1 where the cache holds something of the row."""
    embeds: Float[Tensor, "rows new width"]
    mask: Int[Tensor, "rows new"]
    positions: Int[Tensor, "3 rows new"]
    pictures: Mapping[str, Any] = field(default_factory=dict)
    """What the language model takes of pictures beside embeddings, in the first pass."""


class Writer:
    """Writes the responses of one batch.

    Args:
        mllm: in evaluation mode.
        choose: a token from logits, see `chooser`.
        ends: tokens that end a response.
        limit: tokens that are written of a response at most.
    """

    def __init__(self, mllm: Mllm, choose: Choose, ends: Sequence[int], limit: int) -> None:
        self._mllm: Any = mllm
        self._choose = choose
        self._ends = frozenset(ends)
        self._limit = limit
        self.passes = 0
        """Passes that were made."""

    def write(self, opening: Opening, rows: Sequence[Row]) -> None:
        """Go on with rows until each has ended, or holds as many tokens as may be written."""
        self._cache, self._read, self._rows = opening.cache, opening.read, list(rows)
        begun = [len(row.tokens) for row in rows]
        drafts = self._drafts()
        mask, positions = _with_drafts(opening.mask, opening.positions, drafts)
        embeds = torch.cat([opening.embeds, self._embed(drafts)], dim=1)
        states = self._pass(embeds, mask, positions, _widened(opening.pictures, embeds.shape[1]))
        width = opening.embeds.shape[1]
        for row, count, mine in zip(rows, begun, states, strict=True):
            row.states.append(mine[width - count : width])
        self._next = positions[0, :, width - 1] + 1
        self._accept(states[:, width - 1 :], mask[:, width - 1 :], drafts)
        tell_listener([row.tokens for row in rows])
        while self._rows:
            self._step()
            tell_listener([row.tokens for row in rows])

    def _step(self) -> None:
        drafts = self._drafts()
        last = [[row.tokens[-1], *draft] for row, draft in zip(self._rows, drafts, strict=True)]
        mask = _mask_of(last, self._read.device)
        offsets = torch.arange(mask.shape[1], device=mask.device)
        positions = (self._next[:, None] + offsets).expand(3, -1, -1)
        states = self._pass(self._embed(last), mask, positions)
        for row, mine in zip(self._rows, states, strict=True):
            row.states.append(mine[:1])
        self._next = self._next + 1
        self._accept(states, mask, drafts)

    def _drafts(self) -> list[list[int]]:
        """What each row is expected to go on with, within its limit; nothing behind an end."""
        longest = max(_LEAST, _MOST // len(self._rows))
        return [
            [] if self._is_full(row) else row.drafts.next()[: min(longest, self._limit - row.written)]
            for row in self._rows
        ]

    def _pass(
        self,
        embeds: Float[Tensor, "rows new width"],
        mask: Int[Tensor, "rows new"],
        positions: Int[Tensor, "3 rows new"],
        pictures: Mapping[str, Any] = _NO_PICTURES,
    ) -> Float[Tensor, "rows new width"]:
        self.passes += 1
        self._read = torch.cat([self._read, mask], dim=1)
        output = self._mllm.model.language_model(
            inputs_embeds=embeds,
            attention_mask=self._read,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **pictures,
        )
        return output.last_hidden_state

    def _embed(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "rows longest width"]:
        ids = [torch.tensor(row, dtype=torch.long) for row in rows]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return self._mllm.get_input_embeddings()(padded.to(self._read.device))

    def _accept(
        self, states: Float[Tensor, "rows new width"], mask: Int[Tensor, "rows new"], drafts: Sequence[Sequence[int]]
    ) -> None:
        """Take over what the drafts had right and choose a token more; what they had wrong is forgotten.

        The first column is of a token that stands already.
        """
        chosen = self._choose(self._mllm.lm_head(states)).tolist()
        right = []
        for row, mine, draft, choices in zip(self._rows, states, drafts, chosen, strict=True):
            count = self._take(row, draft, choices)
            row.states.append(mine[1 : 1 + count])
            right.append(1 + count)
        self._forget(mask.shape[1], torch.tensor(right, device=mask.device))
        self._let_go()

    def _take(self, row: Row, draft: Sequence[int], choices: Sequence[int]) -> int:
        """Add a pass's tokens to a row; the number of those whose states came with it."""
        if self._is_full(row):  # its last token was read for its state alone
            row.done = True
            return 0
        said: list[int] = []
        known = 0
        for choice, drafted in zip(choices, [*draft, None], strict=False):
            said.append(choice)
            row.written, row.ended = row.written + 1, choice in self._ends
            known += choice == drafted
            if choice != drafted or self._is_full(row):
                break
        row.tokens += said
        row.drafts.see(said)
        row.done = self._is_full(row) and known == len(said)
        return known

    def _is_full(self, row: Row) -> bool:
        return row.ended or row.written >= self._limit

    def _forget(self, width: int, right: Int[Tensor, " rows"]) -> None:
        """Of the last columns of the cache keep what any row needs, and hide from each row what it does not."""
        kept = int(right.max())
        past = self._read.shape[1] - width
        self._next = self._next + right - 1
        columns = torch.arange(kept, device=right.device)
        self._read[:, past : past + kept] *= (columns < right[:, None]).to(self._read.dtype)
        self._read = self._read[:, : past + kept]
        if kept < width:
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, : past + kept], layer.values[:, :, : past + kept]

    def _let_go(self) -> None:
        """Finished rows leave the batch."""
        staying = [place for place, row in enumerate(self._rows) if not row.done]
        if len(staying) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in staying]
        rows = torch.tensor(staying, dtype=torch.long, device=self._read.device)
        self._read, self._next = self._read[rows], self._next[rows]
        for layer in self._cache.layers if staying else ():
            places = rows.to(layer.keys.device)
            layer.keys, layer.values = layer.keys[places], layer.values[places]


def _mask_of(rows: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "rows longest"]:
    """1 on the tokens of rows that are padded to the right."""
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return (torch.arange(int(lengths.max()), device=device) < lengths[:, None]).long()


def _with_drafts(
    mask: Int[Tensor, "rows new"], positions: Int[Tensor, "3 rows new"], drafts: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "rows more"], Int[Tensor, "3 rows more"]]:
    """Mask and positions of what is read first, with the drafts behind it."""
    drafted = _mask_of(drafts, mask.device)
    behind = positions[:, :, -1:] + 1 + torch.arange(drafted.shape[1], device=mask.device)
    return torch.cat([mask, drafted], dim=1), torch.cat([positions, behind], dim=2)


def _widened(pictures: Mapping[str, Any], width: int) -> Mapping[str, Any]:
    """The same with drafts behind what is read first, among which no picture is."""
    if "visual_pos_masks" not in pictures:
        return pictures
    cells = pictures["visual_pos_masks"]
    return {**pictures, "visual_pos_masks": nn.functional.pad(cells, (0, width - cells.shape[1]))}
