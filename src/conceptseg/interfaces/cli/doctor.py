"""`conceptseg doctor`: what this machine has and lacks for conceptseg, one check a line."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from conceptseg import __version__
from conceptseg.errors import ConceptSegError
from conceptseg.interfaces.cli.console import format_bytes, format_table
from conceptseg.interfaces.cli.entry import ExitStatus

__all__ = ["CHECKS", "Check", "add_parser", "run"]

_MIN_FREE_DISK = 2**30


class Check(NamedTuple):
    """What one look at the machine found."""

    name: str
    ok: bool | None
    """None where it is neither good nor bad, e.g. an optional part that is not there."""
    detail: str


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("doctor", description=__doc__)
    parser.add_argument("--model", metavar="M", help="also tell whether this model can be had and what it would need")
    parser.add_argument("--sam", metavar="S", help="with SAM 3 from this folder or hub id")


def run(args: argparse.Namespace) -> int:
    """Run all checks and print them; 1 if something is not as it must be."""
    found = [check for look in CHECKS for check in look()]
    signs = {True: "ok", False: "FAILED", None: "–"}
    if args.model:
        found += _check_access(args.model, args.sam)
    print(format_table(("check", "", "detail"), [(check.name, signs[check.ok], check.detail) for check in found]))
    if args.model:
        print(f"\n{_format_needs(args.model, args.sam)}")
    return ExitStatus.SOME_FAILED if any(check.ok is False for check in found) else ExitStatus.DONE


def _check_python() -> Iterator[Check]:
    yield Check("conceptseg", True, __version__)
    yield Check("Python", sys.version_info >= (3, 10), f"{platform.python_version()} on {platform.platform()}")


def _check_libraries() -> Iterator[Check]:
    """Every required dependency, with its version."""
    for requirement in requires("conceptseg") or ():
        if "extra ==" not in requirement:
            name = _name_of(requirement)
            installed = _version_of(name)
            yield Check(name, installed is not None, installed or f"missing: pip install '{requirement}'")


def _check_extras() -> Iterator[Check]:
    """Every optional part, with what it still lacks."""
    extras: dict[str, list[str]] = {}
    for requirement in requires("conceptseg") or ():
        if match := re.search(r"extra == ['\"]([\w-]+)['\"]", requirement):
            extras.setdefault(match[1], []).append(_name_of(requirement))
    for extra, names in extras.items():
        missing = [name for name in names if name != "conceptseg" and _version_of(name) is None]
        detail = f"lacks {', '.join(missing)}: pip install 'conceptseg[{extra}]'" if missing else "present"
        yield Check(f"[{extra}]", None if missing else True, detail)


def _check_devices() -> Iterator[Check]:
    import torch

    cores = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"
    yield Check("CPU", True, cores)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Check(f"cuda:{index}", True, f"{properties.name}, {format_bytes(properties.total_memory)}")
    if not torch.cuda.is_available():
        yield Check("CUDA", None, f"none seen by torch {torch.__version__}; nano needs none")
    if torch.backends.mps.is_available():
        yield Check("MPS", True, "available")


def _check_memory() -> Iterator[Check]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Check("main memory", total >= 2**31, f"{format_bytes(total)} (nano takes about 1 GB)")


def _check_disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    yield Check("disk", free >= _MIN_FREE_DISK, f"{format_bytes(free)} free in {Path.cwd()}")


def _check_bundled_model() -> Iterator[Check]:
    """Load the bundled checkpoint and let it answer once."""
    import numpy as np
    from transformers.utils import logging

    from conceptseg.inference import ConceptSegmenter

    logging.disable_progress_bar()
    started = time.perf_counter()
    try:
        segmenter = ConceptSegmenter.from_pretrained("nano", device="cpu")
        segmenter(np.zeros((64, 64, 3), dtype=np.uint8), "anything", route="direct")
    except ConceptSegError as error:
        yield Check("nano", False, str(error))
    else:
        yield Check("nano", True, f"loads and answers in {time.perf_counter() - started:.1f} s")


def _check_access(model: str, sam: str | None) -> Iterator[Check]:
    """Whether the parts of a model can be had, without downloading them."""
    from conceptseg.models.checkpoints import parts_of
    from conceptseg.models.hub import hub_access, hub_settings

    settings = hub_settings()
    login = "logged in" if settings.logged_in else "not logged in (`hf auth login`)"
    offline = ", offline (HF_HUB_OFFLINE)" if settings.offline else ""
    yield Check("hub", None, f"{login}{offline}, cache in {settings.cache_folder}")
    for source in parts_of(model, sam):
        if source.folder is not None:
            yield Check(source.role, True, str(source.folder))
        else:
            access = hub_access(source.name)
            yield Check(source.role, access.status.is_usable, access.advice(source.flag))


def _format_needs(model: str, sam: str | None) -> str:
    """Estimates of the memory a model would take, by the size of its MLLM's weights."""
    from conceptseg.models.needs import estimate_memory

    rows = [
        (f"{e.bits}-bit", *(format_bytes(n) for n in (e.mllm, e.translation, e.sam, e.cache + e.working, e.total)))
        for e in estimate_memory(model, sam=sam)
    ]
    header = ("MLLM weights", "MLLM", "concept translation", "SAM 3", "working memory", "in all (estimate)")
    return format_table(header, rows)


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _check_python,
    _check_libraries,
    _check_extras,
    _check_devices,
    _check_memory,
    _check_disk,
    _check_bundled_model,
)
"""What `conceptseg doctor` looks at, in order; each yields what it found."""


def _name_of(requirement: str) -> str:
    """The package of a requirement: `torch>=2.6` → `torch`."""
    return re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
