"""Write a nano checkpoint's model card and its `scores.json` from what `evaluate.py` measured.

python recipes/nano/evaluate.py --model runs/nano/checkpoint --out runs/nano/scores.json
python recipes/nano/write_card.py runs/nano/scores.json runs/nano/checkpoint
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from conceptseg.models.config import ConceptSegConfig

_KEYS = ("iou", "miou", "valid", "rule_right", "answer_right", "box_iou", "check_iou")

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

ConceptWorld, split `{split}`, seeds {seeds} (never seen in training), {count} episodes a task and seed:

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
    parser.add_argument("scores", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True, help="what it was trained on, in a sentence")
    parser.add_argument("--steps", nargs="+", required=True, help="one line a stage")
    options = parser.parse_args()
    measured = json.loads(options.scores.read_text(encoding="utf-8"))
    settings, config = measured["options"], ConceptSegConfig.read(options.checkpoint)
    trained = sorted({row["task"] for row in measured["table"] if row.get("trained")})
    seeds = " ".join(map(str, settings["seeds"]))
    card = _CARD.format(
        split=settings["split"],
        seeds=seeds,
        count=settings["count"],
        command=f"python recipes/nano/evaluate.py --split {settings['split']} --seeds {seeds} --count "
        f"{settings['count']}",
        table=_table(measured["table"]),
        data=options.data,
        steps="\n".join(f"- {line}" for line in options.steps),
        names=len(config.vocabulary),
        tasks=", ".join(trained),
    )
    (options.checkpoint / "README.md").write_text(card, encoding="utf-8")
    (options.checkpoint / "scores.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| task | level | trained on | route | n | " + " | ".join(_KEYS) + " |", "|---" * (5 + len(_KEYS)) + "|"]
    for row in rows:
        cells = ["–" if row.get(key) is None else f"{row[key]:.3f}" for key in _KEYS]
        trained = "yes" if row["trained"] else "no"
        lines.append(
            f"| {row['task']} | {row['level']} | {trained} | {row['route']} | {row['n']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
