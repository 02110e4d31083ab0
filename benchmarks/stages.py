"""The released order of work, ours, and the floor, side by side: python benchmarks/stages.py --size nano|mid --part P

order       one image on the reasoned route: the released code's order (SAM 3 encodes, the MLLM writes, reads all of it
            again for the states, SAM 3 encodes again, draws), ours at batch 1 and 8, and the floor: one encoding, one
            generation of a token a pass, one drawing. The other images have the same references
direct      the direct route against a bare call of `Sam3Model`
tags        generation with the protocol's tags decoded, and drafted
prefix      images with the same references, with and without what is kept of the images before
rule        a rule applied, against its references asked anew
concepts    eight concepts in one image against one
group       the features of a group of eight responses, shared and encoded for each
memory      resident memory along a stream
start       new processes: import, --help, the first mask

All variants of a part run by turns in one process on the same weights and inputs, so that whatever else the machine
does hits all alike; ratios are of processor time, wall time stands beside. Texts must be equal and masks agree (IoU
0.995), or the run fails. Prints Markdown; `--out FILE` writes the same as JSON, with every timing.

`mid` has random weights that answer in the protocol's form (`random_models.py`); its sizes are --frame and --sam-px.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import GenerationConfig

from conceptseg import ConceptSegmenter, Reference
from conceptseg.geometry import mask_iou
from conceptseg.inference import Query, Route, Rule, SegmentationResult
from conceptseg.inference.rules import keep_picture
from conceptseg.models.segmenter import upsample_logits
from conceptseg.protocol import what_is_induced

CONCEPT = "salient object"
GROUP = 8
_LEAST_IOU = 0.995

Timing = tuple[float, float]
"""Seconds of processor time and of wall time, an image."""
Variant = Callable[[int], Any]
"""Does the work for the images from that number on."""


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("nano", "mid"), default="nano")
    parser.add_argument("--part", action="append", choices=sorted(PARTS), help="may be repeated; default: the first 6")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all variants")
    parser.add_argument("--images", type=int, default=64, help="of the parts prefix and memory")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frame", type=int, default=588, help="pixels the mid model's MLLM sees")
    parser.add_argument("--sam-px", type=int, default=1008, help="pixels the mid model's SAM 3 sees")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    digest, machine = bench.segmenter.model.digest(), platform.processor() or platform.machine()
    told: dict[str, Any] = {"size": options.size, "checkpoint": digest, "torch": torch.__version__, "parts": {}}
    told |= {"machine": machine, "threads": options.threads, "frame": bench.side}
    print(f"{options.size}, checkpoint {digest[:8]}, {options.threads} threads, torch {torch.__version__}\n")
    print("| part | variant | CPU s | wall s | spread | against the first |\n|---|---|---|---|---|---|", flush=True)
    for part in options.part or list(PARTS)[:6]:
        bench.warm_up(reasoned=part in ("order", "tags", "rule", "prefix"))
        told["parts"][part] = PARTS[part](bench)
        if options.out:
            options.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


class Bench:
    """A model, pictures, and one set of references."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.head: Any = None
        if options.size == "nano":
            self.segmenter = ConceptSegmenter.from_pretrained("nano", device="cpu", lazy=False)
            side = 168
        else:
            from random_models import build_mid

            self.segmenter = ConceptSegmenter(build_mid(options.frame, options.sam_px))
            self.head, side = self.segmenter.model.reasoner.mllm.lm_head, options.frame
        self.side = side
        self.references = [Reference(_scene(side, 900 + n), box=(20.0, 20.0, 70.0, 60.0)) for n in range(4)]

    def warm_up(self, *, reasoned: bool) -> None:
        """Answer a picture that no part asks about, so that nothing is met for the first time."""
        self.segmenter.segment_batch([self.query(99)], route="reason" if reasoned else "direct")

    def query(self, number: int) -> Query:
        """A question about picture `number`, ready for a batch."""
        query = Query(_scene(self.side, number), CONCEPT, self.segmenter.prepare(self.references))
        if self.head is not None:
            self.head.begin(self.prompt(query))
        return query

    def prompt(self, query: Query) -> Any:
        """What the MLLM is asked."""
        return self.segmenter.model.build_prompt(query.concept, query.image, query.mosaic)

    def rule(self) -> Rule:
        """A rule, as learning would find it, from the response to the first picture."""
        said = self.segmenter.segment_batch([self.query(0)], route="reason")[0].response
        loaded = self.segmenter.prepare(self.references).loaded  # type: ignore[union-attr]
        pictures = tuple(keep_picture(one, 10_000) for one in loaded)
        places, unknown = tuple(range(len(pictures))), (None,) * len(pictures)
        checkpoint = self.segmenter.model.digest()
        fields: dict[str, Any] = {"expected_iou": None, "interval": None, "judged": 0, "suspects": ()}
        fields |= {"route": Route.REASONED, "presence_threshold": None, "confidence_shift": 0.0}
        begun = what_is_induced(said.text if said else "")
        return Rule(CONCEPT, "", begun, pictures, places, unknown, checkpoint=checkpoint, **fields)


