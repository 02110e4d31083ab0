"""The paper's claims in small: run nano on the same questions in several ways, and say which claims hold.

python recipes/claims/claims.py train --warmup runs/nano/warmup --out runs/claims                # hours, resumable
python recipes/claims/claims.py run --nano nano --warmup runs/nano/warmup --out runs/claims      # resumable
python recipes/claims/claims.py time --nano nano --out runs/claims                               # wanted, not needed
python recipes/claims/claims.py write --nano nano --warmup runs/nano/warmup --out runs/claims    # docs/claims.md

`train` goes on from the checkpoint before stage II, once a seed, by each of the recipes that claims.yaml names, for the
claims on stage II; without it, leave --warmup out and these claims are listed as not measured. --only takes some of the
trainings or runs, e.g. to share them out over cores. Where other work has the cores, OMP_NUM_THREADS=1 in front:
threads that wait for each other wait long.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from textwrap import fill
from types import MappingProxyType
from typing import Any

import torch
import yaml

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.claims import Comparison, Verdict, compare_runs, pool_seeds
from conceptseg.evaluation.provenance import describe_checkpoint, require_one_checkpoint
from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.evaluation.sources import open_sources, parse_option
from conceptseg.images import load_image
from conceptseg.inference import ConceptSegmenter, Query, Route
from conceptseg.interfaces.cli import evaluate
from conceptseg.interfaces.cli import main as conceptseg
from conceptseg.taxonomy import LEAF_TASKS, level_of

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "claims.md"
REFERENCES = PAGE.parent / "figures" / "references_matter.json"
"""How far nano's masks follow its references, by recipes/nano/references_matter.py."""
TIMING = "timing.json"
TIMED = "world:all:seen_test:{each}:101"

_HEAD = """# The paper's claims in small

Made by `python recipes/claims/claims.py run` and `write` from {count} runs of nano over the same {questions} questions:
{data}.
Scores are mIoU × 100, the mean over tasks of each task's mean; ± is one standard error of the paired difference. Two of
them decide whether the difference is where *holds if* wants it: *holds*, *does not hold*, or *not decided*. Where every
question got the same score from both runs there is nothing to decide: *same answers*. What was trained for a claim was
trained once a seed: its difference is the mean over the seeds, whose own stand in brackets, and ± holds their spread.

nano is a model of fourteen million parameters in a made world. That a claim holds here is evidence for the mechanism;
that it does not is evidence against this small training first of all.

{references}
"""

_FOLLOWED = """With references of another rule, nano's IoU with the first rule's truth falls by {drop:.1f} ± {error:.1f}
points on {queries} queries of {task} (`{model}`, docs/figures/references_matter.json): {meaning}."""

_UNMEASURED = """How far nano looks at its references at all is for `recipes/nano/references_matter.py` to say; that
other references change little means little where it does not."""

_SECONDS = """
## Seconds

The same {questions} questions, one at a time in one process of {threads} threads, by turns along both routes, so that
what else the machine did slowed both alike.

| route | median | mean |
|---|---|---|
| auto | {auto[median]:.3f} | {auto[mean]:.3f} |
| reason | {reason[median]:.3f} | {reason[mean]:.3f} |

SAM 3 alone answered {share:.0f} % of them under auto. Adaptive routing is faster than always reasoning, by
{difference:.3f} ± {standard_error:.3f} seconds a question (holds if > 0): *{verdict}*."""


def main() -> None:
    """Train, run, time or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
            sys.exit(max(conceptseg(command) for command in trainings.values()))
        commands = plan_commands(plan, {"nano": options.nano, "warmup": options.warmup}, options.out, options.only)
        if options.what == "run":
            sys.exit(max(conceptseg(command) for command in commands.values()))
        elif options.what == "time":
            _time(options.nano, options.count, options.out)
        else:
            _write(plan, commands, options.out)
    except ConceptSegError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def plan_commands(
    plan: Mapping[str, Any], places: Mapping[str, str | None], out: Path, only: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Each run's words after `conceptseg`.

    Args:
        plan: claims.yaml.
        places: `nano` and `warmup` → the checkpoint; runs of one that is None are left out.
        out: the folder of all runs.
        only: names of runs; None for all that can be made.

    Raises:
        InputError: a name in `only` is no run, or one that is left out.
    """
    runs = plan["runs"] | _trained_runs(plan, out)
    possible = {name: words for name, words in runs.items() if places[_place_of(words)]}
    chosen = _choose(possible, only)
    return {name: _command(words, plan["data"], places, out / name) for name, words in chosen.items()}


