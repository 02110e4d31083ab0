"""`conceptseg train warmup` and `conceptseg train meta-grpo`: the two stages of the paper's training (§3.4)."""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import format_bytes, format_table
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.training.config import TrainingConfig
    from conceptseg.training.plan import TrainingPlan

__all__ = ["add_parser", "run"]

_TERMINATED = 143  # what a shell reports of a process that SIGTERM ended: 128 + 15
_EPILOG = """\
A run resumes where its folder left off. On several devices: accelerate launch --config_file
recipes/accelerate/FILE.yaml -m conceptseg.interfaces.cli train STAGE ... Exit status: 0 done, 1 done without the
samples listed in rejected.jsonl, 2 wrong request, 143 stopped by SIGTERM with everything saved.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("train", description=__doc__)
    stages = parser.add_subparsers(metavar="warmup|meta-grpo", required=True, dest="stage")
    for stage, what in (
        ("warmup", "Stage I: the concept translation learns between frozen models (Table 7a)."),
        ("meta-grpo", "Stage II: the MLLM learns to induce, verify and apply rules (Table 7b)."),
    ):
        action = stages.add_parser(stage, description=what, epilog=_EPILOG)
        action.add_argument("--config", type=Path, metavar="FILE", help="a recipe, e.g. recipes/warmup.yaml")
        action.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
        action.add_argument(
            "--launch", type=Path, metavar="FILE", help="with --dry-run: count for this accelerate configuration"
        )
        action.add_argument("overrides", nargs="*", metavar="key.sub=value", help="instead of the recipe's values")


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # TRL and transformers warn each other of names they are about to change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    from conceptseg.training.run import train

    result = train(config)
    if result.stopped:
        return _TERMINATED
    return ExitStatus.SOME_FAILED if result.rejected else ExitStatus.DONE


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