def _scene(side: int, number: int) -> Image.Image:
    """A picture like no other: a bright rectangle on noise."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
    top, left = rng.integers(0, side // 2, 2)
    pixels[top : top + side // 3, left : left + side // 3] = rng.integers(120, 255, 3)
    return Image.fromarray(pixels)


def take_turns(
    part: str, variants: dict[str, Variant], rounds: int, shares: dict[str, int] | None = None
) -> dict[str, Any]:
    """Run variants by turns, on other pictures each round, print a line a variant, and give all figures.

    Args:
        part: of the table.
        variants: the first is what the others are held against.
        rounds: of all of them.
        shares: images that a variant answers at a time, where it is not one.
    """
    taken: dict[str, list[Timing]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, run in variants.items():
            share = (shares or {}).get(name, 1)
            wall, cpu = time.perf_counter(), time.process_time()
            run(100 * (number + 1))
            taken[name].append(((time.process_time() - cpu) / share, (time.perf_counter() - wall) / share))
    return {name: _told(part, name, timings, next(iter(taken.values()))) for name, timings in taken.items()}


def _told(part: str, name: str, timings: Sequence[Timing], first: Sequence[Timing]) -> dict[str, Any]:
    cpu, wall = (statistics.median(column) for column in zip(*timings, strict=True))
    each = [one[0] for one in timings]
    ratio = statistics.median(a[0] / b[0] for a, b in zip(first, timings, strict=True))
    spread = f"{min(each):.3f}…{max(each):.3f}"
    print(f"| {part} | {name} | {cpu:.3f} | {wall:.3f} | {spread} | {ratio:.2f} × as fast |", flush=True)
    return {"cpu_s": cpu, "wall_s": wall, "times_as_fast_as_the_first": ratio, "timings": timings}


def order(bench: Bench) -> dict[str, Any]:
    """The reasoned route."""
    model, batch = bench.segmenter.model, bench.options.batch
    stages: dict[str, list[float]] = {}
    results: dict[str, list[SegmentationResult]] = {}
    masks: dict[str, list[Any]] = {}

    @torch.no_grad()
    def released(first: int) -> None:
        query = bench.query(first)
        model.segmenter.encode_beside([query.image], [_seen(query)])  # for the router
        text = _decode_plainly(bench, [query])[0]
        read = model.reasoner.hidden_states_of([bench.prompt(query)], [text])
        features = model.segmenter.encode_beside([query.image], [_seen(query)])
        masks.setdefault("released", []).append(_draw(bench, query, features, read, text))

    @torch.no_grad()
    def floor(first: int) -> None:
        query, since = bench.query(first), time.process_time()
        features = model.segmenter.encode_beside([query.image], [_seen(query)])
        since = _lap(stages, "encode", since)
        _decode_plainly(bench, [query])
        since = _lap(stages, "generate", since)
        model.segmenter.decode_with_instances(features, model.segmenter.embed_text([CONCEPT]))
        _lap(stages, "decode", since)

    def ours(first: int) -> None:
        results.setdefault("ours", []).extend(bench.segmenter.segment_batch([bench.query(first)], route="reason"))

    def ours_batch(first: int) -> None:
        queries = [bench.query(first + n) for n in range(batch)]
        results.setdefault("batch", []).extend(bench.segmenter.segment_batch(queries, route="reason"))

    name = f"ours, {batch} at a time"
    variants = {"released order": released, "floor": floor, "ours": ours, name: ours_batch}
    told = take_turns("order", variants, bench.options.rounds, {name: batch})
    for (text, mask), one, other in zip(masks["released"], results["ours"], results["batch"][::batch], strict=True):
        _require_same(text, mask, one)
        _require_same(text, mask, other)
    generation, _ = bench.segmenter.respond([bench.query(7)])
    told["stages_cpu_s"] = {stage: statistics.median(times) for stage, times in stages.items()}
    told["passes_of_ours"], told["tokens"] = generation.passes, int(generation.mask.sum())
    told["tokens_a_second_of_the_floor"] = told["tokens"] / told["stages_cpu_s"]["generate"]
    print(f"\nstages of the floor, CPU s: {told['stages_cpu_s']}")
    print(f"ours: {told['passes_of_ours']} passes for {told['tokens']} tokens\n", flush=True)
    return told


def direct(bench: Bench) -> dict[str, Any]:
    """The direct route, without references: `Sam3Model` knows none."""
    segmenter = bench.segmenter.model.segmenter

    @torch.no_grad()
    def bare(first: int) -> None:
        pixels = segmenter.preprocess([_scene(bench.side, first)])
        tokens = segmenter.tokenizer([CONCEPT], return_tensors="pt")
        output = segmenter.sam(pixel_values=pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        (upsample_logits(output.semantic_seg[0, 0], (bench.side, bench.side)) > 0).numpy()

    def ours(first: int) -> None:
        bench.segmenter(_scene(bench.side, first), CONCEPT, route="direct")

    return take_turns("direct", {"bare Sam3Model": bare, "direct route": ours}, bench.options.rounds)


def tags(bench: Bench) -> dict[str, Any]:
    """Generation alone, of one image; nothing is kept between images."""
    reason = bench.segmenter.model.reason
    texts: dict[str, list[str]] = {"transformers": [], "decoded": [], "drafted": []}

    def plainly(first: int) -> None:
        texts["transformers"] += _decode_plainly(bench, [bench.query(first)])

    def decoded(first: int) -> None:
        texts["decoded"] += reason([replace(bench.prompt(bench.query(first)), parts=())]).texts

    def drafted(first: int) -> None:
        texts["drafted"] += reason([bench.prompt(bench.query(first))]).texts

    variants = {"transformers' generate": plainly, "tags decoded": decoded, "tags drafted": drafted}
    told = take_turns("tags", variants, bench.options.rounds)
    if len(set(map(tuple, texts.values()))) > 1:
        raise SystemExit(f"Texts differ: {texts}")
    return told


def prefix(bench: Bench) -> dict[str, Any]:
    """A stream with one set of references."""
    images, size = bench.options.images, bench.options.batch
    results: dict[str, list[SegmentationResult]] = {"anew": [], "kept": [], "one": []}

    def stream(name: str, batch: int) -> Variant:
        def run(first: int) -> None:
            for start in range(first, first + images, batch):
                queries = [bench.query(start + n) for n in range(batch)]
                if name == "anew":
                    bench.segmenter.model.reasoner.forget()
                results[name] += bench.segmenter.segment_batch(queries, route="reason")

        return run

    variants = {"each anew": stream("anew", 1), "beginning kept": stream("kept", 1)}
    variants |= {f"kept, {size} at a time": stream("one", size)}
    told = take_turns("prefix", variants, 1, dict.fromkeys(variants, images))
    for one, *others in zip(*results.values(), strict=True):
        for other in others:
            _require_same(one.response.text if one.response else "", one.mask, other)
    return told


def rule(bench: Bench) -> dict[str, Any]:
    """A rule, one image at a time; asked anew, each picture is answered as if it were the only one."""
    known = bench.rule()

    def anew(first: int) -> None:
        query = bench.query(first)
        bench.segmenter.model.reasoner.forget()
        bench.segmenter.segment_batch([query], route="reason")

    def applied(first: int) -> None:
        bench.query(first)
        list(bench.segmenter.apply(known, [_scene(bench.side, first)]))

    return take_turns("rule", {"asked anew": anew, "rule applied": applied}, bench.options.rounds)


def concepts(bench: Bench) -> dict[str, Any]:
    """The direct route."""
    words = ["cat", "dog", "tree", "cup", "hat", "key", "boat", "lamp"]

    def one(first: int) -> None:
        bench.segmenter(_scene(bench.side, first), words[0], route="direct")

    def eight(first: int) -> None:
        bench.segmenter.concepts(_scene(bench.side, first), words, route="direct")

    return take_turns("concepts", {"one concept": one, "eight concepts": eight}, bench.options.rounds)


def group(bench: Bench) -> dict[str, Any]:
    """SAM 3's part of a Meta-GRPO step: the reward's masks and the update's, of a group's responses to one picture."""
    segmenter = bench.segmenter.model.segmenter
    words = segmenter.embed_text([CONCEPT] * GROUP)

    @torch.no_grad()
    def run(first: int, shared: bool) -> None:
        query = bench.query(first)
        for _ in range(1 if shared else 2):
            count = 1 if shared else GROUP
            features = segmenter.encode_beside([query.image] * count, [_seen(query)] * count)
            features = features.select([0] * GROUP) if shared else features
            segmenter.decode(features, words)
        if shared:
            segmenter.decode(features, words)

    variants = {"an encoding a response": lambda first: run(first, False), "shared": lambda first: run(first, True)}
    return take_turns("group", variants, bench.options.rounds)


def memory(bench: Bench) -> dict[str, Any]:
    """Resident memory after so many images of one stream."""
    images = (_scene(bench.side, number) for number in range(bench.options.images))
    told: dict[str, Any] = {}
    stream = bench.segmenter.stream(images, CONCEPT, bench.references, batch_size=bench.options.batch)
    for number, _ in enumerate(stream, start=1):
        if number % 50 == 0:
            told[str(number)] = _resident_mib()
            print(f"| memory | image {number} | | | | {told[str(number)]:.0f} MiB |", flush=True)
    return told


def start(bench: Bench) -> dict[str, Any]:
    """New processes; wall time and processor time of each."""
    first_mask = (
        "import numpy as np; from conceptseg import ConceptSegmenter; "
        "r = ConceptSegmenter.from_pretrained('nano')(np.full((168, 168, 3), 127, np.uint8), 'cat', route='reason'); "
        "assert r.mask is not None"
    )
    commands = {
        "python alone": ["-c", "pass"],
        "import conceptseg": ["-c", "import conceptseg"],
        "conceptseg --help": ["-m", "conceptseg.interfaces.cli", "--help"],
        "import torch, transformers": ["-c", "import torch; from transformers import Sam3Model"],
        "first mask": ["-c", first_mask],
    }
    told = {}
    for name, command in commands.items():
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        told[name] = {"cpu_s": cpu, "wall_s": time.perf_counter() - wall}
        print(f"| start | {name} | {cpu:.2f} | {told[name]['wall_s']:.2f} | | |", flush=True)
    return told


def _decode_plainly(bench: Bench, queries: Sequence[Query]) -> list[str]:
    """Responses by transformers' own loop."""
    reasoner = bench.segmenter.model.reasoner
    inputs = reasoner.encode([bench.prompt(query) for query in queries])
    config = GenerationConfig(
        max_new_tokens=bench.segmenter.model.config.protocol.max_new_tokens,
        eos_token_id=list(reasoner.end_token_ids),
        pad_token_id=reasoner.pad_token_id,
        repetition_penalty=1.0,
    )
    mllm: Any = reasoner.mllm
    sequences = mllm.generate(**inputs, generation_config=config)[:, inputs.input_ids.shape[1] :]
    return reasoner.processor.tokenizer.batch_decode(sequences, skip_special_tokens=True)


