"""Write a nano checkpoint's model card and its `scores.json` from runs of `conceptseg evaluate`.

for route in direct reason auto; do
  conceptseg evaluate --model runs/nano/checkpoint --route $route --out runs/card/$route \\
    --data world:TRAINED:seen_test:150:101 world:TRAINED:seen_test:150:102 world:all:unseen_test:30:101
  conceptseg evaluate --model runs/nano/checkpoint --route $route --out runs/card/photographs_$route --data FOLDER
done
python recipes/nano/write_card.py runs/card/* --checkpoint runs/nano/checkpoint --trained … --data … --steps …

Runs over `world:` fill the table by task, all others the table by set. All must be of the checkpoint, told by digest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.provenance import describe_checkpoint, require_one_checkpoint
from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.models.config import ConceptSegConfig
from conceptseg.taxonomy import LEAF_TASKS, level_of

_COLUMNS = {
    "iou": "IoU",
    "miou": "mIoU",
    "miou_error": "±",
    "valid": "valid",
    "rule_right": "rule",
    "answer_right": "answer",
    "box_iou": "box IoU",
    "check_iou": "check IoU",
}
"""Column of the card → of the overview."""

_OF_REASONING = ("valid", "rule_right", "answer_right", "box_iou", "check_iou")
"""Columns that only reasoned questions have a number for."""

_FEWEST = 20
"""Reasoned questions below which those columns stay empty."""

_SPLITS = ("seen_test", "unseen_test")

_CARD = """---
license: apache-2.0
library_name: conceptseg
pipeline_tag: image-segmentation
---

# nano

The checkpoint that comes with `conceptseg`: Qwen2.5-VL and SAM 3 (transformers' classes) at laptop size, 14 M
parameters, half precision. It is there to try every command, to test every path and to look at the paper's
mechanism in small; it knows a made world and a few kinds of photographs, and is no substitute for the full-size models.

## Scores

ConceptWorld, episodes never seen in training. seen_test: sprites, surfaces and rules of training in new scenes;
unseen_test: others.

{table}

`direct` is SAM 3-nano alone with the concept's words, `reason` the whole way, `auto` what the router chooses (share:
how many it gives to SAM 3 alone). iou is the target's, miou the mean of target's and background's, miou_error its
standard error; valid is the share of responses in the protocol's strict form; rule and answer count as right when they
equal the truth word for word; box_iou compares the response's box with the target's, check_iou its check with the
withheld reference's. These five are means over the questions that were reasoned about (reasoned: how many), with a dash
where those are fewer than {fewest}.

{photographs}

The runs:

{runs}

## Data

{data}

The sprites are Microsoft Fluent Emoji (MIT) as packed by `@lobehub/fluent-emoji-3d`; see NOTICE.

## Training

On two CPU cores ([how](../../../../docs/nano.md)). `recipes/nano/cpu.yaml` is the recipe that came of it; this
checkpoint was made while it was being found, in these runs:

{steps}

## Limits

- It recognises {names} object names (`conceptseg models nano` lists them) and little else; on the direct route
  other words mean nothing to it, and it often says so through a low presence.
- It was trained on these tasks only: {tasks}. The other ConceptWorld tasks are transfer.
- Masks are drawn at 48×48 and enlarged; pictures are seen at 168×168.
- SAM 3's instance queries are untrained: only the semantic mask and the presence score mean something.
- Of photographs it has seen a few thousand: people, clothes, cats, skin lesions, leaves, cells. Expect rough masks
  there, and wrong ones elsewhere.

## Licence

