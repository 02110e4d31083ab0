"""What nano is taught to say: the response that a perfect reasoner would give to a ConceptWorld sample."""

from __future__ import annotations

from conceptseg.data.samples import ConceptSample
from conceptseg.geometry import BoxXYXY
from conceptseg.protocol import format_response

__all__ = ["WORDS", "ideal_response"]

_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
_SIZES = ("small", "medium", "large")

WORDS: tuple[str, ...] = (*_ROWS, *_COLUMNS, *_SIZES, "target", "find : boxes . none check user assistant [ ] [[ ]]")
"""Words of prompts and responses that no sample contains; for the tokenizer."""


def ideal_response(
    sample: ConceptSample, box_xyxy: BoxXYXY | None, check_xyxy: BoxXYXY | None, frame_px: int, *, has_rule: bool = True
) -> str:
    """The true response in the grammar of Appendix D.1.

    The thought says what the target is, and roughly how large and where: coarse before fine, so that the numbers of
    the box have something to lean on.

    Args:
        sample: gives answer and rule.
        box_xyxy: the target's true box in the frame; None (nothing there) becomes the whole frame.
        check_xyxy: the proxy's true box in the mosaic; None without a proxy.
        frame_px: the frame's side.
        has_rule: whether the prompt asks for a rule.
    """
    answer = sample.answer or sample.concept
    box = box_xyxy or (0.0, 0.0, float(frame_px), float(frame_px))
    think = f"{answer} target {_rough_place(box, frame_px)}"
    return format_response(think, (sample.rule or answer) if has_rule else None, check_xyxy, box, answer)


def _rough_place(box_xyxy: BoxXYXY, frame_px: int) -> str:
    x1, y1, x2, y2 = box_xyxy
    third = frame_px / 3
    row = _ROWS[min(2, int((y1 + y2) / 2 / third))]
    column = _COLUMNS[min(2, int((x1 + x2) / 2 / third))]
    side = ((x2 - x1) * (y2 - y1)) ** 0.5
    size = _SIZES[0 if side < 0.25 * frame_px else 1 if side < 0.45 * frame_px else 2]
    return f"{size} {row} {column}"