def _draw(bench: Bench, query: Query, features: Any, read: Any, text: str) -> tuple[str, np.ndarray]:
    model = bench.segmenter.model
    words = bench.segmenter._read(text, query).words or query.concept
    logits = model.segmenter.decode(features, model.translate(read.hidden_states, read.mask, [words])).semantic[0]
    return text, (upsample_logits(logits, (query.image.height, query.image.width)) > 0).numpy()


def _seen(query: Query) -> Any:
    return query.references.seen if query.references else None


def _lap(stages: dict[str, list[float]], stage: str, since: float) -> float:
    now = time.process_time()
    stages.setdefault(stage, []).append(now - since)
    return now


def _require_same(text: str, mask: np.ndarray | None, result: SegmentationResult) -> None:
    """Refuse figures of answers that differ; a mask that was emptied for want of presence is another matter."""
    if result.response is None or result.response.text != text:
        raise SystemExit(f"Texts differ: {text!r} and {result.response and result.response.text!r}")
    if mask is None or result.mask is None or not result.found:
        return
    if mask.any() and mask_iou(mask, result.mask) < _LEAST_IOU:
        raise SystemExit(f"Masks differ: IoU {mask_iou(mask, result.mask):.4f}")


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "order": order,
    "direct": direct,
    "tags": tags,
    "rule": rule,
    "concepts": concepts,
    "group": group,
    "prefix": prefix,
    "memory": memory,
    "start": start,
}


if __name__ == "__main__":
    main()
