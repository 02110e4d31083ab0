"""What is measured and how: the typed configuration of a run, saved beside its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conceptseg.errors import ConfigError
from conceptseg.masks import Selection
from conceptseg.metrics import IgnoreAs, ProtocolName
from conceptseg.validation import explain_mistakes

__all__ = ["DEFAULT_REFERENCES", "EvaluationConfig", "Shard"]

DEFAULT_REFERENCES = 4
"""References a question is shown with: the paper's 2×2 mosaic."""


class EvaluationConfig(BaseModel):
    """Everything that a number depends on, but for the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: tuple[str, ...] = Field(min_length=1)
    """What to measure on; see `conceptseg.evaluation.sources` for the three ways to name it."""
    model: str = "nano"
    """The checkpoint; see `conceptseg.models.checkpoints`."""
    sam: str | None = None
    """SAM 3 from elsewhere."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Of the MLLM's weights; None is float32 on a CPU and bfloat16 elsewhere."""
    bits: Literal[8, 4] | None = None
    """Quantisation of the MLLM's weights."""
    asking: Mapping[str, Any] | None = None
    """What is changed of the checkpoint's protocol (`conceptseg.models.config.ProtocolConfig`): its template, with the
    texts of one's own, and its longest response."""
    method: str = "conceptseg"
    """One of `conceptseg.evaluation.baselines.method_names()`."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """The method's own settings."""
    protocol: ProtocolName = "native"
    """Which definitions the metrics follow (docs/metrics.md)."""
    integer_wfm: bool = False
    """Weighted F as the paper's evaluation code computes it; with protocol `paper` only."""
    ignore_as: IgnoreAs = "exclude"
    """What becomes of pixels that the truth does not judge."""
    label: int | str | None = None
    """The value of all masks that is the target, where they are label maps; a colour "#rrggbb"; or "any" but 0."""
    ignore: int | str | None = None
    """The value of all masks that is not judged, e.g. 255."""
    overlaps: Literal["kept", "resolved"] = "kept"
    """Whether several questions about one picture may claim one pixel (Table 2): `resolved` gives it to the one with
    the highest presence score before anything is scored."""
    route: Literal["auto", "calibrated", "direct", "reason"] = "auto"
    """As for `ConceptSegmenter` (Eq. 9)."""
    references: int | None = Field(default=None, ge=0)
    """References a question, at most: 4 make the 2×2 mosaic and 1 the 1×1 (Table 12). None leaves it to the data set,
    which is 4 nearly everywhere. Where references are part of the question (CR), they stay."""
    seed: int = Field(default=0, ge=0)
    """Which references are drawn (Table 11); 0 keeps those that a folder's rows name."""
    batch_size: int = Field(default=8, ge=1)
    """Questions at a time. It belongs to the numbers, for rounding depends on what is computed together."""
    variant: str | None = None
    """What this run stands for in an ablation, e.g. `without_meta_reward`: the name of a recipe in
    `conceptseg train --list`. Tables 4 and 9 pick runs by it."""

    @model_validator(mode="after")
    def _integers_are_the_papers(self) -> EvaluationConfig:
        if self.integer_wfm and self.protocol != "paper":
            raise ValueError("integer_wfm reproduces the paper's evaluation code: it goes with protocol paper")
        return self

    @model_validator(mode="after")
    def _selection_is_one(self) -> EvaluationConfig:
        Selection.of(self.label, self.ignore)
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> EvaluationConfig:
        """A configuration from plain values.

        Raises:
            ConfigError: some are unknown, missing or wrong; all are named, a line each.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("Wrong evaluation settings:\n" + "\n".join(explain_mistakes(error, cls))) from error


class Shard(BaseModel):
    """Which part of the work is this process's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=0, ge=0)
    count: int = Field(default=1, ge=1)

    @classmethod
    def of(cls, rank: str | int, count: str | int) -> Shard:
        """A shard from what a launcher says.

        Raises:
            ConfigError: these are no numbers with 0 ≤ rank < count.
        """
        try:
            shard = cls.model_validate({"rank": rank, "count": count})
        except ValidationError as error:
            raise ConfigError(
                f"Expected numbers 0 ≤ rank < count, got rank {rank!r} of {count!r} processes."
            ) from error
        if shard.rank >= shard.count:
            raise ConfigError(f"Expected numbers 0 ≤ rank < count, got rank {rank!r} of {count!r} processes.")
        return shard
