"""Answers as files to take away: masks, COCO, a rule, or everything in one archive."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conceptseg.inference import Rule, SegmentationResult
from conceptseg.interfaces.exports import export_results, read_results
from conceptseg.naming import distinct_stem, name_key, stem_of

__all__ = ["AnswerFiles", "write_answers", "write_rule"]


@dataclass(frozen=True)
class AnswerFiles:
    """What was written."""

    masks: tuple[Path, ...]
    overlays: tuple[Path, ...]
    coco: Path | None
    """None where no picture was answered."""
    archive: Path
    """All of it, with `results.jsonl`."""


def write_answers(results: Sequence[SegmentationResult], folder: Path) -> AnswerFiles:
    """Write what `conceptseg segment` writes of pictures, and `annotations.json` as `conceptseg export --to coco` does.

    Args:
        results: of pictures with names; of two of one name the second gets another.
        folder: empty.
    """
    answers = folder / "answers"
    answers.mkdir()
    rows, stems = [], set[str]()
    for number, result in enumerate(results):
        stem = distinct_stem(_plain(stem_of(result.source)), f"{number}".encode(), lambda s: name_key(s) not in stems)
        stems.add(name_key(stem))
        if result.mask is not None:
            result.save_pictures(answers, stem)
        suffix = Path(result.source).suffix
        rows.append({**result.to_dict(), "source": str(answers / f"{stem}{suffix}"), "stem": stem})
    _write_rows(answers / "results.jsonl", rows)
    coco = None
    if any(result.mask is not None for result in results):
        coco = _coco(answers, folder, stems=[str(row["stem"]) for row in rows])
    _write_rows(answers / "results.jsonl", [row | {"source": Path(str(row["source"])).name} for row in rows])
    masks = tuple(sorted(answers.glob("*.mask.png")))
    overlays = tuple(sorted(answers.glob("*.overlay.jpg")))
    return AnswerFiles(masks, overlays, coco, _pack(answers, folder / "conceptseg-answers.zip", coco))


def write_rule(rule: Rule, folder: Path) -> Path:
    """Save a rule under the name of its concept."""
    return rule.save(folder / f"{_plain(rule.concept)[:60] or 'concept'}.rule")


def _plain(text: str) -> str:
    """A text as a file's name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def _write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _coco(answers: Path, folder: Path, stems: Sequence[str]) -> Path:
    report = export_results(read_results([answers]), "coco", folder / "coco")
    name = f"{stems[0]}.coco.json" if len(stems) == 1 else "annotations.json"
    return (report.folder / "annotations.json").rename(folder / name)


def _pack(answers: Path, archive: Path, coco: Path | None) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(answers.iterdir()):
            packed.write(file, file.name)
        if coco is not None:
            packed.write(coco, "annotations.json")
    return archive
