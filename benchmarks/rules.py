"""What rules promise, measured: python benchmarks/rules.py --part PART --count N [--data DATA...] --out FILE

calibration   `expected_iou` of rules from eight references against the true IoU on further pictures, by set
confidence    `result.confidence` against the true IoU, and `result.found` where the concept is not (false, lost)
choice        four references chosen from sixteen, of which four are spoilt, against four drawn from them
sifting       of such sixteen, those that look wrong by sight alone, before any rule is learned
samples       the best of four responses against the likeliest one
apply         a rule on further pictures against asking anew: IoU, tokens written, time
unlike        references that mark what the concept is not, on targets that show it too, against none

--data names sets as `conceptseg evaluate` does; without it questions come from ConceptWorld (--split, --seed, --tasks).
FILE holds what every question showed, and the summary. Every question depends on its number and the seed alone: the
same command goes on where it was stopped, and --count may grow.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg import ConceptSample, ConceptSegmenter, Reference
from conceptseg.data import load_reference, load_sample
from conceptseg.data.world import ConceptWorld
from conceptseg.evaluation.calibrating import lacks
from conceptseg.evaluation.sources import open_sources
from conceptseg.files import replacing
from conceptseg.geometry import mask_iou
from conceptseg.inference import Query, SegmentationResult, engine
from conceptseg.inference.contest import doubtful
from conceptseg.models.calibration import expected_error

_RIVALS = ("common_consistency", "correspondence_consistency")
_BATCH = 8


@dataclass
class Bench:
    """What every part works with."""

    segmenter: ConceptSegmenter
    options: argparse.Namespace

    @property
    def pictures(self) -> int:
        """Further pictures that a rule is tried on."""
        return int(self.options.pictures)

    def question(self, number: int, references: int) -> ConceptSample:
        """A question by its number, of every set (or task) in turn."""
        return _question(_world(self.options, references), number) if not self.options.data else self._of_data(number)

    def rule_and_more(self, number: int, references: int) -> tuple[ConceptSample, list[ConceptSample]]:
        """A question with so many references, and further pictures of the same concept."""
        if not self.options.data:
            world = _world(self.options, references + self.pictures)
            sample = _question(world, number)
            more = [_as_question(sample, one) for one in sample.references[references:]]
            return _with(sample, sample.references[:references]), [sample, *more]
        sample = self._of_data(number, references)
        used = {str(one.image) for one in sample.references}
        kin = [one for one in self._kin(sample) if str(one.image) not in used]
        order = np.random.default_rng([self.options.seed, number]).permutation(len(kin))
        return sample, [kin[place] for place in order[: self.pictures + 1]]

    def _of_data(self, number: int, references: int = 4) -> ConceptSample:
        sources = _sources(tuple(self.options.data), references, self.options.seed)
        samples = sources[number % len(sources)].samples
        return samples[(number // len(sources)) % len(samples)]

    def _kin(self, sample: ConceptSample) -> list[ConceptSample]:
        kind = (sample.task, sample.concept, sample.group)
        sources = _sources(tuple(self.options.data), 8, self.options.seed)
        return [one for source in sources for one in source.samples if (one.task, one.concept, one.group) == kind]


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=sorted(PARTS), required=True)
    parser.add_argument("--count", type=int, default=40, help="questions, over all tasks or sets")
    parser.add_argument("--pictures", type=int, default=11, help="calibration, choice, apply: further pictures a rule")
    parser.add_argument("--data", nargs="+", default=[])
    parser.add_argument("--tasks", default="all", help="of ConceptWorld, with commas")
    parser.add_argument("--split", default="seen_test")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--samples", type=int, default=4, help="calibration, choice: responses that compete")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    bench = Bench(ConceptSegmenter.from_pretrained(options.model, device="cpu"), options)
    ask, sum_up = PARTS[options.part]
    head = {name: value for name, value in vars(options).items() if name not in ("out", "count", "threads")}
    head |= {"checkpoint": bench.segmenter.model.digest(), "calibrated": bench.segmenter.model.calibration is not None}
    head["model"] = Path(options.model).name
    head["data"] = [Path(one).name for one in options.data]
    rows = _rows_of(options.out, head)
    for number in range(options.count):
        if number not in {row["number"] for row in rows}:
            rows.append({"number": number} | ask(bench, number))
        told = head | {"summary": sum_up(rows), "rows": rows}
        with replacing(options.out) as fresh:
            fresh.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(sum_up(rows), indent=2))


def _rows_of(path: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier call of the same kind has asked."""
    if not path.is_file():
        return []
    told = json.loads(path.read_text(encoding="utf-8"))
    others = [name for name, value in head.items() if told.get(name) != value]
    if others:
        raise SystemExit(f"{path} holds other measurements ({', '.join(others)} differ): name another --out.")
    return list(told["rows"])


