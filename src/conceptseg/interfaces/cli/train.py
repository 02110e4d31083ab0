"""`conceptseg train warmup` and `conceptseg train meta-grpo`: the two stages of the paper's training (§3.4)."""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from conceptseg.interfaces.cli.console import format_bytes, format_table, named_path
from conceptseg.interfaces.cli.entry import ExitStatus, Parser

if TYPE_CHECKING:
    from conceptseg.data.samples import ConceptSample
    from conceptseg.models.conceptseg import ConceptSegModel
    from conceptseg.training.answers import Answer
    from conceptseg.training.config import TrainingConfig
    from conceptseg.training.plan import TrainingPlan

__all__ = ["add_parser", "run"]

_TERMINATED = 143  # what a shell reports of a process that SIGTERM ended: 128 + 15
_EPILOG = """\
NAME is a recipe inside the package:
{recipes}

A run resumes where its folder left off; a finished one goes on when max_steps is raised. On several devices:
accelerate launch --config_file recipes/accelerate/FILE.yaml -m conceptseg.interfaces.cli train STAGE ... Exit status:
0 done, 1 done without the samples listed in rejected.jsonl, 2 wrong request, 143 stopped by SIGTERM, all saved.
"""


def _recipe(text: str) -> str:
    """A recipe as it was written: `./NAME` is a file, `NAME` a recipe of the package."""
    named_path(text)
    return text


class _StageParser(Parser):
    """Takes `key=value` words wherever they stand: argparse takes only those in one row, and refuses the rest."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """The known arguments; left over are only those that look like options."""
        known, rest = super().parse_known_args(args, namespace)
        known.overrides = [*known.overrides, *(word for word in rest if not word.startswith("-"))]
        return known, [word for word in rest if word.startswith("-")]


class _ListRecipes(argparse.Action):
    """`--list`: the recipes' names, and nothing else."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from conceptseg.training.recipes import recipe_names

        print("\n".join(recipe_names()))
        parser.exit()


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    from conceptseg.training.recipes import describe_recipes

    told: dict[str, Any] = {
        "epilog": _EPILOG.format(recipes=describe_recipes()),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = subparsers.add_parser("train", description=__doc__, **told)
    listing: dict[str, Any] = {"action": _ListRecipes, "nargs": 0, "help": "the recipes inside the package, and stop"}
    parser.add_argument("--list", **listing)
    stages = parser.add_subparsers(metavar="warmup|meta-grpo", required=True, dest="stage", parser_class=_StageParser)
    for stage, what in (
        ("warmup", "Stage I: the concept translation learns between frozen models (Table 7a)."),
        ("meta-grpo", "Stage II: the MLLM learns to induce, verify and apply rules (Table 7b)."),
    ):
        action = stages.add_parser(stage, description=what, **told)
        action.add_argument(
            "--config",
            type=_recipe,
            metavar="NAME|FILE",
            help="a recipe of the package, e.g. own_data, or a YAML file",
        )
        action.add_argument("--list", **listing)
        action.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
        action.add_argument(
            "--launch", type=named_path, metavar="FILE", help="with --dry-run: count for this accelerate configuration"
        )
        action.add_argument(
            "overrides", nargs="*", metavar="key.sub=value", help="instead of the recipe's values, anywhere in the line"
        )


def run(args: argparse.Namespace) -> int:
    """Train, or say what would be done.

    Raises:
        ConfigError: the configuration is wrong; everything that is, in one message.
        InputError: see `conceptseg.training.run.train`, also for its other errors.
    """
    from conceptseg.training.config_reading import load_config

    config = load_config(args.stage, args.config, args.overrides)
    if args.dry_run:
        return _dry_run(config, args.launch)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("conceptseg").setLevel(logging.INFO)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of kernels that are not asked for here
    # TRL and transformers warn each other of names they are about to change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    from tqdm.contrib.logging import logging_redirect_tqdm
    from transformers.utils.logging import disable_progress_bar

    from conceptseg.training.run import train

    disable_progress_bar()  # of reading weights; the run has a line of its own
    with logging_redirect_tqdm():
        result = train(config, _as_inference)
    if result.stopped:
        return _TERMINATED
    return ExitStatus.SOME_FAILED if result.rejected else ExitStatus.DONE


def _as_inference(model: ConceptSegModel, samples: Sequence[ConceptSample]) -> list[Answer]:
    """Answers as `conceptseg segment` gives them: the router first, then the model's own response and boxes."""
    import numpy as np

    from conceptseg.inference import ConceptSegmenter
    from conceptseg.training.answers import Answer

    segmenter = ConceptSegmenter(model)
    results = [segmenter(sample.image, sample.concept, sample.references) for sample in samples]
    return [
        Answer(np.asarray(result.mask, dtype=bool), result.response.text if result.response else "SAM 3 alone")
        for result in results
    ]


def _dry_run(config: TrainingConfig, launch_file: Path | None) -> int:
    from conceptseg.training.config_reading import dump_config
    from conceptseg.training.plan import plan_training, read_launch

    plan = plan_training(config, read_launch(launch_file) if launch_file else None)
    print(dump_config(config))
    print(_describe(plan, config.batch_size))
    return ExitStatus.DONE


def _describe(plan: TrainingPlan, batch_size: int) -> str:
    parts = [(part.name, f"{part.total:,}", f"{part.trainable:,}") for part in plan.parts]
    memory = plan.memory
    rows = [
        ("weights that learn", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("reference policy", memory.reference),
        ("frozen parts", memory.frozen),
        ("activations", memory.activations),
        ("together", memory.total),
    ]
    updates = (
        f"{plan.steps:,} updates of {batch_size}, in {plan.accumulation} part(s) on {plan.launch.processes} device(s), "
        f"over {plan.samples:,} samples; {plan.held_out:,} held out."
    )
    if plan.responses:
        updates += f" At most {plan.responses:,} responses are read and kept before the first (data.references.draws)."
    return "\n\n".join(
        [
            format_table(
                ("parameters", "total", "trainable"), [*parts, ("together", f"{plan.total:,}", f"{plan.trainable:,}")]
            ),
            format_table(
                (f"memory of a device ({plan.launch.kind}), estimated", ""),
                [(name, format_bytes(count)) for name, count in rows],
            ),
            updates,
        ]
    )
