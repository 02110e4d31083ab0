"""`conceptseg demo`: bundled pictures through every level; a table, a contact sheet and a page of what came out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import add_model_arguments, format_table, load_segmenter, named_path
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.interfaces.demo import Episode

__all__ = ["add_parser", "run"]

_OUT = Path("demo")
_HEADER = ("picture", "level", "task", "concept", "route", "presence", "check", "IoU", "seconds")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("demo", description=__doc__)
    parser.add_argument("--out", type=named_path, default=_OUT, metavar="DIR", help=f"default: {_OUT}")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer every demo sample and show the answers.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    from tqdm import tqdm

    from conceptseg.files import replacing
    from conceptseg.interfaces.demo import arrange, demo_samples, draw_sheet, run_episode, write_page

    segmenter = load_segmenter(args)
    samples = demo_samples()
    episodes = arrange([run_episode(segmenter, sample) for sample in tqdm(samples, unit="picture", disable=None)])
    page = write_page(episodes, args.out, model=segmenter.model.config.name)
    with replacing(args.out / "contact_sheet.png") as fresh:
        draw_sheet(episodes).save(fresh)
    print(format_table(_HEADER, [_row(episode) for episode in episodes]))
    print(_summary(episodes))
    print(f"→ {page}, {args.out / 'contact_sheet.png'}")
    return ExitStatus.DONE


def _row(episode: Episode) -> tuple[str, ...]:
    sample, result = episode.sample, episode.result
    return (
        sample.id,
        sample.level.value,
        sample.task,
        sample.concept,
        result.route.value if result.route else "failed",
        _number(result.presence),
        _number(result.check_iou),
        _number(episode.iou),
        _number(episode.seconds),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _summary(episodes: Sequence[Episode]) -> str:
    """Mean IoU by kind of picture, a line each."""
    scores: dict[str, list[float]] = {}
    for episode in episodes:
        if episode.iou is not None:
            scores.setdefault(episode.kind, []).append(episode.iou)
    return "\n".join(f"{len(found)} {kind}: mean IoU {sum(found) / len(found):.2f}" for kind, found in scores.items())
