"""Write a nano checkpoint's model card and its `scores.json` from runs of `conceptseg evaluate`.

for route in direct reason auto; do
  conceptseg evaluate --model runs/nano/checkpoint --route $route --out runs/card/$route \\
    --data world:TRAINED:seen_test:150:101 world:TRAINED:seen_test:150:102 world:all:unseen_test:30:101
  conceptseg evaluate --model runs/nano/checkpoint --route $route --out runs/card/photographs_$route --data FOLDER
done
python -m nano.tools.write_card runs/card/* --checkpoint runs/nano/checkpoint --trained … --data … --steps …

Runs over `world:` fill the table by task, all others the table by set. All must be of the checkpoint, told by digest.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from statistics import mean, variance
from typing import Any

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.provenance import describe_checkpoint
from conceptseg.evaluation.report.overview import summarise
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.models.config import ConceptSegConfig
from conceptseg.models.tensor_files import read_header
from conceptseg.taxonomy import LEAF_TASKS, level_of
from nano.one_checkpoint import require_one_checkpoint

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

The checkpoint that comes with `conceptseg`: Qwen2.5-VL and SAM 3 (transformers' classes) at laptop size, {parameters} M
parameters in half precision, SAM 3 seeing through a frozen EfficientNet-Lite0 and told by a reference prior what the
references' masks say (`conceptseg.models.prior`; not in the paper). Give it a photograph and a few references with
masks; by name alone it knows {names} things and little else.

## Photographs

{photographs}

## ConceptWorld

Episodes never seen in training. seen_test: sprites, surfaces and rules of training in new scenes; unseen_test: others.
Means over tasks; every task and every column is in [`scores.csv`](scores.csv).

{summary}

`direct` is SAM 3-nano with the concept's words and, where there are references, what their masks say (the prior);
`reason` the whole way, `auto` what the router chooses. iou is the target's; miou the mean of target's and background's;
check IoU compares the response's check with the withheld reference's box, over the questions that were reasoned about.

## How it was measured

{runs}

## Data

{data}

The sprites are Microsoft Fluent Emoji (MIT) as packed by `@lobehub/fluent-emoji-3d`, the eyes are Google's
EfficientNet-Lite0 (Apache-2.0), trained on ImageNet-1k; see NOTICE.

## Training

On two CPU cores ([how](../../../../docs/nano.md)):

{steps}

## Limits

- The reasoner sees pictures at 168×168 and was taught these tasks only: {tasks}. Other tasks are transfer, and its
  rules about photographs are of the form "segment every …".
- SAM 3-nano's single objects are hardly trained: AP50 on named objects is a few hundredths
  (`python -m nano.tools.measure objects`). Masks and presence are what to rely on.
- Masks are drawn at 128×128 and enlarged: thin things come out thick.
- Without references, words outside its vocabulary mean nothing to SAM 3-nano; it says so by a low presence.
- Things that resemble their surroundings in colour and texture, very small things, and several kinds that look alike
  are where references help least.

## Licence

Apache-2.0, like the package.
"""


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.write_card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    photographed = [run for run in runs if run not in world]
    tasks = _by_task(world, trained)
    told = [_note(run, config.name) for run in runs]
    card = _CARD.format(
        parameters=round(_parameters(checkpoint) / 1e6),
        photographs=_photographs(photographed),
        summary=_table(("tasks", "split", "route", "n"), _summary(tasks), without=("miou_error",)),
        runs="\n".join(f"- {note}" for note in told),
        data=data,
        steps="\n".join(f"- {line}" for line in steps),
        names=len(config.vocabulary),
        tasks=", ".join(trained),
    )
    (checkpoint / "README.md").write_text(card, encoding="utf-8")
    _write_csv(checkpoint / "scores.csv", [*tasks, *_by_set(photographed)])
    scores = {"runs": told, "table": tasks, "photographs": _by_set(photographed)}
    (checkpoint / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


def _parameters(checkpoint: Path) -> int:
    """Numbers in the checkpoint's weights."""
    headers = [read_header(path) for path in sorted(checkpoint.rglob("*.safetensors"))]
    return sum(prod(info.shape) for header in headers for info in header.values())


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = dict.fromkeys(key for row in rows for key in row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns])
        writer.writeheader()
        writer.writerows({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
                         for row in rows)  # fmt: skip


def _summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over tasks, by level, whether they were trained on, split and route; in the order of the table by task."""
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kind = f"{row['level']}, {'trained on' if row['trained'] else 'not trained on'}"
        grouped.setdefault((kind, row["split"], row["route"]), []).append(row)
    return [
        {"tasks": kind, "split": split, "route": route, "n": sum(row["n"] for row in members)}
        | {column: _mean(row[column] for row in members) for column in _COLUMNS if column != "miou_error"}
        for (kind, split, route), members in sorted(grouped.items())
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


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
    route = _route_of(run)
    share = None if run.config.route != "auto" or found["direct"] is None else found["direct"] / 100
    reasoned = sum(row.get("response") is not None for row in rows)
    scores = {key: None if found[name] is None else found[name] / 100 for key, name in _COLUMNS.items()}
    if reasoned < _FEWEST:
        scores |= dict.fromkeys(_OF_REASONING)
    return {"route": route, "n": len(rows), "share": share, "reasoned": reasoned} | scores


def _photographs(runs: Sequence[Run]) -> str:
    """mIoU by set, a column a method, and each one's paired difference to the training-free matching."""
    if not runs:
        return "Not measured on photographs."
    rows = _by_set(runs)
    routes = list(dict.fromkeys(row["route"] for row in rows))
    lines = [
        "mIoU. `open`: validation rows of sets trained on; `research`: kinds never trained on. `match` is matching "
        "without any training, with the same eyes (`--method match`)."
        + (" `no prior` is asked with `--no-prior`." if any(route.endswith("no prior") for route in routes) else ""),
        "",
        "| part | set | n | " + " | ".join(routes) + " |",
        "|---" * (3 + len(routes)) + "|",
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part]
        scores = {(row["set"], row["route"]): row["miou"] for row in mine}
        names = list(dict.fromkeys(row["set"] for row in mine))
        for name in names:
            count = next(row["n"] for row in mine if row["set"] == name)
            lines.append(f"| {part} | {name} | {count} | {_cells(scores.get((name, route)) for route in routes)} |")
        means = [_mean(scores.get((name, route)) for name in names) for route in routes]
        lines.append(f"| {part} | **mean over sets** | | {_cells(means)} |")
        lines.append(
            f"| {part} | minus `match`, ± standard error | | {' | '.join(_against_match(runs, part, routes))} |"
        )
    return "\n".join(lines)


def _against_match(runs: Sequence[Run], part: str, routes: Sequence[str]) -> list[str]:
    """Mean over sets of the paired difference to `match`, in points, with its standard error."""
    by_route = {_route_of(run): run for run in runs if Path(run.config.data[0]).name == part}
    if "match" not in by_route:
        return ["–"] * len(routes)
    base = {(row["data"], row["id"]): row["miou"] for row in by_route["match"].rows}
    cells = []
    for route in routes:
        if route == "match" or route not in by_route:
            cells.append("–")
            continue
        by_set: dict[str, list[float]] = {}
        for row in by_route[route].rows:
            by_set.setdefault(row["data"], []).append(100 * (row["miou"] - base[row["data"], row["id"]]))
        error = sum(variance(values) / len(values) for values in by_set.values() if len(values) > 1) ** 0.5 / len(
            by_set
        )
        cells.append(f"{mean(mean(values) for values in by_set.values()):+.1f} ± {error:.1f}")
    return cells


def _note(run: Run, name: str) -> str:
    """What a run was, the checkpoint by its name: where its folder lay is nobody's business, and digests tell it."""
    return run.note.replace(f"model {run.config.model},", f"model {name},")


def _route_of(run: Run) -> str:
    """What a run's column is called: its method, or its route and what it was asked without."""
    if run.config.method != "conceptseg":
        return run.config.method
    told = (run.config.asking or {}).get("reference_prior", True)
    return run.config.route if told else f"{run.config.route}, no prior"


def _table(about: Sequence[str], rows: Sequence[dict[str, Any]], without: Sequence[str] = ()) -> str:
    columns = (*about, *(column for column in _COLUMNS if column not in without))
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
