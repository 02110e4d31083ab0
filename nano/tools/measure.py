"""Measure of a checkpoint what `conceptseg evaluate` does not: presence after reasoning, and single objects.

python -m nano.tools.measure presence --data FOLDER --model nano     # AUROC, own against another set's references
python -m nano.tools.measure objects --model nano --scenes 300       # AP50 on named objects of ConceptWorld

Prints one JSON object; `--out FILE` keeps it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from conceptseg.data import ConceptSample, load_reference, load_sample, read_samples
from conceptseg.data.world import ConceptWorld
from conceptseg.errors import ConceptSegError
from conceptseg.geometry import mask_iou
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.segmenter import upsample_logits
from conceptseg.protocol import parse_response

_SAME = 0.5
"""IoU from which an object counts as found."""


def main() -> None:
    """Parse the arguments, measure, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("presence", "objects"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--data", type=Path, help="a folder of sets with validation rows and references")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "presence" and options.data is None:
        parser.error("presence needs --data FOLDER")
    try:
        model = ConceptSegModel.from_pretrained(options.model)
        found = (
            measure_presence(model, options.data, options.seed)
            if options.what == "presence"
            else measure_objects(model, options.scenes, options.seed)
        )
    except ConceptSegError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    text = json.dumps({"what": options.what, "model": options.model, "seed": options.seed} | found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure_presence(model: ConceptSegModel, root: Path, seed: int) -> dict[str, Any]:
    """Each target is asked about twice: with its own references, and with concept and references of another set."""
    sets = {path.parent.name: _questions(path.parent) for path in sorted(root.glob("*/samples.jsonl"))}
    sets = {name: rows for name, rows in sets.items() if rows}
    rng = np.random.default_rng(seed)
    by_set: dict[str, dict[str, list[float]]] = {}
    for name, rows in sets.items():
        others = [row for other, theirs in sets.items() if other != name for row in theirs]
        scores: dict[str, list[float]] = {"present": [], "absent": []}
        for row in rows:
            swapped = others[int(rng.integers(len(others)))]
            scores["present"].append(presence_of(model, row, row))
            scores["absent"].append(presence_of(model, row, swapped))
        by_set[name] = scores
    present, absent = (
        [value for scores in by_set.values() for value in scores[kind]] for kind in ("present", "absent")
    )
    return {
        "questions": len(present) + len(absent),
        "auroc": round(auroc(present, absent), 4),
        "auroc_by_set": {name: round(auroc(s["present"], s["absent"]), 4) for name, s in by_set.items()},
        "false_at_5_percent_lost": round(float(np.mean(np.array(absent) >= np.quantile(present, 0.05))), 4),
    }


def _questions(folder: Path) -> list[ConceptSample]:
    return [row for row in read_samples(folder) if row.split == "val" and row.references and row.mask is not None]


@torch.no_grad()
def presence_of(model: ConceptSegModel, target: ConceptSample, asked: ConceptSample) -> float:
    """SAM 3's presence score (0…1) for one sample's concept, asked with its references, in another sample's picture."""
    image = load_sample(target).image
    references = [load_reference(one) for one in asked.references]
    spoken = model.reason([model.build_prompt(asked.concept, image, model.lay_out(references))])
    answer = parse_response(spoken.texts[0]).words or asked.concept
    features = model.segmenter.encode_beside([image], [model.see_references(references)])
    logits = model.segmenter.decode(features, model.translate(spoken.hidden_states, spoken.mask, [answer]))
    return float(logits.presence.float().sigmoid()[0])


def auroc(present: Sequence[float], absent: Sequence[float]) -> float:
    """The chance that a present thing scores higher than an absent one; ties count half."""
    higher = np.subtract.outer(np.asarray(present), np.asarray(absent))
    return float(np.mean((higher > 0) + 0.5 * (higher == 0)))


@torch.no_grad()
def measure_objects(model: ConceptSegModel, scenes: int, seed: int) -> dict[str, Any]:
    """Single objects asked for by name, one question a name of a scene: average precision at IoU 0.5."""
    world = ConceptWorld("living", split="seen_test", seed=seed)
    found: list[tuple[float, bool]] = []
    there = 0
    for index in range(scenes):
        scene = world.scene(index)
        features = model.segmenter.encode(model.segmenter.preprocess([Image.fromarray(scene.image)]))
        for name in scene.names:
            true = [thing.mask for thing in scene.objects if thing.name == name and thing.mask.any()]
            objects = model.segmenter.find_instances(features, model.segmenter.embed_text([name]))
            size_hw = (scene.image.shape[0], scene.image.shape[1])
            drawn = [np.asarray(upsample_logits(one, size_hw) > 0) for one in objects.masks[0]]
            found += matched(drawn, objects.scores[0].tolist(), true)
            there += len(true)
    return {"scenes": scenes, "objects": there, "ap50": round(average_precision(found, there), 4)}


def matched(
    drawn: Sequence[Bool[np.ndarray, "h w"]], scores: Sequence[float], true: Sequence[Bool[np.ndarray, "h w"]]
) -> Iterator[tuple[float, bool]]:
    """(score, whether it is a true object not found before) of each drawn object, the surest first."""
    left = list(true)
    for place in np.argsort(scores)[::-1]:
        best = max(left, key=lambda mask: mask_iou(drawn[place], mask), default=None)
        hit = best is not None and mask_iou(drawn[place], best) >= _SAME
        if hit:
            left = [mask for mask in left if mask is not best]
        yield scores[place], hit


def average_precision(found: Sequence[tuple[float, bool]], there: int) -> float:
    """Area under precision over recall, precision made monotonous (as in COCO, over every recall)."""
    hits = np.array([hit for _, hit in sorted(found, key=lambda pair: -pair[0])], dtype=float)
    if not there or not len(hits):
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * hits).sum() / there)


if __name__ == "__main__":
    main()
