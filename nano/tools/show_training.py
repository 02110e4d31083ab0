"""Show on nano what training is for: figures go to docs/figures, their numbers to nano/curves.

python -m nano.tools.show_training overfit      # the warm-up learns 64 samples by heart
python -m nano.tools.show_training meta-grpo    # R_meta on fixed samples rises, over three seeds
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from conceptseg.data.world import TRAINED_TASKS, ConceptWorld
from conceptseg.files import replacing
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.checkpoints import complete_checkpoints
from conceptseg.training.config import MetaGRPOConfig
from conceptseg.training.config_reading import load_config
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.measuring import measure_rewards
from conceptseg.training.run import train

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
CURVES = RECIPES.parent / "curves"
FIGURES = RECIPES.parents[1] / "docs" / "figures"

_HELD_OUT = 3_000_000
_MEASURED_AT_ONCE = 64


def main() -> None:
    """Parse the arguments and run one of the two."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.show_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("overfit", "meta-grpo"))
    parser.add_argument("--model", default="nano", help="checkpoint to start from (default: nano)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=512, help="fixed samples that R_meta is measured on")
    parser.add_argument("--out", type=Path, default=Path("runs/show"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    options = parser.parse_intermixed_args()
    FIGURES.mkdir(parents=True, exist_ok=True)
    if options.what == "overfit":
        show_overfit(options.model, options.out, options.overrides)
    else:
        show_meta_grpo(options.model, options.out, options.seeds, options.samples, options.overrides)


def show_overfit(model: str, out: Path, overrides: Sequence[str]) -> None:
    """One epoch on 64 samples with an empty cache of hidden states, one with a full cache, then the whole warm-up."""

    def run(name: str, *words: str) -> float:
        cache = f"responses.cache={out / 'states'}"
        overall = [f"out={out / name}", f"model.checkpoint={model}", cache, *words, *overrides]
        since = time.perf_counter()
        train(load_config("warmup", RECIPES / "warmup_overfit.yaml", overall))
        return time.perf_counter() - since

    seconds = {"epoch_with_empty_cache_s": run("empty", "epochs=1"), "epoch_with_full_cache_s": run("full", "epochs=1")}
    minutes = run("whole") / 60
    state = json.loads((complete_checkpoints(out / "whole")[-1] / "trainer_state.json").read_text())
    scores = [(line["step"], line["miou"]) for line in state["log_history"] if "miou" in line]
    plot_lines({"mean IoU": scores}, "Warm-up on 64 samples", "updates", FIGURES / "warmup_overfit.png")
    _write(CURVES / "warmup_overfit.json", {"miou": scores[-1][1], "minutes": minutes, **seconds, "curve": scores})


def show_meta_grpo(model: str, out: Path, seeds: Sequence[int], samples: int, overrides: Sequence[str]) -> None:
    """Train from each seed, measure every checkpoint on the same samples, and hold the gain against its error."""
    curves = {}
    start = None
    for seed in seeds:
        words = [f"out={out / f'seed_{seed}'}", f"model.checkpoint={model}", f"seed={seed}", *overrides]
        config = load_config("meta-grpo", RECIPES / "meta_grpo_nano.yaml", words)
        assert isinstance(config, MetaGRPOConfig)
        since = time.perf_counter()
        train(config)
        print(f"Seed {seed}: {(time.perf_counter() - since) / 60:.1f} minutes.", flush=True)
        start = measured(model, config, samples) if start is None else start
        steps = [
            (int(c.name.split("-")[1]), measured(str(c), config, samples)) for c in complete_checkpoints(config.out)
        ]
        curves[f"seed {seed}"] = [(0, start), *steps]
    gains = [curve[-1][1] - curve[0][1] for curve in curves.values()]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    report = {"samples": samples, "before": start, "after": [c[-1][1] for c in curves.values()],
              "mean_gain": mean(gains), "standard_error": error, "curves": curves}  # fmt: skip
    _write(CURVES / "meta_grpo_nano.json", report)
    title = f"R_meta of sampled responses on {samples} fixed samples"
    plot_lines(curves, title, "updates", FIGURES / "meta_grpo_nano.png")


def plot_lines(lines: Mapping[str, Sequence[tuple[int, float]]], title: str, across: str, path: Path) -> None:
    """Several lines in one plot, with a legend.

    Args:
        lines: name → points (x, y).
        title: above the plot.
        across: what x is.
        path: where the picture goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.3, label=name)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(across)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=120)


def measured(source: str, config: MetaGRPOConfig, samples: int) -> float:
    """Mean R_meta of a checkpoint's sampled responses to samples that no run has trained on."""
    world = ConceptWorld(TRAINED_TASKS, "train", 0, config.data.world.size_px if config.data.world else 168)
    model = ConceptSegModel.from_pretrained(source)
    build = EpisodeBuilder(model)
    rows = []
    for first in range(0, samples, _MEASURED_AT_ONCE):
        indices = range(first, min(samples, first + _MEASURED_AT_ONCE))
        episodes = [build(world[_HELD_OUT + index]) for index in indices]
        rows += measure_rewards(model, episodes, config, temperature=config.temperature, seed=first, batch_size=32)
    score = mean(row["meta"] for row in rows)
    print(f"  {source}: R_meta {score:.4f}", flush=True)
    return score


def _write(path: Path, report: object) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