@lru_cache(maxsize=4)
def _sources(data: tuple[str, ...], references: int, seed: int) -> list[Any]:
    return open_sources(data, references=references, seed=seed)


def _world(options: argparse.Namespace, references: int) -> ConceptWorld:
    tasks = options.tasks if options.tasks == "all" else options.tasks.split(",")
    return ConceptWorld(tasks, options.split, options.seed, references=references)


def _question(world: ConceptWorld, number: int) -> ConceptSample:
    return world.sample(world.tasks[number % len(world.tasks)], number // len(world.tasks))


def _with(sample: ConceptSample, references: Sequence[Reference]) -> ConceptSample:
    return ConceptSample(
        sample.id, sample.task, sample.concept, sample.image, sample.mask, tuple(references), group=sample.group
    )


def _as_question(sample: ConceptSample, one: Reference) -> ConceptSample:
    """A reference that was not shown, as a question about the same concept."""
    return ConceptSample(sample.id, sample.task, sample.concept, one.image, one.mask, group=sample.group)


def _iou(result: SegmentationResult, sample: ConceptSample) -> float:
    truth = load_sample(_with(sample, ())).mask
    return mask_iou(result.mask, truth) if result.mask is not None and truth is not None else 0.0


def _apply_to(bench: Bench, rule: Any, more: Sequence[ConceptSample]) -> list[tuple[float, float]]:
    """Confidence and IoU of a rule on pictures."""
    results = bench.segmenter.apply(rule, [one.image for one in more], batch_size=_BATCH, always=True)
    return [(float(one.confidence or 0), _iou(one, sample)) for one, sample in zip(results, more, strict=True)]


def _ask_calibration(bench: Bench, number: int) -> dict[str, Any]:
    sample, more = bench.rule_and_more(number, 8)
    rule = bench.segmenter.learn(sample.concept, sample.references, samples=bench.options.samples)
    tried = _apply_to(bench, rule, more)
    return {
        "set": sample.id.split("/")[0] if bench.options.data else sample.task,
        "expected": rule.expected_iou,
        "interval": rule.interval,
        "scores": rule.scores,
        "route": rule.route.value,
        "suspects": len(rule.suspects),
        "confidence": [one for one, _ in tried],
        "true": [one for _, one in tried],
    }


def _sum_calibration(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    judged = [row for row in rows if row["expected"] is not None]
    sets = sorted({row["set"] for row in judged})
    by_set = {}
    for name in sets:
        of_set = [row for row in judged if row["set"] == name]
        by_set[name] = [
            round(float(np.mean([row["expected"] for row in of_set])), 4),
            round(float(np.mean([value for row in of_set for value in row["true"]])), 4),
        ]
    pairs = [pair for row in judged for pair in zip(row["confidence"], row["true"], strict=True)]
    said, true = np.array([row["expected"] for row in judged]), np.array([np.mean(row["true"]) for row in judged])
    inside = [row["interval"][0] <= value <= row["interval"][1] for row, value in zip(judged, true, strict=True)]
    distances = [abs(a - b) for a, b in by_set.values()]
    return {
        "rules": len(judged),
        "sets": len(sets),
        "questions": sum(len(row["true"]) for row in judged),
        "mean_distance_by_set": float(np.mean(distances)) if distances else None,
        "mean_distance_by_rule": float(np.abs(said - true).mean()) if judged else None,
        "bias": float((said - true).mean()) if judged else None,
        "inside_the_interval": float(np.mean(inside)) if judged else None,
        "expected_and_true_by_set": by_set,
        "confidence_error": _error_of(pairs),
    }


def _error_of(pairs: Sequence[tuple[float, float]]) -> float | None:
    return expected_error([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _ask_confidence(bench: Bench, number: int) -> dict[str, Any]:
    sample = bench.question(number, 4)
    query = Query(load_sample(_with(sample, ())).image, sample.concept, bench.segmenter.prepare(sample.references))
    result = bench.segmenter.segment_batch([query], always=True)[0]
    row = {"set": sample.task, "confidence": result.confidence, "iou": _iou(result, sample)}
    row |= {"found": result.found, "presence": result.signals.presence if result.signals else 0.0}
    row |= {"route": result.route.value if result.route else None}
    other = _stranger(bench, number, sample)
    if other is not None:
        asked = Query(load_sample(_with(other, ())).image, sample.concept, query.references)
        absent = bench.segmenter.segment_batch([asked])[0]
        row["absent_presence"] = absent.signals.presence if absent.signals else 0.0
        row["absent_drawn"] = bool(absent.mask is not None and absent.mask.any())
    return row


def _stranger(bench: Bench, number: int, sample: ConceptSample) -> ConceptSample | None:
    """A later question whose picture can be taken to lack what this one asks for."""
    for step in range(1, 30):
        other = bench.question(number + 7 * step, 0)
        if lacks(other, sample):
            return other
    return None


def _sum_confidence(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    absent = [row for row in rows if "absent_drawn" in row]
    return {
        "questions": len(rows),
        "mean_iou": float(np.mean([row["iou"] for row in rows])),
        "confidence_error": _error_of([(row["confidence"], row["iou"]) for row in rows]),
        "bias": float(np.mean([row["confidence"] - row["iou"] for row in rows])),
        "absent": len(absent),
        "lost": float(np.mean([not row["found"] for row in rows])),
        "false": float(np.mean([row["absent_drawn"] for row in absent])) if absent else None,
        "bins": _bins([(row["confidence"], row["iou"]) for row in rows]),
    }


def _bins(pairs: Sequence[tuple[float, float]], count: int = 10) -> list[list[float]]:
    """Of each tenth of what was said: mean said, mean true, answers."""
    said, true = np.array(pairs).T
    places = np.clip((said * count).astype(int), 0, count - 1)
    return [
        [round(float(said[places == n].mean()), 4), round(float(true[places == n].mean()), 4), int((places == n).sum())]
        for n in np.unique(places)
    ]


def _ask_choice(bench: Bench, number: int) -> dict[str, Any]:
    sample, more = bench.rule_and_more(number, 16)
    pool, spoilt, rng = _spoilt_pool(bench, number, sample)
    rule = bench.segmenter.learn(sample.concept, pool, samples=bench.options.samples)
    drawn = [pool[place] for place in rng.choice(len(pool), 4, replace=False)]
    asked = bench.segmenter.stream(
        [one.image for one in more], sample.concept, drawn, route="reason", always=True, batch_size=_BATCH
    )
    return {
        "set": sample.task,
        "spoilt": spoilt,
        "suspects": list(rule.suspects),
        "supports": list(rule.supports),
        "route": rule.route.value,
        "calls": rule.calls,
        "chosen": float(np.mean([iou for _, iou in _apply_to(bench, rule, more)])),
        "random": float(np.mean([_iou(one, question) for one, question in zip(asked, more, strict=True)])),
    }


def _ask_sifting(bench: Bench, number: int) -> dict[str, Any]:
    sample = bench.question(number, 16)
    pool, spoilt, _ = _spoilt_pool(bench, number, sample)
    return {"set": sample.task, "spoilt": spoilt, "suspects": doubtful(bench.segmenter.compare(pool))}


def _spoilt_pool(
    bench: Bench, number: int, sample: ConceptSample
) -> tuple[list[Reference], list[int], np.random.Generator]:
    """The references, four of them with a wrong mark; which; and the dice."""
    rng = np.random.default_rng([bench.options.seed, number])
    spoilt = sorted(int(place) for place in rng.choice(len(sample.references), 4, replace=False))
    return [_spoil(one, rng) if n in spoilt else one for n, one in enumerate(sample.references)], spoilt, rng


def _sum_sifting(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    caught = sum(len({*row["spoilt"]} & {*row["suspects"]}) for row in rows)
    accused = sum(len(row["suspects"]) for row in rows)
    wrong = sum(len(row["spoilt"]) for row in rows)
    return {
        "pools": len(rows),
        "spoilt": wrong,
        "caught": caught / max(1, wrong),
        "right_of_accused": caught / accused if accused else None,
    }


def _sum_choice(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return _paired(rows, "chosen", "random") | {
        **_sum_sifting(rows),
        "spoilt_supports": float(np.mean([len({*row["spoilt"]} & {*row["supports"]}) for row in rows])),
    }


def _spoil(reference: Reference, rng: np.random.Generator) -> Reference:
    """The same picture with a mark on something else: a mask turned, or an ellipse anywhere."""
    loaded = load_reference(reference)
    mask = loaded.region if loaded.region is not None else np.zeros((loaded.image.height, loaded.image.width), bool)
    if rng.random() < 0.5:
        return Reference(loaded.image, mask=np.ascontiguousarray(mask[::-1, ::-1]) & ~mask | _ellipse(mask.shape, rng))
    return Reference(loaded.image, mask=_ellipse(mask.shape, rng))


def _ellipse(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle, radii = rng.uniform(0.2, 0.8, 2) * shape, rng.uniform(0.1, 0.2, 2) * shape
    return ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2 < 1


def _ask_samples(bench: Bench, number: int) -> dict[str, Any]:
    """The likeliest response is the first of the four, so that one request tells of both."""
    sample = bench.question(number, 4)
    query = Query(load_sample(_with(sample, ())).image, sample.concept, bench.segmenter.prepare(sample.references))
    drawn: list[SegmentationResult] = []
    with _watching_merits(drawn):
        how = {"route": "reason", "always": True, "samples": 4, "seed": bench.options.seed}
        best = bench.segmenter.segment_batch([query], **how)[0]
    signs = [one.signals for one in drawn]
    return {
        "set": sample.task,
        "best": _iou(best, sample),
        "greedy": _iou(drawn[0], sample),
        "ious": [_iou(one, sample) for one in drawn],
        "signs": [[s.presence, s.sharpness, s.agreement, s.check] if s else None for s in signs],
    }


class _watching_merits:
    """Notes every answer that is weighed against others."""

    def __init__(self, into: list[SegmentationResult]) -> None:
        self._into, self._known = into, engine.merit_of

    def __enter__(self) -> None:
        def noted(result: SegmentationResult) -> Any:
            self._into.append(result)
            return self._known(result)

        engine.merit_of = noted

    def __exit__(self, *_: object) -> None:
        engine.merit_of = self._known


def _ask_apply(bench: Bench, number: int) -> dict[str, Any]:
    """One rule on many pictures, against the same supports asked anew."""
    sample, more = bench.rule_and_more(number, 8)
    rule = bench.segmenter.learn(sample.concept, sample.references, samples=bench.options.samples)
    images = [load_sample(_with(one, ())).image for one in more]
    written = _count_tokens(bench.segmenter)
    told: dict[str, Any] = {"set": sample.task, "route": rule.route.value, "expected": rule.expected_iou}
    for name, concept, shown in (("rule", rule, ()), ("anew", rule.concept, rule.references())):
        written.clear()
        started = time.perf_counter()
        results = list(bench.segmenter.stream(images, concept, shown, route="reason", always=True))
        told[f"seconds_{name}"] = (time.perf_counter() - started) / len(images)
        told[f"tokens_{name}"] = sum(written) / len(images)
        told[name] = float(np.mean([_iou(result, one) for result, one in zip(results, more, strict=True)]))
    return told


def _sum_apply(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {
        name: float(np.mean([row[name] for row in rows]))
        for name in ("seconds_rule", "seconds_anew", "tokens_rule", "tokens_anew")
    }
    return _paired(rows, "rule", "anew") | means


def _count_tokens(segmenter: ConceptSegmenter) -> list[int]:
    """Tokens that are written from now on, a number a batch."""
    written: list[int] = []
    reason, count = segmenter.model.reason, segmenter.model.reasoner.count_tokens

    def counted(prompts: Any, **how: Any) -> Any:
        generation = reason(prompts, **how)
        begun = sum(count(how["begun"])) if how.get("begun") else 0
        written.append(int(generation.mask.sum()) - begun)
        return generation

    segmenter.model.reason = counted  # type: ignore[method-assign]
    return written


def _ask_unlike(bench: Bench, number: int) -> dict[str, Any]:
    """A target that shows two things which fit the concept's words: four references say which is meant, and four more
    which is not."""
    options = bench.options
    task = _RIVALS[number % len(_RIVALS)]
    world = ConceptWorld(task, options.split, options.seed, references=4)
    sample, rival = world.sample(task, number // len(_RIVALS)), world.rival(task, number // len(_RIVALS))
    against = [Reference(one.image, mask=one.mask, unlike=True) for one in rival.references]
    row: dict[str, Any] = {"set": task}
    for name, shown in (("without", sample.references), ("with", (*sample.references, *against))):
        query = Query(load_sample(_with(sample, ())).image, sample.concept, bench.segmenter.prepare(shown))
        result = bench.segmenter.segment_batch([query], route="reason", always=True)[0]
        row[name] = _iou(result, sample)
        row[f"rival_{name}"] = float(result.mask[load_sample(_with(rival, ())).mask].mean())
    return row


def _sum_unlike(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told = _paired(rows, "with", "without")
    for name in ("with", "without"):
        told[f"rival_covered_{name}"] = float(np.mean([row[f"rival_{name}"] for row in rows]))
    return told


def _paired(rows: Sequence[dict[str, Any]], first: str, second: str) -> dict[str, Any]:
    differences = np.array([row[first] - row[second] for row in rows])
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else None
    return {
        "questions": len(differences),
        f"mean_iou_{first}": float(np.mean([row[first] for row in rows])),
        f"mean_iou_{second}": float(np.mean([row[second] for row in rows])),
        "difference": float(differences.mean()),
        "standard_error": error,
    }


_Ask = Callable[[Bench, int], dict[str, Any]]
_SumUp = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]
PARTS: dict[str, tuple[_Ask, _SumUp]] = {
    "calibration": (_ask_calibration, _sum_calibration),
    "confidence": (_ask_confidence, _sum_confidence),
    "choice": (_ask_choice, _sum_choice),
    "sifting": (_ask_sifting, _sum_sifting),
    "samples": (_ask_samples, lambda rows: _paired(rows, "best", "greedy")),
    "apply": (_ask_apply, _sum_apply),
    "unlike": (_ask_unlike, _sum_unlike),
}


if __name__ == "__main__":
    main()
