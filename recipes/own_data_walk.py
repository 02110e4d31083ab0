"""The walk of docs/own_data.md, command by command, timed: what fine-tuning does for a kind that nano does not know.

    python recipes/own_data_walk.py --photos P --masks M --new-photos NP --new-masks NM --concept hair --out walks/hair
    python recipes/own_data_walk.py --table walks/*          # the rows of the page's table

P and M are one's own pictures and masks; NP and NM are pictures kept apart, on which before and after are measured.
Everything resumes. Words behind `--` go to `conceptseg train`, e.g. `-- max_steps=40`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from conceptseg.evaluation.runs import load_run
from conceptseg.files import replacing
from conceptseg.metrics.paired import PairedChange, paired_change

RESULT = "walk.json"
METRICS = ("miou", "iou")
ASKED: Mapping[str, Sequence[str]] = MappingProxyType({"": (), "-by-name": ("--references", "0")})
"""How a run's folder ends: what its pictures are asked with, four references or the concept's name alone."""


def main() -> None:
    """Walk, or show what walks found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--photos", "--masks", "--new-photos", "--new-masks"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--concept", help="what the masks show, in words")
    parser.add_argument("--name", help="what the table calls it, if not by the concept")
    parser.add_argument("--out", type=Path, help="where samples, runs and the result go")
    parser.add_argument("--table", nargs="+", type=Path, metavar="OUT", help="show what these walks found")
    parser.add_argument("train", nargs="*", metavar="key=value", help="for `conceptseg train`")
    options = parser.parse_args()
    if options.table:
        show([json.loads((folder / RESULT).read_text(encoding="utf-8")) for folder in options.table])
        return
    walk(options)


def walk(options: argparse.Namespace) -> None:
    """Run the page's commands one after another, and keep what came of them."""
    out, concept = options.out, options.concept
    steps = {name: timed(words) for name, words in commands(options, out / "samples").items()}
    result = {
        "concept": options.name or concept,
        "checkpoint": load_run(out / "before").digest,
        "steps": steps,
        "scores": {
            asked: {
                metric: [scores_of(out / f"{name}{asked}", metric) for name in ("before", "after")]
                for metric in METRICS
            }
            for asked in ASKED
        },
    }
    with replacing(out / RESULT) as fresh:
        fresh.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show([result])


def commands(options: argparse.Namespace, samples: Path) -> dict[str, list[str]]:
    """The words after `conceptseg`, by step."""
    out = options.out
    pairing = ["--concept", options.concept, "--out", str(samples), "--overwrite"]
    as_test = [*pairing[:-1], "--split", "test"]
    test = ["--data", f"{samples}#test", "--no-masks"]
    learned = ["--model", str(out / "run" / "best")]
    own = ["train", "warmup", "--config", "own_data", f"data.folders={samples}", f"out={out / 'run'}", *options.train]
    return {
        "pair": ["data", "from-folders", str(options.photos), str(options.masks), *pairing, "--val", "0.2"],
        "pair the new": ["data", "from-folders", str(options.new_photos), str(options.new_masks), *as_test],
        **{
            f"before{asked}": ["evaluate", *test, *more, "--out", str(out / f"before{asked}")]
            for asked, more in ASKED.items()
        },
        "train": own,
        **{
            f"after{asked}": ["evaluate", *learned, *test, *more, "--out", str(out / f"after{asked}")]
            for asked, more in ASKED.items()
        },
    }


def timed(words: Sequence[str]) -> dict[str, float]:
    """Run one command; its seconds by the clock and of processor time.

    Raises:
        CalledProcessError: it failed.
    """
    print("$ conceptseg", *words, flush=True)
    since, used = time.monotonic(), processor_seconds()
    subprocess.run([sys.executable, "-m", "conceptseg.interfaces.cli", *words], check=True)
    return {"seconds": time.monotonic() - since, "processor": processor_seconds() - used}


def processor_seconds() -> float:
    """What the commands so far took of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def scores_of(run: Path, metric: str) -> dict[str, float]:
    """Each question's score in a run, by its id."""
    return {str(row["id"]): float(row[metric]) for row in load_run(run).rows}


def show(results: Sequence[Mapping[str, Any]]) -> None:
    """The page's table: a row for four references, one for the name alone."""
    print("| concept | asked with | mIoU before | after | gain | IoU before | after | gain |")
    print("|---|---|---|---|---|---|---|---|")
    for result in results:
        for asked, words in (("", "four references"), ("-by-name", "its name alone")):
            told = [change(result["scores"][asked][metric]) for metric in METRICS]
            cells = [cell for one in told for cell in (percent(one.before, one.before_error),
                     percent(one.after, one.after_error), percent(one.gain, one.gain_error, "+"))]  # fmt: skip
            print("|", " | ".join([result["concept"], words, *cells]), "|")
    for result in results:
        used, clock = (
            {name: step[kind] / 60 for name, step in result["steps"].items()} for kind in ("processor", "seconds")
        )
        print(
            f"{result['concept']}: {len(result['scores']['']['miou'][0])} new pictures, "
            f"checkpoint {result['checkpoint']}; "
            f"minutes of processor time: training {used['train']:.1f}, all {sum(used.values()):.1f}; "
            f"by the clock: {clock['train']:.1f}, {sum(clock.values()):.1f}"
        )


def change(scores: Sequence[Mapping[str, float]]) -> PairedChange:
    """Before and after, picture by picture."""
    before, after = scores
    return paired_change(list(before.values()), [after[name] for name in before])


def percent(mean: float, error: float, sign: str = "") -> str:
    """In percent with its standard error."""
    return f"{100 * mean:{sign}.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    main()
