"""Hidden states kept on disk: what a frozen MLLM says of a sample is worked out once, not once an epoch.

A record is found by its address, a digest of everything the states depend on: the checkpoint, the prompt's words and
pixels, the true boxes, and how the response comes about. Records lie in safetensors shards; a shard is written whole
or not at all, a damaged one is left aside and its records are made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from conceptseg.files import replacing
from conceptseg.training.episodes import Episode

__all__ = ["StateRecord", "StateStore", "address_of", "fingerprint_of", "pad_states"]

_SHARD_BYTES = 256 * 2**20
_SAMPLED_VALUES = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StateRecord:
    """What the concept translation reads of one response."""

    response: str
    """The response, as fed to the MLLM."""
    answer: str
    """What SAM 3 is told in words."""
    states: Float[Tensor, "tokens width"]
    """Last-layer states of the response's tokens, after the final norm, end token included."""


class StateStore:
    """A folder of shards with records by address; several processes may add to one folder."""

    def __init__(self, folder: Path, *, shard_bytes: int = _SHARD_BYTES) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._places: dict[str, tuple[Path, str, str]] = {}
        self._pending: dict[str, StateRecord] = {}
        self._read: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def __contains__(self, address: object) -> bool:
        return address in self._places or address in self._pending

    def __len__(self) -> int:
        return len(self._places) + len(self._pending)

    def __getitem__(self, address: str) -> StateRecord:
        """The record at an address.

        Raises:
            KeyError: there is none.
        """
        if address in self._pending:
            return self._pending[address]
        path, response, answer = self._places[address]
        with safe_open(path, framework="pt") as shard:
            return StateRecord(response, answer, shard.get_tensor(address))

    def add(self, address: str, record: StateRecord) -> None:
        """Keep a record; it is on disk after the next `flush`, or once a shard is full."""
        if address in self:
            return
        self._pending[address] = StateRecord(record.response, record.answer, record.states.detach().cpu().contiguous())
        if sum(pending.states.nbytes for pending in self._pending.values()) >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as a shard."""
        if not self._pending:
            return
        words = {address: [record.response, record.answer] for address, record in self._pending.items()}
        name = hashlib.sha256("".join(sorted(words)).encode()).hexdigest()[:32]
        path = self._folder / f"{name}.safetensors"
        tensors = {address: record.states for address, record in self._pending.items()}
        with replacing(path) as fresh:
            save_file(tensors, fresh, metadata={"words": json.dumps(words)})
        self._note(path, words)
        self._pending.clear()

    def refresh(self) -> None:
        """Take notice of shards that other processes have written."""
        for path in sorted(self._folder.glob("[!.]*.safetensors")):
            if path in self._read:
                continue
            try:
                with safe_open(path, framework="pt") as shard:
                    told = json.loads((shard.metadata() or {})["words"])
                    words = {address: [str(response), str(answer)] for address, (response, answer) in told.items()}
                    held = set(shard.keys())
            except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
                _log.warning("The shard %s of hidden states is damaged (%s); it is made again.", path, error)
                continue
            self._note(path, {address: texts for address, texts in words.items() if address in held})

    def _note(self, path: Path, words: dict[str, list[str]]) -> None:
        self._read.add(path)
        for address, (response, answer) in words.items():
            self._places.setdefault(address, (path, response, answer))


def address_of(episode: Episode, fingerprint: str, source: str, max_new_tokens: int) -> str:
    """The address of an episode's record: a digest of all that its states depend on.

    Args:
        episode: its prompt (words, pixels, their order) and true boxes count.
        fingerprint: of the MLLM, see `fingerprint_of`.
        source: how the response comes about (`ResponseSection.source`).
        max_new_tokens: longest response.
    """
    prompt = episode.prompt
    words = [fingerprint, source, max_new_tokens, prompt.system, prompt.text, prompt.text_first]
    truth = [episode.truth.box, episode.truth.check]
    digest = hashlib.sha256(json.dumps([words, truth, episode.id, episode.sample.concept]).encode())
    for image in prompt.images:
        digest.update(f"{image.size}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()


@torch.no_grad()
def fingerprint_of(module: nn.Module) -> str:
    """A digest of a module's weights: names, shapes, dtypes, and up to 4096 values evenly spread over each tensor.

    Not every value is read, since digesting 16 GB takes longer than a short warm-up; training changes all of them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // _SAMPLED_VALUES)
        digest.update(np.ascontiguousarray(flat[::step][:_SAMPLED_VALUES].float().cpu().numpy()).tobytes())
    return digest.hexdigest()


def pad_states(
    records: Sequence[StateRecord],
) -> tuple[Float[Tensor, "batch tokens width"], Bool[Tensor, "batch tokens"]]:
    """The states of several records in one tensor, and where it holds tokens."""
    states = nn.utils.rnn.pad_sequence([record.states for record in records], batch_first=True)
    lengths = torch.tensor([len(record.states) for record in records])
    return states, torch.arange(states.shape[1]) < lengths[:, None]


def consecutive(count: int, size: int) -> Iterator[range]:
    """0 … count − 1 in ranges of `size`."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))
