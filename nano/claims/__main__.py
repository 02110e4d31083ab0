"""The paper's claims in small: run nano on the same questions in several ways, and say which claims hold.

python -m nano.claims train --warmup runs/nano/warmup --out runs/claims                # hours, resumable
python -m nano.claims run --nano nano --warmup runs/nano/warmup --out runs/claims      # resumable
python -m nano.claims time --nano nano --out runs/claims                               # wanted, not needed
python -m nano.claims write --nano nano --warmup runs/nano/warmup --out runs/claims    # docs/claims.md

`train` goes on from the checkpoint before stage II, once a seed, by each of the recipes that claims.yaml names, for the
claims on stage II; without it, leave --warmup out and these claims are listed as not measured. --only takes some of the
trainings or runs, e.g. to share them out over cores. Where other work has the cores, OMP_NUM_THREADS=1 in front:
threads that wait for each other wait long.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.evaluation.sources import parse_option
from conceptseg.interfaces.cli import evaluate
from conceptseg.interfaces.cli import main as conceptseg
from conceptseg.training.config import Stage, TrainingConfig
from conceptseg.training.config_reading import load_config
from nano.claims.page import page, table_of_runs
from nano.claims.plan import HERE, place_of, plan_commands, plan_trainings
from nano.claims.timing import TIMING, time_model
from nano.one_checkpoint import require_one_checkpoint

PAGE = HERE.parents[1] / "docs" / "claims.md"
REFERENCES = HERE.parent / "curves" / "references_matter.json"
"""How far nano's masks follow its references, by nano/tools/references_matter.py."""
RUNS = REFERENCES.with_name("claims_runs.csv")
_INTERRUPTED = 130
"""Exit statuses from here on mean a signal."""


def main() -> None:
    """Train, run, time or write."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "run", "time", "write"))
    parser.add_argument("--nano", default="nano", help="the finished checkpoint")
    parser.add_argument("--warmup", help="the checkpoint before stage II; without it, its runs are left out")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--only", nargs="+", help="train, run: names of some, all by default")
    parser.add_argument("--count", type=int, default=100, help="time: questions, as many of each task (default: 100)")
    options = parser.parse_args()
    if options.only and options.what not in ("train", "run"):
        parser.error(f"--only is for train and run: {options.what} needs all there is")
    if options.what == "train" and options.warmup is None:
        parser.error("train needs --warmup: the checkpoint that the trainings go on from")
    plan = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    try:
        if options.what == "train":
            trainings = plan_trainings(plan, options.warmup, options.out, options.only)
            sys.exit(run_all(trainings.values()))
        commands = plan_commands(plan, {"nano": options.nano, "warmup": options.warmup}, options.out, options.only)
        if options.what == "run":
            sys.exit(run_all(commands.values()))
        elif options.what == "time":
            time_model(options.nano, options.count, options.out)
        else:
            _write(plan, options.warmup, commands, options.out)
    except ConceptSegError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def run_all(commands: Iterable[Sequence[str]]) -> int:
    """Run each command of `conceptseg`; the worst exit status, or the first that says it was interrupted."""
    worst = 0
    for command in commands:
        worst = max(worst, conceptseg(command))
        if worst >= _INTERRUPTED:
            break
    return worst


def _write(plan: Mapping[str, Any], warmup: str | None, commands: Mapping[str, list[str]], out: Path) -> None:
    trainings = plan_trainings(plan, warmup, out) if warmup else {}
    made = {name: words for name, words in commands.items() if name not in trainings or (out / name).exists()}
    runs = {name: load_run(out / name) for name in made}
    check_trainings({name: words for name, words in trainings.items() if name in runs})
    timing, references = _read(out / TIMING), _read(REFERENCES)
    check_runs(plan, made, runs, {TIMING: timing, REFERENCES.name: references})
    made |= {f"train {name}": words for name, words in trainings.items() if name in runs}
    PAGE.write_text(page(plan, runs, timing=timing, references=references), encoding="utf-8")
    RUNS.write_text(table_of_runs(made, runs), encoding="utf-8")


def check_trainings(trainings: Mapping[str, Sequence[str]]) -> None:
    """Make sure that each training was the one that its command makes.

    Args:
        trainings: as of `plan_trainings`.

    Raises:
        InputError: some were not; each is named with what differs.
    """
    problems = []
    for name, (_, word, _, base, *changes) in trainings.items():
        stage: Stage = "warmup" if word == "warmup" else "meta-grpo"
        config = load_config(stage, base, changes)
        want, have = _comparable(config), _comparable(load_config(stage, config.out / "config.yaml"))
        differing = [key for key in want if have[key] != want[key]]
        problems += [f"{name} in {', '.join(differing)}"] if differing else []
    if problems:
        raise InputError(f"These were trained otherwise than they would be now: {'; '.join(problems)}.")


def _comparable(config: TrainingConfig) -> dict[str, Any]:
    values = config.model_dump(exclude={"out"})
    return values | {"model": values["model"] | {"checkpoint": str(Path(config.model.checkpoint).resolve())}}


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def check_runs(
    plan: Mapping[str, Any],
    commands: Mapping[str, list[str]],
    runs: Mapping[str, Run],
    reports: Mapping[str, Mapping[str, Any] | None] = MappingProxyType({}),
) -> None:
    """Make sure that runs are what the page will say they are.

    Args:
        plan: claims.yaml.
        commands: of the runs.
        runs: by name.
        reports: other measurements of the finished checkpoint that the page quotes, by the names of their files.

    Raises:
        InputError: some are not finished, or are not what their command makes (all are named), or runs of one
            checkpoint, with the reports among them, have different digests.
    """
    problems = [f"{name} lacks {run.missing} of its questions" for name, run in runs.items() if run.missing]
    for name, run in runs.items():
        have, want = run.config.model_dump(), _config_of(commands[name]).model_dump()
        differing = [f"{key} {have[key]!r} instead of {want[key]!r}" for key in want if have[key] != want[key]]
        problems += [f"{name} was made with {', '.join(differing)}"] if differing else []
    if problems:
        raise InputError(f"These runs cannot be written about: {'; '.join(problems)}.")
    quoted = {name: report.get("sha256", {}) for name, report in reports.items() if report}
    for place in ("nano", "warmup"):
        mine = [runs[name] for name, words in plan["runs"].items() if name in runs and place_of(words) == place]
        digests = {str(run.folder): run.checkpoint.get("sha256", {}) for run in mine}
        quoted = (
            {name: report.get("sha256", {}) for name, report in reports.items() if report} if place == "nano" else {}
        )
        require_one_checkpoint(digests | quoted)


def _config_of(command: Sequence[str]) -> EvaluationConfig:
    """What `conceptseg evaluate` makes of its words."""
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    values = vars(parser.parse_args(command))
    taken = {name: values[name] for name in EvaluationConfig.model_fields if name in values}
    return EvaluationConfig.of(taken | {"options": dict(map(parse_option, values["option"]))})


if __name__ == "__main__":
    main()
