"""Methods that can be measured, one file each: ours and those it is compared with, all around the same loaded parts.

method = get_method("sam3-agent", ConceptSegmenter.from_pretrained("Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3"))
method.answer(queries, RouteChoice.AUTO)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from conceptseg.errors import InputError
from conceptseg.evaluation.baselines.base import Method
from conceptseg.evaluation.baselines.conceptseg import ConceptSeg
from conceptseg.evaluation.baselines.lens import Lens
from conceptseg.evaluation.baselines.match import Match
from conceptseg.evaluation.baselines.mllm_box import MllmBox
from conceptseg.evaluation.baselines.rule import LearnedRule
from conceptseg.evaluation.baselines.sam3 import Sam3
from conceptseg.evaluation.baselines.sam3_agent import Sam3Agent
from conceptseg.evaluation.baselines.seg_zero import SegZero
from conceptseg.inference import ConceptSegmenter

__all__ = ["METHODS", "Method", "check_method", "get_method"]

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (ConceptSeg, Sam3, Match, MllmBox, Sam3Agent, SegZero, Lens, LearnedRule)
}
"""Name → method."""


def check_method(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a method that is not there, or settings that it does not have, before a model is loaded.

    Args:
        name: as for `get_method`.
        options: the method's own settings.

    Raises:
        InputError: there is no such method, it has no such setting, or a setting is of the wrong kind.
    """
    if name not in METHODS:
        raise InputError(f"Unknown method {name!r}. Known methods: {', '.join(METHODS)}.")
    defaults = {field.name: field.default for field in fields(METHODS[name]) if field.name != "segmenter"}
    unknown = sorted(options.keys() - defaults.keys())
    if unknown:
        known = ", ".join(defaults) or "none"
        raise InputError(f"Method {name!r} does not take these settings: {', '.join(unknown)}. Its settings: {known}.")
    for option, value in options.items():
        kind = type(defaults[option])
        if not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            raise InputError(f"Method {name!r}: {option} must be of type {kind.__name__}, got {value!r}.")


def get_method(name: str, segmenter: ConceptSegmenter, **options: Any) -> Method:
    """The method of that name around a loaded model.

    Args:
        name: one of `METHODS`.
        segmenter: the model.
        options: the method's own settings.

    Raises:
        InputError: as `check_method`.
    """
    check_method(name, options)
    return METHODS[name](segmenter, **options)
