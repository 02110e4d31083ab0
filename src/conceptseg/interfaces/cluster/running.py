"""A cluster run: units are read by tasks, answered by a pool of engines, and told to the machine that asked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from conceptseg.errors import ConceptSegError, InputError, MissingExtraError, ResourceError
from conceptseg.interfaces.cluster.sources import Unit

__all__ = ["Pool", "answer_units", "cluster"]

_TASKS = 4096
"""That read, at most: Ray keeps an account of each."""


@dataclass(frozen=True)
class Pool:
    """The engines of a run."""

    workers: int
    gpus: float
    """Of each."""


@contextmanager
def cluster(address: str | None, workers: int | None, *, wants_gpu: bool) -> Iterator[Pool]:
    """A connection to Ray: a cluster that runs, or one on this machine for as long as the block lasts.

    Args:
        address: of the cluster; None takes RAY_ADDRESS, and where that is not set this machine.
        workers: engines; None for one a GPU, where there is none one a processor core.
        wants_gpu: whether an engine may have a GPU.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: there is no such cluster, or it is too small.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("--engine ray needs Ray: pip install 'conceptseg[ray]'.") from None
    is_local = address is None and not os.environ.get("RAY_ADDRESS")
    cores = max(workers or 0, os.cpu_count() or 1) if is_local else None
    try:
        ray.init(address, num_cpus=cores, include_dashboard=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"There is no Ray cluster at {address or os.environ.get('RAY_ADDRESS')}: {error}") from error
    except Exception as error:  # Ray has no class for a node that does not come up
        raise ResourceError(f"Ray did not start: {error}") from error
    try:
        yield _pool(ray.cluster_resources(), workers, wants_gpu)
    finally:
        ray.shutdown()


def _pool(resources: dict[str, float], workers: int | None, wants_gpu: bool) -> Pool:
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    has_gpus = wants_gpu and gpus > 0
    wanted = workers or (gpus if has_gpus else cores)
    if wanted > cores:
        raise InputError(f"--workers {wanted} are more than the cluster's {cores} processor cores: each takes one.")
    return Pool(wanted, min(1.0, gpus / wanted) if has_gpus else 0.0)


def answer_units(
    units: Sequence[Unit], asked: Any, done: Any, pool: Pool, *, column: str | None, block: int
) -> Iterator[dict[str, Any]]:
    """The tally of all pictures, as they are done.

    Args:
        units: what to read.
        asked: `Asked`, the same for all.
        done: `Done`, which is left out.
        pool: the engines.
        column: see `read_unit`.
        block: pictures in a part.

    Raises:
        ConceptSegError: what an engine could not begin with, e.g. no such checkpoint.
        ResourceError: Ray gave up.
    """
    import ray

    from conceptseg.interfaces.cluster.worker import Worker, read_blocks

    ray.data.DataContext.get_current().enable_progress_bars = False
    read: Any = read_blocks
    rows = [{"kind": u.kind, "names": list(u.names), "group": u.group, "first_row": u.first_row} for u in units]
    reading = {"done": ray.put(done), "column": column, "size": block}
    dataset = (
        ray.data.from_items(rows, override_num_blocks=min(len(rows), _TASKS))
        .map_batches(read, batch_size=1, batch_format="pyarrow", fn_kwargs=reading, num_cpus=0)
        .map_batches(
            Worker,
            fn_constructor_args=(asked,),
            batch_size=block,
            batch_format="pyarrow",
            concurrency=pool.workers,
            num_cpus=1,
            num_gpus=pool.gpus or None,
        )
    )
    try:
        yield from dataset.iter_rows()
    except Exception as error:
        raise _ours(error) from error


def _ours(error: BaseException) -> ConceptSegError:
    """The error of ours behind one of Ray's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConceptSegError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if isinstance(cause, ConceptSegError):
        return cause
    return ResourceError(f"Ray gave up: {str(error).strip().splitlines()[-1] if str(error) else type(error).__name__}")
