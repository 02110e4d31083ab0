"""`conceptseg evaluate`: a method on benchmarks, one JSON line an image; resumes, and shares work among processes."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import (
    add_label_arguments,
    add_model_arguments,
    load_lens_segmenter,
    load_segmenter,
    named_path,
    protocol_changes,
)
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.evaluation.runs import Run
    from conceptseg.evaluation.settings import EvaluationConfig, Shard

__all__ = ["add_parser", "run"]

_OUT = Path("conceptseg-run")
_SHOWN = 10
_EPILOG = """\
--data takes: world:TASK:SPLIT:COUNT:SEED (ConceptWorld, TASK may be all), NAME[/SPLIT]=ROOT[?option=value] (a benchmark
of `conceptseg data list`), FOLDER[#SPLIT] (with samples.jsonl, or a folder of such folders). The same command goes on
where it was stopped. Several processes: accelerate launch --num_processes N -m conceptseg.interfaces.cli evaluate …
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("evaluate", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--data", nargs="+", required=True, metavar="DATA", help="what to measure on, see below")
    parser.add_argument(
        "--out", type=named_path, default=_OUT, metavar="RUN", help=f"the run's folder (default: {_OUT})"
    )
    parser.add_argument("--method", default="conceptseg", metavar="NAME", help="conceptseg (default) or a rival")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="a setting of the method")
    parser.add_argument("--protocol", choices=("native", "paper"), default="native", help="docs/metrics.md")
    parser.add_argument("--integer-wfm", action="store_true", help="weighted F as in the paper's evaluation code")
    parser.add_argument(
        "--ignore-as", choices=("exclude", "foreground", "background"), default="exclude", help="pixels not to judge"
    )
    add_label_arguments(parser, "all masks")
    parser.add_argument(
        "--overlaps", choices=("kept", "resolved"), default="kept", help="masks of one picture may overlap, or not"
    )
    parser.add_argument(
        "--route",
        choices=("auto", "calibrated", "direct", "reason"),
        default="auto",
        help="default: auto (Eq. 9); calibrated: the checkpoint's own router (conceptseg calibrate)",
    )
    parser.add_argument("--references", type=int, metavar="N", help="at most N a question: 4 is 2×2, 1 is 1×1")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="questions at a time (default: 8)")
    parser.add_argument(
        "--variant", metavar="NAME", help="what the run stands for in an ablation (as `train --list` names it)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="ask again what failed before")
    parser.add_argument("--no-masks", action="store_true", help="do not keep the predictions, which the gallery shows")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer what is left to answer; the process that finishes last shows the scores.

    Raises:
        InputError: wrong settings or data, or a folder that holds another run.
        CheckpointError: the model cannot be loaded.
    """
    from tqdm import tqdm

    from conceptseg.evaluation.runner import evaluate
    from conceptseg.evaluation.runs import load_run

    config, shard = _config(args), _shard()
    args.device = _own_device(args.device, shard)
    bar = tqdm(unit="question", disable=None, position=shard.rank)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    evaluate(
        config,
        args.out,
        lambda: load_lens_segmenter(args) if config.method == "lens" else load_segmenter(args),
        shard=shard,
        retry_failed=args.retry_failed,
        keep_masks=not args.no_masks,
        progress=show,
        tell=lambda line: print(line, file=sys.stderr),
    )
    bar.close()
    return _tell(load_run(args.out), shard)


def _config(args: argparse.Namespace) -> EvaluationConfig:
    from conceptseg.evaluation.report.methods import check_variant
    from conceptseg.evaluation.settings import EvaluationConfig
    from conceptseg.evaluation.sources import parse_option

    taken = EvaluationConfig.model_fields.keys() - {"options", "asking"}
    values = {name: getattr(args, name) for name in taken}
    if args.variant is not None:
        check_variant(args.variant)
    options = dict(map(parse_option, args.option))
    return EvaluationConfig.of(values | {"options": options, "asking": protocol_changes(args) or None})


def _shard() -> Shard:
    """This process's part, as `accelerate launch` and `torchrun` tell it."""
    from conceptseg.evaluation.settings import Shard

    return Shard.of(os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1"))


def _own_device(device: str, shard: Shard) -> str:
    """A GPU of its own for every process of a machine, where nothing else was asked for."""
    if device != "auto" or shard.count == 1:
        return device
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else device


def _tell(run: Run, shard: Shard) -> int:
    from conceptseg.evaluation.report.overview import overview

    if run.missing:
        print(
            f"process {shard.rank} of {shard.count} is done; {run.missing} questions are left to others → {run.folder}"
        )
        return ExitStatus.DONE
    for row in run.failures[:_SHOWN]:
        print(f"failed: {row['data']}: {row['id']}: {row['error']}", file=sys.stderr)
    if len(run.failures) > _SHOWN:
        print(f"failed: {len(run.failures) - _SHOWN} more", file=sys.stderr)
    notes = Counter(note for row in run.rows for note in row.get("notes") or ())
    for note, count in notes.items():
        print(f"note, {count} of {len(run.rows)} questions: {note}", file=sys.stderr)
    print(overview(run).to_markdown())
    print(f"→ {run.folder}; tables and gallery: conceptseg report {run.folder}")
    return ExitStatus.SOME_FAILED if run.failures else ExitStatus.DONE
