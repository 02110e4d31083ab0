"""What a run shows at its end: curves, and a few fixed samples over time with what was said of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from conceptseg.files import replacing
from conceptseg.images import resize_image, resize_mask
from conceptseg.ledger import json_line, read_rows

__all__ = ["CONTACT_SHEET", "CURVES", "Glimpse", "Watcher", "contact_sheet", "overlay", "plot_curves"]

CURVES = "curves.png"
CONTACT_SHEET = "contact_sheet.png"

_WATCHED = "watched"
_SIDE_PX = 168
_LINE_PX = 13
_LINES = 14
_COLUMNS = 8
_RED = np.array([235, 40, 60])


@dataclass(frozen=True, eq=False)
class Glimpse:
    """One sample at one time."""

    sample_id: str
    picture: Image.Image
    """The target with the predicted mask over it."""
    text: str
    """The response, or what stands for it."""


class Watcher(TrainerCallback):
    """Records a few samples at the start, at every checkpoint and at the end, in `watched/` of the run's folder."""

    def __init__(self, out: Path, look: Callable[[], Sequence[Glimpse]]) -> None:
        self._out = out
        self._look = look

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Before the first update."""
        if state.global_step == 0:
            self._record(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """At a checkpoint."""
        self._record(state)

    def _record(self, state: TrainerState) -> None:
        glimpses = self._look()  # on every process: a sharded model needs all of them
        if not (state.is_world_process_zero and glimpses):
            return
        folder = self._out / _WATCHED / f"step-{state.global_step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, glimpse in enumerate(glimpses):
            glimpse.picture.save(folder / f"{number}.png")
        rows = [{"id": g.sample_id, "picture": f"{n}.png", "text": g.text} for n, g in enumerate(glimpses)]
        with replacing(folder / "said.jsonl") as fresh:
            fresh.write_bytes(b"".join(map(json_line, rows)))


def overlay(image: Image.Image, mask: Bool[np.ndarray, "h w"]) -> Image.Image:
    """A picture of 168 pixels a side with a mask in red over it, its outline opaque."""
    small = np.asarray(resize_image(image.convert("RGB"), (_SIDE_PX, _SIDE_PX)), dtype=np.float32)
    inside = resize_mask(mask, (_SIDE_PX, _SIDE_PX))
    core = inside.copy()
    core[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    share = np.where(inside & ~core, 1.0, np.where(inside, 0.45, 0.0))[..., None]
    return Image.fromarray((small * (1 - share) + _RED * share).astype(np.uint8))


def contact_sheet(out: Path) -> Path | None:
    """A sheet of what was watched, a row a sample, time from left to right; None if nothing was."""
    steps = sorted((out / _WATCHED).glob("step-*/said.jsonl"))
    if not steps:
        return None
    chosen = [steps[i] for i in sorted({round(i) for i in np.linspace(0, len(steps) - 1, _COLUMNS)})]
    columns = [_read_column(path) for path in chosen]
    rows = max(len(column) for _, column in columns)
    text_px = _LINE_PX * max(len(_wrapped(step, glimpse)) for step, column in columns for glimpse in column) + 6
    sheet = Image.new("RGB", (len(columns) * _SIDE_PX, rows * (_SIDE_PX + text_px)), "white")
    draw = ImageDraw.Draw(sheet)
    for across, (step, column) in enumerate(columns):
        for down, glimpse in enumerate(column):
            left, top = across * _SIDE_PX, down * (_SIDE_PX + text_px)
            sheet.paste(glimpse.picture, (left, top))
            for number, line in enumerate(_wrapped(step, glimpse)):
                draw.text((left + 3, top + _SIDE_PX + 2 + number * _LINE_PX), line, fill="black")
    with replacing(out / CONTACT_SHEET) as fresh:
        sheet.save(fresh)
    return out / CONTACT_SHEET


def _wrapped(step: int, glimpse: Glimpse) -> list[str]:
    """The lines under a picture; where a response is longer than fits, an ellipsis says so."""
    return textwrap.wrap(f"{step}: {glimpse.text}", 27, max_lines=_LINES, placeholder=" …")


def plot_curves(history: Sequence[Mapping[str, Any]], out: Path, titles: Mapping[str, str]) -> Path | None:
    """The curves of a run, one small plot a quantity; None if nothing was logged.

    Args:
        history: log lines with `step` and numbers.
        out: the run's folder.
        titles: names of the numbers to draw → what stands above their plots.
    """
    series = {title: _series(history, name) for name, title in titles.items()}
    drawn = {title: points for title, points in series.items() if points}
    if not drawn:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, points) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    with replacing(out / CURVES) as fresh:
        figure.savefig(fresh, dpi=110)
    return out / CURVES


def _series(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(int(line["step"]), float(line[name])) for line in history if isinstance(line.get(name), (int, float))]


def _read_column(path: Path) -> tuple[int, list[Glimpse]]:
    rows = read_rows(path, lambda row: all(isinstance(row.get(key), str) for key in ("id", "picture", "text"))).rows
    glimpses = [Glimpse(row["id"], Image.open(path.parent / Path(row["picture"]).name), row["text"]) for row in rows]
    return int(path.parent.name.removeprefix("step-")), glimpses