Apache-2.0, like the package.
"""


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--trained", nargs="+", required=True, help="tasks it was trained on")
    parser.add_argument("--data", required=True, help="what it was trained on, in a sentence")
    parser.add_argument("--steps", nargs="+", required=True, help="one line a stage")
    options = parser.parse_args()
    try:
        runs = [load_run(folder) for folder in options.runs]
        write_card(runs, options.checkpoint, options.trained, options.data, options.steps)
    except ConceptSegError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def write_card(runs: Sequence[Run], checkpoint: Path, trained: Sequence[str], data: str, steps: Sequence[str]) -> None:
    """Write `README.md` and `scores.json` into a checkpoint's folder.

    Args:
        runs: of this checkpoint; those over `world:` make the first table, the others the second.
        checkpoint: the folder.
        trained: tasks it was trained on.
        data: what it was trained on, in a sentence.
        steps: one line a stage of its training.

    Raises:
        CheckpointError: the folder holds no checkpoint.
        InputError: a run is of another checkpoint, or is not finished.
    """
    if unfinished := [f"{run.folder} lacks {run.missing} of its questions" for run in runs if run.missing]:
        raise InputError(f"A card needs whole runs: {'; '.join(unfinished)}. Run their commands again to finish them.")
    require_one_checkpoint(_digests(checkpoint, runs))
    config = ConceptSegConfig.read(checkpoint)
    world = [run for run in runs if run.config.data[0].startswith("world:")]
    tasks, sets = _by_task(world, trained), _by_set([run for run in runs if run not in world])
    card = _CARD.format(
        table=_table(("task", "level", "trained", "split", "route", "n", "share", "reasoned"), tasks),
        fewest=_FEWEST,
        photographs=_photographs(sets),
        runs="\n".join(f"- {run.note}" for run in runs),
        data=data,
        steps="\n".join(f"- {line}" for line in steps),
        names=len(config.vocabulary),
        tasks=", ".join(trained),
    )
    (checkpoint / "README.md").write_text(card, encoding="utf-8")
    scores = {"runs": [run.note for run in runs], "table": tasks, "photographs": sets}
    (checkpoint / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


def _digests(checkpoint: Path, runs: Sequence[Run]) -> dict[str, Mapping[str, str]]:
    """By name: the checkpoint's as it is now, and the runs' as they were made."""
    now = {f"--checkpoint {checkpoint}": describe_checkpoint(str(checkpoint))["sha256"]}
    return now | {str(run.folder): run.checkpoint.get("sha256", {}) for run in runs}


def _by_task(runs: Sequence[Run], trained: Sequence[str]) -> list[dict[str, Any]]:
    """A row a task, split and run, in fractions; seeds together."""
    table = []
    for task in LEAF_TASKS:
        for split in _SPLITS:
            for run in runs:
                rows = [row for row in run.rows if row["task"] == task and f":{split}:" in row["data"]]
                about = {"task": task, "level": level_of(task).value, "trained": task in trained, "split": split}
                table += [about | _scores(run, rows)] if rows else []
    return table


def _by_set(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row a set of photographs and run; a run is over one folder of sets, the part."""
    table = []
    for run in runs:
        part = Path(run.config.data[0]).name
        for name in sorted({row["data"] for row in run.rows}):
            rows = [row for row in run.rows if row["data"] == name]
            table.append({"part": part, "set": name} | _scores(run, rows))
    return table


def _scores(run: Run, rows: Sequence[Any]) -> dict[str, Any]:
    found: Mapping[str, Any] = summarise(rows)
    route = run.config.route if run.config.method == "conceptseg" else run.config.method
    share = None if run.config.route != "auto" or found["direct"] is None else found["direct"] / 100
    reasoned = sum(row.get("response") is not None for row in rows)
    scores = {key: None if found[name] is None else found[name] / 100 for key, name in _COLUMNS.items()}
    if reasoned < _FEWEST:
        scores |= dict.fromkeys(_OF_REASONING)
    return {"route": route, "n": len(rows), "share": share, "reasoned": reasoned} | scores


def _photographs(rows: Sequence[dict[str, Any]]) -> str:
    """mIoU by set: a column a route."""
    if not rows:
        return "Not measured on photographs."
    routes = list(dict.fromkeys(row["route"] for row in rows))
    lines = ["Photographs, mIoU. `open`: validation rows of sets trained on; `research`: sets never trained on.", ""]
    lines += ["| part | set | n | " + " | ".join(routes) + " |", "|---" * (3 + len(routes)) + "|"]
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part]
        scores = {(row["set"], row["route"]): row["miou"] for row in mine}
        names = list(dict.fromkeys(row["set"] for row in mine))
        for name in names:
            count = next(row["n"] for row in mine if row["set"] == name)
            cells = _cells(scores.get((name, route)) for route in routes)
            lines.append(f"| {part} | {name} | {count} | {cells} |")
        means = [mean(scores[name, route] for name in names) for route in routes]
        lines.append(f"| {part} | **mean over sets** | | {_cells(means)} |")
    return "\n".join(lines)


def _table(about: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    columns = (*about, *_COLUMNS)
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {_cells(row.get(column) for column in columns)} |" for row in rows)])


def _cells(values: Iterable[Any]) -> str:
    return " | ".join(map(_said, values))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
