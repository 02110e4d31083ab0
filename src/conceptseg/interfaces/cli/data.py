"""`conceptseg data`: known benchmarks, whether a copy is complete, what has to be built, and samples from folders."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from conceptseg.interfaces.cli.console import (
    add_label_arguments,
    add_model_arguments,
    at_least,
    format_table,
    named_path,
    words,
)
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.data.benchmarks import Benchmark

__all__ = ["add_parser", "run"]

_BUILD = """\
mig_bench, mgrounding: masks of the boxes, with a review sheet, in ROOT/masks (Appendix B). inaturalist: the classes
that SAM 3 is least sure of, in ROOT/ultra_rare.txt. Any benchmark, with --out: its selection as a folder with hashes.
The same command goes on where it was stopped.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("data", description=__doc__)
    actions = parser.add_subparsers(metavar="|".join(_ACTIONS), required=True, dest="action")
    actions.add_parser("list", description="All benchmarks that can be read.")
    _add_benchmark(actions.add_parser("info", description="Source, licence, layout and protocol of a benchmark."))
    check = actions.add_parser("check", description="Count what is there beside the paper, and name what is missing.")
    _add_benchmark(check, with_root=True)
    check.add_argument("--decode", action="store_true", help="also open every picture and mask")
    _add_build(actions.add_parser("build", description="What Appendix B makes of a data set.", epilog=_BUILD))
    _add_from_folders(actions.add_parser("from-folders", description="Pair images with the masks of their names."))


def run(args: argparse.Namespace) -> int:
    """Do what the action says.

    Raises:
        InputError: an unknown benchmark or option.
        SampleError: a data set is not complete, or folders do not pair off.
        CheckpointError: `build`: the model cannot be loaded.
    """
    return _ACTIONS[args.action](args)


def _add_benchmark(parser: argparse.ArgumentParser, *, with_root: bool = False) -> None:
    parser.add_argument("name", metavar="NAME", help="a benchmark of `conceptseg data list`")
    if with_root:
        parser.add_argument("root", type=named_path, metavar="ROOT", help="the folder that it was unpacked into")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="a setting of its reader")


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_benchmark(parser, with_root=True)
    parser.add_argument("--out", type=named_path, metavar="FOLDER", help="write the selection here")
    parser.add_argument("--split", metavar="S", help="default: the benchmark's last, see `data info`")
    parser.add_argument("--references", type=int, metavar="N", help="references a sample, at most")
    parser.add_argument("--least-quality", type=float, default=0.5, metavar="Q", help="masks below are set aside (0.5)")
    add_model_arguments(parser)


def _add_from_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=named_path, metavar="IMAGES", help="a folder of pictures")
    parser.add_argument(
        "masks", type=named_path, metavar="MASKS", help="masks of the same names (or NAME_mask, NAME_gt …)"
    )
    parser.add_argument("--concept", type=words, required=True, metavar="TEXT", help="what the masks show, in words")
    parser.add_argument("--answer", type=words, metavar="TEXT", help="the same as a noun phrase of one to three words")
    parser.add_argument("--task", default="other_cd", metavar="T", help="task of the taxonomy (default: other_cd)")
    parser.add_argument("--split", default="train", metavar="S", help="what to call this part (default: train)")
    parser.add_argument("--val", type=float, metavar="SHARE", help="call this share of the samples val, e.g. 0.2")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="which samples become val (default: 0)"
    )
    parser.add_argument(
        "--group-by-folder",
        action="store_true",
        help="sub-folders become groups: references are drawn from the same sub-folder alone",
    )
    add_label_arguments(parser, "masks")
    parser.add_argument(
        "--out", type=named_path, required=True, metavar="FOLDER", help="where samples.jsonl and copies go"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard the rows that FOLDER holds, else they stay")


def _list(args: argparse.Namespace) -> int:
    from conceptseg.data.benchmarks import benchmark_names, get_benchmark

    infos = [get_benchmark(name).info for name in benchmark_names()]
    print(format_table(("name", "title", "splits"), [(i.name, i.title, ", ".join(i.splits)) for i in infos]))
    return ExitStatus.DONE


def _info(args: argparse.Namespace) -> int:
    info = _benchmark(args).info
    counts = [f"{split} {task} {count}" for (split, task), count in info.expected.items()]
    told = {name: getattr(info, name) for name in ("title", "source", "licence", "layout", "protocol", "fetch")}
    told |= {"splits": ", ".join(info.splits), "in the paper": "; ".join(counts) or "not counted"}
    print("\n".join(f"{name + ':':14}{text}" for name, text in told.items()))
    return ExitStatus.DONE


def _check(args: argparse.Namespace) -> int:
    report = _benchmark(args).check(args.root, decode=args.decode)
    print(report.text())
    return ExitStatus.DONE if report.ok else ExitStatus.SOME_FAILED


def _build(args: argparse.Namespace) -> int:
    from conceptseg.interfaces.cli.building import build

    for line in build(_benchmark(args), args):
        print(line)
    return ExitStatus.DONE


def _benchmark(args: argparse.Namespace) -> Benchmark:
    from conceptseg.data.benchmarks import get_benchmark
    from conceptseg.evaluation.sources import parse_option

    return get_benchmark(args.name, **dict(map(parse_option, args.option)))


def _from_folders(args: argparse.Namespace) -> int:
    """Write the folder of samples; what does not pair off and what is unusable is listed and left out."""
    from conceptseg.interfaces.cli.pairing import from_folders

    return from_folders(args)


_ACTIONS: Mapping[str, Callable[[Any], int]] = MappingProxyType(
    {"list": _list, "info": _info, "check": _check, "build": _build, "from-folders": _from_folders}
)