def plan_trainings(
    plan: Mapping[str, Any], warmup: str, out: Path, only: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Each training's words after `conceptseg`.

    Args:
        plan: claims.yaml.
        warmup: the checkpoint that all go on from.
        out: the folder of all runs.
        only: names of trainings; None for all.

    Raises:
        InputError: a name in `only` is no training.
    """
    trainings = {}
    for family, recipe in plan["trained"]["recipes"].items():
        changes = _changes_of(HERE / recipe)
        for seed in plan["trained"]["seeds"]:
            name = f"{family}_{seed}"
            words = ["--config", str(HERE / plan["trained"]["base"]), f"model.checkpoint={warmup}", f"seed={seed}"]
            trainings[name] = ["train", "meta-grpo", *words, f"out={_training_folder(out, name)}", *changes]
    return _choose(trainings, only)


def _choose(possible: Mapping[str, Any], only: Sequence[str] | None) -> dict[str, Any]:
    unknown = [name for name in only or () if name not in possible]
    if unknown:
        raise InputError(f"--only: no run {', '.join(map(repr, unknown))}. There are {', '.join(possible)}.")
    return {name: value for name, value in possible.items() if only is None or name in only}


def _changes_of(recipe: Path) -> list[str]:
    """What a recipe changes in the one that it extends, as words for the command line."""
    own = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    return [f"{key}={json.dumps(value)}" for key, value in _flat(own) if key not in ("extends", "out")]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _training_folder(out: Path, name: str) -> Path:
    return out / "trained" / name


def _trained_runs(plan: Mapping[str, Any], out: Path) -> dict[str, list[str]]:
    """The runs of what `train` leaves."""
    names = [name for family in plan["trained"]["recipes"] for name in _members(plan, family)]
    return {name: ["--model", str(_training_folder(out, name) / "model"), "--route", "reason"] for name in names}


def _members(plan: Mapping[str, Any], name: str) -> list[str]:
    """The runs that a claim's name stands for: one a seed where it was trained for, else itself."""
    trained = plan["trained"]
    return [f"{name}_{seed}" for seed in trained["seeds"]] if name in trained["recipes"] else [name]


def _place_of(words: Sequence[str]) -> str:
    """The checkpoint that must be named for a run: what was trained stems from the one before stage II."""
    return "nano" if "{nano}" in words else "warmup"


def _command(words: Sequence[str], data: Sequence[str], places: Mapping[str, str | None], out: Path) -> list[str]:
    return ["evaluate", *(word.format(**places) for word in words), "--data", *data, "--no-masks", "--out", str(out)]


def _write(plan: Mapping[str, Any], commands: Mapping[str, list[str]], out: Path) -> None:
    runs = {name: load_run(out / name) for name in commands}
    timing, references = _read(out / TIMING), _read(REFERENCES)
    check_runs(plan, commands, runs, {TIMING: timing, REFERENCES.name: references})
    PAGE.write_text(page(plan, commands, runs, timing=timing, references=references), encoding="utf-8")


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
    for place in ("nano", "warmup"):
        mine = [runs[name] for name, words in plan["runs"].items() if name in runs and _place_of(words) == place]
        digests = {str(run.folder): run.checkpoint.get("sha256", {}) for run in mine}
        quoted = {name: report["sha256"] for name, report in reports.items() if report} if place == "nano" else {}
        require_one_checkpoint(digests | quoted)


def _config_of(command: Sequence[str]) -> EvaluationConfig:
    """What `conceptseg evaluate` makes of its words."""
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    values = vars(parser.parse_args(command))
    taken = {name: values[name] for name in EvaluationConfig.model_fields if name in values}
    return EvaluationConfig.of(taken | {"options": dict(map(parse_option, values["option"]))})


def page(
    plan: Mapping[str, Any],
    commands: Mapping[str, list[str]],
    runs: Mapping[str, Run],
    *,
    timing: Mapping[str, Any] | None = None,
    references: Mapping[str, Any] | None = None,
) -> str:
    """The whole page.

    Args:
        plan: claims.yaml.
        commands: of the runs.
        runs: as `check_runs` wants them.
        timing: as of `summarise_timing`; None leaves the section out.
        references: the report of recipes/nano/references_matter.py, if there is one.

    Raises:
        InputError: two runs have not enough questions in common.
    """
    first = next(iter(runs.values()))
    about = {"count": len(runs), "questions": len(first.rows), "data": " and ".join(plan["data"])}
    head = _HEAD.format(**about, references=fill(_followed(references), 120))
    seconds = [_seconds(timing)] if timing else []
    body = [*_verdicts(plan, runs), *_untested(plan, runs), *_routing(runs), *seconds, *_made(commands, runs)]
    return "\n".join([head, *body]) + "\n"


def _followed(report: Mapping[str, Any] | None) -> str:
    """What the claims on references are worth: whether the masks follow references at all."""
    if report is None:
        return _UNMEASURED
    drop, error = 100 * report["drop"], 100 * report["drop_standard_error"]
    follows = Comparison(report["iou"], report["iou_with_swapped_references"], drop, error, report["queries"], 1)
    meaning = (
        "it looks at them"
        if follows.verdict() is Verdict.HOLDS
        else "that it looks at them at all cannot be told, so that other references change little says little"
    )
    told = {name: report[name] for name in ("queries", "task", "model")}
    return _FOLLOWED.format(drop=drop, error=error, meaning=meaning, **told)


def _verdicts(plan: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    header = "| paper | claim | on | ours | against | difference | holds if | verdict |"
    measured = [claim for claim in plan["claims"] if not _lacking(plan, claim, runs)]
    return [header, "|---" * 8 + "|", *(_verdict(plan, claim, runs) for claim in measured)]


def _lacking(plan: Mapping[str, Any], claim: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    wanted = [name for which in ("first", "second") for name in _members(plan, claim[which])]
    return [name for name in wanted if name not in runs]


def _verdict(plan: Mapping[str, Any], claim: Mapping[str, Any], runs: Mapping[str, Run]) -> str:
    """A claim's row."""
    levels = claim.get("levels")
    tasks = [task for task in LEAF_TASKS if levels is None or level_of(task).value in levels]
    each = [compare_runs(runs[first], runs[second], tasks=tasks) for first, second in _pairs(plan, claim)]
    found = pool_seeds(each)
    if "within" in claim:
        wanted, verdict = f"within ± {100 * claim['within']:.1f}", found.verdict_within(claim["within"])
    else:
        margin = claim.get("margin", 0.0)
        wanted, verdict = f"> {100 * margin:.1f}" if margin else "> 0", found.verdict(margin)
    scores = f"{100 * found.first:.1f} ({claim['first']}) | {100 * found.second:.1f} ({claim['second']})"
    change = f"{100 * found.difference:+.1f} ± {100 * found.standard_error:.1f}"
    change += f" ({', '.join(f'{100 * one.difference:+.1f}' for one in each)})" if len(each) > 1 else ""
    on = ", ".join(levels) if levels else "all"
    return f"| {claim['table']} | {claim['says']} | {on} | {scores} | {change} | {wanted} | *{verdict.value}* |"


def _pairs(plan: Mapping[str, Any], claim: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The runs that a claim holds against each other: seed by seed, or every seed against the same run."""
    first, second = (_members(plan, claim[which]) for which in ("first", "second"))
    count = max(len(first), len(second))
    return zip(first * (count // len(first)), second * (count // len(second)), strict=True)


def _untested(plan: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    lines = ["", "## Not measured", "", "| paper | claim | what it takes |", "|---|---|---|"]
    left_out = [
        {**claim, "needs": f"--warmup: {', '.join(lacking)}"}
        for claim in plan["claims"]
        if (lacking := _lacking(plan, claim, runs))
    ]
    return lines + [f"| {one['table']} | {one['says']} | {one['needs']} |" for one in [*left_out, *plan["untested"]]]


def _routing(runs: Mapping[str, Run]) -> list[str]:
    """Table 10 in small: what the router decides, task by task."""
    names = [name for name in ("sam_only", "whole", "routed") if name in runs]
    if "routed" not in names:
        return []
    lines = ["", "## The router, task by task", "", "Share answered by SAM 3 alone when routed, and mIoU × 100.", ""]
    lines += ["| task | level | share | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
    for task in (*LEAF_TASKS, None):
        found = {n: summarise([row for row in runs[n].rows if task in (None, row["task"])]) for n in names}
        cells = " | ".join(f"{found[name]['mIoU']:.1f}" for name in names)
        label = f"{task} | {level_of(task).value}" if task else "**all questions** | "
        lines.append(f"| {label} | {found['routed']['direct']:.0f} % | {cells} |")
    return lines


def _made(commands: Mapping[str, list[str]], runs: Mapping[str, Run]) -> list[str]:
    """Where the numbers come from: a line a run with checkpoint and commit, and what makes it."""
    shown = (f"    conceptseg {shlex.join(command)}" for command in commands.values())
    return ["", "## Runs", "", *(f"- {run.note}" for run in runs.values()), "", "## Commands", "", *shown]


def _time(model: str, count: int, out: Path) -> None:
    """Time, print one line of JSON, and keep it beside the runs."""
    each, left = divmod(count, len(LEAF_TASKS))
    if each == 0 or left:
        raise InputError(f"--count: expected a multiple of the {len(LEAF_TASKS)} tasks, got {count}.")
    data = TIMED.format(each=each)
    (source,) = open_sources([data])
    pairs = time_routes(ConceptSegmenter.from_pretrained(model), source.samples)
    about = {
        "model": model,
        "sha256": describe_checkpoint(model)["sha256"],
        "data": data,
        "threads": torch.get_num_threads(),
    }
    line = json.dumps(about | summarise_timing(pairs))
    out.mkdir(parents=True, exist_ok=True)
    (out / TIMING).write_text(line + "\n", encoding="utf-8")
    print(line)


def time_routes(segmenter: ConceptSegmenter, samples: Iterable[ConceptSample]) -> list[tuple[float, float, bool]]:
    """Answer each question by route auto and by route reason, one right after the other.

    Which comes first changes from question to question, and pictures are copied, for the segmenter remembers the last
    one it has seen. References are laid out before the clock starts. The first question is asked once more beforehand,
    for weights are read when they are needed.

    Returns:
        A question: seconds by auto, seconds by reason, and whether auto left it to SAM 3 alone.
    """
    pairs: list[tuple[float, float, bool]] = []
    for number, sample in enumerate(samples):
        if not pairs:
            for route in ("auto", "reason"):
                _ask(segmenter, sample, route)
        order = ("auto", "reason") if number % 2 == 0 else ("reason", "auto")
        found = {route: _ask(segmenter, sample, route) for route in order}
        pairs.append((found["auto"][0], found["reason"][0], found["auto"][1]))
    return pairs


def _ask(segmenter: ConceptSegmenter, sample: ConceptSample, route: str) -> tuple[float, bool]:
    image = load_image(sample.image).copy()
    query = Query(image, sample.concept, segmenter.build_mosaic(sample.references), sample.id)
    begin = time.perf_counter()
    (result,) = segmenter.segment_batch([query], route=route)
    return time.perf_counter() - begin, result.route is Route.DIRECT


def summarise_timing(pairs: Sequence[tuple[float, float, bool]]) -> dict[str, Any]:
    """Medians and means in seconds a question, and the paired difference with its standard error.

    Args:
        pairs: at least two, as of `time_routes`.
    """
    auto, reason, direct = zip(*pairs, strict=True)
    saved = [whole - routed for routed, whole, _ in pairs]
    return {
        "questions": len(pairs),
        "direct": mean(direct),
        "auto": {"median": median(auto), "mean": mean(auto)},
        "reason": {"median": median(reason), "mean": mean(reason)},
        "difference": mean(saved),
        "standard_error": stdev(saved) / math.sqrt(len(saved)),
    }


def _seconds(timing: Mapping[str, Any]) -> str:
    count, difference, error = (timing[name] for name in ("questions", "difference", "standard_error"))
    compared = Comparison(timing["reason"]["mean"], timing["auto"]["mean"], difference, error, count, count)
    return _SECONDS.format(**timing, share=100 * timing["direct"], verdict=compared.verdict().value)


if __name__ == "__main__":
    main()
