"""The paper's claims in small: run nano on the same questions in several ways, and say which claims hold.

python recipes/claims/claims.py run --nano nano --warmup runs/nano/warmup --out runs/claims      # resumable
python recipes/claims/claims.py write --nano nano --warmup runs/nano/warmup --out runs/claims    # docs/claims.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from conceptseg.evaluation.claims import compare_runs
from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.interfaces.cli import main as conceptseg
from conceptseg.taxonomy import LEAF_TASKS, level_of

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "claims.md"

_HEAD = """# The paper's claims in small

Made by `python recipes/claims/claims.py run` and `write` from {count} runs of nano over the same {questions} questions:
{data}.
Scores are mIoU × 100, the mean over tasks of each task's mean; ± is one standard error of the paired difference. Two of
them decide: *holds*, *does not hold*, or *not decided*.

nano is a model of fourteen million parameters in a made world. That a claim holds here is evidence for the mechanism;
that it does not is evidence against this small training first of all. That other references change little says less
than it seems: nano hardly looks at them yet (`recipes/nano/references_matter.py`, docs/nano.md). Seconds are comparable
within a run only where nothing else ran beside it.
"""


def main() -> None:
    """Run or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "write"))
    parser.add_argument("--nano", default="nano", help="the finished checkpoint")
    parser.add_argument("--warmup", help="the checkpoint before stage II; without it, its runs are left out")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--only", nargs="+", help="names of runs, all by default")
    options = parser.parse_args()
    plan = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    places = {"nano": options.nano, "warmup": options.warmup}
    commands = {
        name: _command(words, plan["data"], places, options.out / name)
        for name, words in plan["runs"].items()
        if (options.warmup or "{warmup}" not in words) and name in (options.only or plan["runs"])
    }
    if options.what == "run":
        sys.exit(max(conceptseg(command) for command in commands.values()))
    PAGE.write_text(page(plan, commands, {name: load_run(options.out / name) for name in commands}), encoding="utf-8")


def _command(words: Sequence[str], data: Sequence[str], places: dict[str, str | None], out: Path) -> list[str]:
    return ["evaluate", *(word.format(**places) for word in words), "--data", *data, "--no-masks", "--out", str(out)]


def page(plan: dict[str, Any], commands: dict[str, list[str]], runs: dict[str, Run]) -> str:
    """The whole page."""
    first = next(iter(runs.values()))
    head = _HEAD.format(count=len(runs), questions=len(first.rows), data=" and ".join(plan["data"]))
    return "\n".join([head, *_verdicts(plan, runs), *_untested(plan), *_routing(runs), *_commands(commands)]) + "\n"


def _verdicts(plan: dict[str, Any], runs: dict[str, Run]) -> list[str]:
    lines = ["| paper | claim | on | ours | against | difference | verdict |", "|---|---|---|---|---|---|---|"]
    for claim in plan["claims"]:
        if not {claim["first"], claim["second"]} <= set(runs):
            continue
        level = claim.get("level")
        tasks = [task for task in LEAF_TASKS if level in (None, level_of(task).value)]
        found = compare_runs(runs[claim["first"]], runs[claim["second"]], tasks=tasks)
        scores = f"{100 * found.first:.1f} ({claim['first']}) | {100 * found.second:.1f} ({claim['second']})"
        change = f"{100 * found.difference:+.1f} ± {100 * found.standard_error:.1f}"
        verdict = found.verdict(claim.get("margin", 0.0)).value
        lines.append(f"| {claim['table']} | {claim['says']} | {level or 'all'} | {scores} | {change} | *{verdict}* |")
    return lines


def _untested(plan: dict[str, Any]) -> list[str]:
    lines = ["", "## Not measured", "", "| paper | claim | what it takes |", "|---|---|---|"]
    return lines + [f"| {one['table']} | {one['says']} | {one['needs']} |" for one in plan["untested"]]


def _routing(runs: dict[str, Run]) -> list[str]:
    """Table 10 in small: what the router decides, task by task, and what it costs."""
    lines = [
        "",
        "## The router, task by task",
        "",
        "Share answered by SAM 3 alone, mIoU × 100, seconds a question.",
        "",
    ]
    names = [name for name in ("sam_only", "whole", "routed") if name in runs]
    if "routed" not in names:
        return []
    lines += ["| task | level | share | " + " | ".join(names) + " | seconds |", "|---" * (4 + len(names)) + "|"]
    for task in (*LEAF_TASKS, None):
        found = {n: summarise([row for row in runs[n].rows if task in (None, row["task"])]) for n in names}
        cells = [f"{found[name]['mIoU']:.1f}" for name in names]
        seconds = " / ".join(f"{found[name]['s']:.2f}" for name in names)
        label = f"{task} | {level_of(task).value}" if task else "**all questions** | "
        lines.append(f"| {label} | {found['routed']['direct']:.0f} % | {' | '.join(cells)} | {seconds} |")
    return lines


def _commands(commands: dict[str, list[str]]) -> list[str]:
    shown = (f"    conceptseg {shlex.join(command)}" for command in commands.values())
    return ["", "## Commands", "", *shown]


if __name__ == "__main__":
    main()
