"""Killing the commands that write for long: SIGKILL at random moments, again and again, until one gets through.

The end is compared with that of a run that nobody disturbed. Commands run in forked children of a process that has
loaded everything, so that a kill costs less than a second. `benchmarks/kills.py` is the way to run many.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from conceptseg.errors import ConceptSegError
from conceptseg.evaluation import runner
from conceptseg.evaluation.baselines import METHODS
from conceptseg.evaluation.records import read_rows
from conceptseg.evaluation.runner import evaluate
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.interfaces.cli import main, segment
from conceptseg.training.config_reading import load_config
from conceptseg.training.run import train
from tests.evaluation.fakes import FakeMethod, write_set
from tests.evaluation.fakes import FakeSegmenter as FakeEvaluated
from tests.interfaces.fakes import FakeSegmenter
from tests.training.tiny import square_folder, tiny_model

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Case:
    """A command that goes on from its folder when it is given again."""

    name: str
    run: Callable[[Path], object]
    """Do the work, or what is left of it, in a folder."""
    outcome: Callable[[Path], Any]
    """What is in the folder, but for times."""


def segment_case(home: Path) -> Case:
    """Twenty pictures, of which one cannot be read."""
    pictures = home / "pictures"
    pictures.mkdir()
    for number in range(20):
        Image.fromarray(np.full((12, 16, 3), 10 * number, np.uint8)).save(pictures / f"{number:02}.png")
    (pictures / "07.png").write_bytes(b"no picture")
    segment.load_segmenter = lambda args: FakeSegmenter(pause_s=0.01)
    return Case(
        "segment", lambda out: main(["segment", str(pictures), "--concept", "cat", "--out", str(out)]), _results
    )


def _results(out: Path) -> Any:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".png", ".jpg")}
    return sorted((row["source"], row["stem"], row["error"], row["area"]) for row in rows), files


def evaluate_case(home: Path) -> Case:
    """Eighteen questions in batches of three, with a method whose numbers tell who was asked together."""
    folder = write_set(home / "moths", 18)
    METHODS["fake"] = _SlowMethod
    runner.describe_checkpoint = lambda model, sam, **_: {"name": "fake", "sha256": {}}
    config = EvaluationConfig.of({"data": (str(folder),), "method": "fake", "batch_size": 3})
    return Case("evaluate", lambda out: evaluate(config, out, FakeEvaluated), _rows)


class _SlowMethod(FakeMethod):
    def answer(self, queries: Any, route: Any) -> Any:
        time.sleep(0.03)
        return super().answer(queries, route)


def _rows(out: Path) -> Any:
    rows = [{key: value for key, value in row.items() if key != "timings"} for row in read_rows(out)]
    return rows, {path.name: path.read_bytes() for path in (out / "masks").rglob("*.png")}


def train_case(home: Path) -> Case:
    """Six updates of the smallest model, a checkpoint after each."""
    checkpoint, squares = home / "checkpoint", home / "squares"
    tiny_model().save_pretrained(checkpoint)
    square_folder(squares, 8)

    def run(out: Path) -> object:
        words = [f"out={out}", f"model.checkpoint={checkpoint}", f"data.folders=[{squares}]", "model.device=cpu"]
        words += ["log.to=[]", "log.every=1", "log.watched=0", "checkpoints.every=1", "max_steps=6", "batch_size=4"]
        words += [
            "per_device_batch_size=2",
            "responses.max_new_tokens=6",
            "responses.batch_size=4",
            "learning_rate=1e-2",
        ]
        return train(load_config("warmup", None, words))

    return Case("train", run, _weights)


def _weights(out: Path) -> Any:
    files = sorted((out / "model").rglob("*.safetensors"))
    return {
        f"{file.relative_to(out)}:{name}": value.tobytes() for file in files for name, value in load_file(file).items()
    }


CASES: tuple[Callable[[Path], Case], ...] = (segment_case, evaluate_case, train_case)


def survive(case: Case, home: Path, kills: int, rng: random.Random) -> int:
    """Kill a command so many times, whole runs beginning anew as often as needed; every end must equal the quiet one.

    Returns:
        How many kills hit a command at work; those that came too late count as none.
    """
    expected, length_s = quiet_run(case, home)
    done, round_number = 0, 0
    while done < kills:
        out = home / f"{case.name}-{round_number}"
        done += survive_round(case, out, kills - done, length_s, expected, rng)
        round_number += 1
    return done


def quiet_run(case: Case, home: Path) -> tuple[Any, float]:
    """What an undisturbed run leaves, and the seconds it takes."""
    quiet = home / f"{case.name}-quiet"
    started = time.monotonic()
    child = _child(case, quiet)
    child.join()
    assert child.exitcode == 0, f"{case.name}: the quiet run ended with {child.exitcode}"
    return case.outcome(quiet), time.monotonic() - started


def survive_round(case: Case, out: Path, most: int, length_s: float, expected: Any, rng: random.Random) -> int:
    """One run, killed one to five times and then let through; returns how many kills hit it at work."""
    done = 0
    for _ in range(min(most, rng.randint(1, 5))):
        done += _kill_once(case, out, rng.uniform(0, length_s))
    last = _child(case, out)
    last.join()
    assert last.exitcode == 0, f"{case.name}: the last run ended with {last.exitcode}"
    assert case.outcome(out) == expected, f"{case.name}: other results than those of a quiet run, in {out}"
    scraps = [path.name for path in out.rglob(".*.part*")]
    assert not scraps, f"{case.name}: half-written files were left: {scraps}"
    return done


def _child(case: Case, out: Path) -> Any:
    child = FORK.Process(target=_work, args=(case, out))
    child.start()
    return child


def _work(case: Case, out: Path) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        case.run(out)
    except ConceptSegError as error:
        Path(f"{out}.error").write_text(str(error))
        os._exit(2)
    os._exit(0)


def _kill_once(case: Case, out: Path, after_s: float) -> int:
    child = _child(case, out)
    child.join(after_s)
    hit = child.is_alive()
    if hit:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return int(hit and child.exitcode == -signal.SIGKILL)
