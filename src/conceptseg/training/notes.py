"""What is worth knowing before a run starts: small data, references that cannot be had, nothing to measure on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.training.config import MetaGRPOConfig, TrainingConfig
from conceptseg.training.drawing import SampleSet

__all__ = ["notes_on_data", "notes_on_references", "tell"]

_SHOWN = 5
_log = logging.getLogger(__name__)


def tell(notes: Iterable[str]) -> None:
    """Say each, once: the first of several processes speaks for all."""
    if os.environ.get("RANK", "0") == "0":
        for note in notes:
            _log.info("%s", note)


def notes_on_data(config: TrainingConfig, train: SampleSet, held_out: SampleSet) -> Iterator[str]:
    """What the numbers of samples mean for the run, each with what to do about it."""
    split = config.data.validation
    by_split = split is not None and any(sample.split == split for _, sample in held_out.stored())
    unused = ", so data.held_out is not used" if config.data.held_out else ""
    how = f"the split {split!r}{unused}" if by_split else f"set aside by data.held_out={config.data.held_out}"
    aside = f"{len(held_out):,} held out ({how})" if held_out else "none held out"
    yield f"Samples: {len(train):,} to learn from, {aside}."
    if not held_out:
        wanted = f"rows of the split {split!r}, or " if split else ""
        yield (
            "Nothing is held out: what the run does is not measured, and no best/ is kept. "
            f"Give {wanted}data.held_out=0.2 for a fifth of the samples."
        )
    prompts = config.batch_size // config.group_size if isinstance(config, MetaGRPOConfig) else config.batch_size
    if prompts > len(train):
        yield (
            f"An update takes {prompts} samples, there are {len(train)}: it sees each about "
            f"{prompts / len(train):.1f} times. Set batch_size lower for more updates of the same work."
        )


def notes_on_references(
    samples: Sequence[tuple[str, ConceptSample]],
    references_of: Callable[[ConceptSample], Sequence[Reference]],
    wanted: int,
) -> Iterator[str]:
    """Which samples will be shown without references although some were asked for.

    Args:
        samples: what is learned from or measured on, each with what to call its set.
        references_of: chooses a sample's references.
        wanted: how many were asked for.
    """
    if not wanted:
        return
    for kind in dict.fromkeys(name for name, _ in samples):
        bare = [sample for name, sample in samples if name == kind and not references_of(sample)]
        if bare:
            count = sum(name == kind for name, _ in samples)
            shown = ", ".join(sample.id for sample in bare[:_SHOWN]) + (" …" if len(bare) > _SHOWN else "")
            yield (
                f"{len(bare)} of {count} samples {kind} have no reference: no other sample to learn from has their "
                f"task, concept and group ({shown}). They are shown without; more pictures of the concept, or rows "
                "that bring references, would mend it."
            )
