"""Write a nano checkpoint's model card and its `scores.json` from runs of `conceptseg evaluate`, one a route.

for route in direct reason; do
  conceptseg evaluate --model runs/nano/checkpoint --route $route --out runs/nano/$route \\
    --data world:all:seen_test:100:101 world:all:seen_test:100:102
done
python recipes/nano/write_card.py runs/nano/direct runs/nano/reason --checkpoint runs/nano/checkpoint --data … --steps …
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.models.config import ConceptSegConfig
from conceptseg.taxonomy import LEAF_TASKS, level_of

_COLUMNS = {
    "iou": "IoU",
    "miou": "mIoU",
    "valid": "valid",
    "rule_right": "rule",
    "answer_right": "answer",
    "box_iou": "box IoU",
    "check_iou": "check IoU",
}
"""Column of the card → of the overview."""

_CARD = """---
license: apache-2.0
library_name: conceptseg
pipeline_tag: image-segmentation
---

# nano

The checkpoint that comes with `conceptseg`: Qwen2.5-VL and SAM 3 (transformers' classes) at laptop size, 14 M
parameters, half precision. It is there to try every command, to test every path and to look at the paper's
mechanism in small; it knows a synthetic world and is no substitute for the full-size models on photographs.

## Scores

ConceptWorld episodes never seen in training (`world:TASKS:SPLIT:EPISODES A TASK:SEED`):

    {command}

{table}

`direct` is SAM 3-nano alone with the concept's words; `reason` is the whole way. iou is the target's, miou the mean of
target's and background's; valid is the share of responses in the protocol's strict form; rule and answer are counted
right when they equal the truth word for word; box_iou compares the response's box with the target's, check_iou its
check with the withheld reference's.

## Data

{data}

No photographs. The sprites are Microsoft Fluent Emoji (MIT) as packed by `@lobehub/fluent-emoji-3d`; see NOTICE.

## Training

From nothing on two CPU cores ([how](../../../../docs/nano.md)). `recipes/nano/cpu.yaml` is the recipe that came of it;
this checkpoint was made while it was being found, in these runs:

{steps}

## Limits

- It recognises {names} object names (`conceptseg models nano` lists them) and little else; on the direct route
  other words mean nothing to it, and it often says so through a low presence.
- It was trained on these tasks only: {tasks}. The other ConceptWorld tasks are transfer.
- Masks are drawn at 48×48 and enlarged; pictures are seen at 168×168.
- SAM 3's instance queries are untrained: only the semantic mask and the presence score mean something.
- Photographs are outside what it has seen: expect rough or wrong masks there.

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
    runs, config = [load_run(folder) for folder in options.runs], ConceptSegConfig.read(options.checkpoint)
    table = _measured(runs, options.trained)
    routes = " and ".join(f"--route {run.config.route}" for run in runs)
    card = _CARD.format(
        command=f"conceptseg evaluate --data {' '.join(runs[0].config.data)}    # with {routes}",
        table=_table(table),
        data=options.data,
        steps="\n".join(f"- {line}" for line in options.steps),
        names=len(config.vocabulary),
        tasks=", ".join(options.trained),
    )
    (options.checkpoint / "README.md").write_text(card, encoding="utf-8")
    scores = {"runs": [run.note for run in runs], "table": table}
    (options.checkpoint / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


def _measured(runs: Sequence[Run], trained: Sequence[str]) -> list[dict[str, Any]]:
    """A row a task and run, all sets of the run together, in fractions."""
    table = []
    for task in LEAF_TASKS:
        for run in runs:
            rows = [row for row in run.rows if row["task"] == task]
            found = summarise(rows)
            scores = {key: None if found[name] is None else found[name] / 100 for key, name in _COLUMNS.items()}
            about = {"task": task, "level": level_of(task).value, "trained": task in trained}
            table += [about | {"route": run.config.route, "n": len(rows)} | scores] if rows else []
    return table


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | level | trained on | route | n | " + " | ".join(_COLUMNS) + " |",
        "|---" * (5 + len(_COLUMNS)) + "|",
    ]
    for row in rows:
        cells = ["–" if row.get(key) is None else f"{row[key]:.3f}" for key in _COLUMNS]
        trained = "yes" if row["trained"] else "no"
        lines.append(
            f"| {row['task']} | {row['level']} | {trained} | {row['route']} | {row['n']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
