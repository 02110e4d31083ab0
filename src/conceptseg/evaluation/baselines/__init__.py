"""Methods that can be measured, one file each: ours and those it is compared with, all around the same loaded parts.

method = get_method("sam3-agent", ConceptSegmenter.from_pretrained("Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3"))
method.answer(queries, RouteChoice.AUTO)
"""

from __future__ import annotations

from typing import Any

from conceptseg.errors import InputError
from conceptseg.evaluation.baselines.base import Method
from conceptseg.evaluation.baselines.conceptseg import ConceptSeg
from conceptseg.evaluation.baselines.mllm_box import MllmBox
from conceptseg.evaluation.baselines.sam3 import Sam3
from conceptseg.evaluation.baselines.sam3_agent import Sam3Agent
from conceptseg.evaluation.baselines.seg_zero import SegZero
from conceptseg.inference import ConceptSegmenter

__all__ = ["METHODS", "Method", "get_method"]

METHODS: dict[str, type[Method]] = {method.name: method for method in (ConceptSeg, Sam3, MllmBox, Sam3Agent, SegZero)}
"""Name → method."""


def get_method(name: str, segmenter: ConceptSegmenter, **options: Any) -> Method:
    """The method of that name around a loaded model.

    Args:
        name: one of `METHODS`.
        segmenter: the model.
        options: the method's own settings.

    Raises:
        InputError: there is no such method, or it has no such setting.
    """
    if name not in METHODS:
        raise InputError(f"Unknown method {name!r}. Known methods: {', '.join(METHODS)}.")
    try:
        return METHODS[name](segmenter, **options)
    except TypeError as error:
        raise InputError(f"Method {name!r} does not take these settings: {error}.") from error
