"""docs/claims.md from runs: verdicts, what was not measured, the router task by task; and the table of runs."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

from conceptseg.evaluation.comparison import Comparison, Verdict, compare_runs
from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run
from conceptseg.taxonomy import LEAF_TASKS, level_of
from nano.claims.plan import members
from nano.claims.seeds import pool_seeds

_HEAD = """# The paper's claims in small

Made by `python -m nano.claims` (`train`, `run`, `time`, `write`) from {count} runs of nano over the same
{questions} questions: {data}.
Scores are mIoU × 100, the mean over tasks of each task's mean; ± is one standard error of the paired difference. Two of
them decide whether the difference is where *holds if* wants it: *holds*, *does not hold*, or *not decided*. Where every
question got the same score from both runs there is nothing to decide: *same answers*. What was trained for a claim was
trained once a seed: its difference is the mean over the seeds, whose own stand in brackets, and ± holds their spread;
as three seeds tell that badly, more than two of them decide there (Student's t).

nano is a model of fourteen million parameters in a made world. That a claim holds here is evidence for the mechanism;
that it does not is evidence against this small training first of all.

{references}
"""

_FOLLOWED = """With references of another rule, nano's IoU with the first rule's truth falls by {drop:.1f} ± {error:.1f}
points on {queries} queries of {task} (`{model}`, nano/curves/references_matter.json): {meaning}."""

_UNMEASURED = """How far nano looks at its references at all is for `nano/tools/references_matter.py` to say; that
other references change little means little where it does not."""

_MADE = """
## Where the numbers come from

[claims_runs.csv](../nano/curves/claims_runs.csv) has every run with its checkpoint, its commit and its command.
`python -m nano.claims train`, then `run`, `time` and `write`, make runs, table and page."""

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


def page(
    plan: Mapping[str, Any],
    runs: Mapping[str, Run],
    *,
    timing: Mapping[str, Any] | None = None,
    references: Mapping[str, Any] | None = None,
) -> str:
    """The whole page.

    Args:
        plan: claims.yaml.
        runs: as `check_runs` wants them.
        timing: as of `summarise_timing`; None leaves the section out.
        references: the report of nano/tools/references_matter.py, if there is one.

    Raises:
        InputError: two runs have not enough questions in common.
    """
    first = next(iter(runs.values()))
    about = {"count": len(runs), "questions": len(first.rows), "data": " and ".join(plan["data"])}
    head = _HEAD.format(**about, references=fill(_followed(references), 120))
    seconds = [_seconds(timing)] if timing else []
    body = [
        *_verdicts(plan, runs),
        *_lineage(plan, runs),
        *_untested(plan, runs),
        *_routing(runs),
        *seconds,
        _MADE,
    ]
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


def _lineage(plan: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    """Which checkpoint was trained on, where any was: it need not be the one that all else is measured on."""
    if not any(name in runs for family in plan["trained"]["recipes"] for name in members(plan, family)):
        return []
    start, finished = runs["warm"], runs["whole"]
    which = (
        "the one that all else is measured on" if start.digest == finished.digest else "not the one measured elsewhere"
    )
    bases = " or ".join(base.replace("..", "nano", 1) for base in plan["trained"]["bases"].values())
    return [
        "",
        f"What was trained for a claim went on from checkpoint {start.digest} (run warm): {which}.",
        f"Each by {bases} with the change of its recipe in `claims.yaml`.",
    ]


def _lacking(plan: Mapping[str, Any], claim: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    wanted = [name for which in ("first", "second") for name in members(plan, claim[which])]
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
    first, second = (members(plan, claim[which]) for which in ("first", "second"))
    count = max(len(first), len(second))
    return zip(first * (count // len(first)), second * (count // len(second)), strict=True)


def _untested(plan: Mapping[str, Any], runs: Mapping[str, Run]) -> list[str]:
    lines = ["", "## Not measured", "", "| paper | claim | what it takes |", "|---|---|---|"]
    left_out = [
        {**claim, "needs": f"`claims.py train` and `run` with --warmup: {', '.join(lacking)}"}
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


def table_of_runs(commands: Mapping[str, list[str]], runs: Mapping[str, Run]) -> str:
    """Where the numbers come from, as CSV: a line a run or training, what it measured, and its command."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "measured", "command"])
    for name, command in commands.items():
        measured = runs[name].note if name in runs else ""
        writer.writerow([name, measured, f"conceptseg {shlex.join(command)}"])
    return out.getvalue()


def _seconds(timing: Mapping[str, Any]) -> str:
    count, difference, error = (timing[name] for name in ("questions", "difference", "standard_error"))
    compared = Comparison(timing["reason"]["mean"], timing["auto"]["mean"], difference, error, count, count)
    return _SECONDS.format(**timing, share=100 * timing["direct"], verdict=compared.verdict().value)
