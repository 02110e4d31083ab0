"""Readers of the paper's benchmarks, one file each, that turn data sets as their authors ship them into samples.

    benchmark = get_benchmark("duts")
    benchmark.info.fetch                                  # how to get it
    print(benchmark.check("/data/duts").text())           # what is there, beside the paper's counts
    samples = benchmark.read("/data/duts", seed=0)        # test pictures with references from train

To add one, write a file with a `Benchmark` and name its class here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, CheckReport, CountRow
from conceptseg.data.benchmarks.busi import Busi
from conceptseg.data.benchmarks.cityscapes import Cityscapes
from conceptseg.data.benchmarks.coco import Coco
from conceptseg.data.benchmarks.coco20i import Coco20i
from conceptseg.data.benchmarks.cod10k import Cod10k
from conceptseg.data.benchmarks.cosod3k import Cosod3k
from conceptseg.data.benchmarks.duts import Duts
from conceptseg.data.benchmarks.esdis_sod import EsdisSod
from conceptseg.data.benchmarks.folders import Folders
from conceptseg.data.benchmarks.fss1000 import Fss1000
from conceptseg.data.benchmarks.image_folder import ImageFolder
from conceptseg.data.benchmarks.inaturalist import INaturalist
from conceptseg.data.benchmarks.isic2018 import Isic2018
from conceptseg.data.benchmarks.mgrounding import MGrounding
from conceptseg.data.benchmarks.mig_bench import MigBench
from conceptseg.data.benchmarks.polyp import Polyp
from conceptseg.data.benchmarks.reasonseg import ReasonSeg
from conceptseg.data.benchmarks.released import Released
from conceptseg.data.benchmarks.sbu import Sbu
from conceptseg.data.benchmarks.trans10k import Trans10k
from conceptseg.errors import InputError

__all__ = ["Benchmark", "BenchmarkInfo", "CheckReport", "CountRow", "benchmark_names", "get_benchmark"]

_READERS: tuple[type[Benchmark], ...] = (
    *(Duts, Cod10k, Fss1000, MGrounding, Cosod3k),  # Table 5, training
    *(Coco20i, INaturalist, Trans10k, Sbu, EsdisSod, Polyp, Busi, Isic2018, MigBench),  # Table 5, evaluation
    *(Cityscapes, ReasonSeg),  # Table 6
    *(Released, ImageFolder, Folders, Coco),
)
_BY_NAME = {reader.info.name: reader for reader in _READERS}


def benchmark_names() -> tuple[str, ...]:
    """The names of all benchmarks, in the order of the paper's tables, then the general layouts."""
    return tuple(_BY_NAME)


def get_benchmark(name: str, **options: Any) -> Benchmark:
    """The reader of that name.

    Args:
        name: One of `benchmark_names()`.
        options: The reader's own settings, e.g. `per_class=None` of coco20i or `concept="…"` of folders.

    Raises:
        InputError: there is no such benchmark, it has no such option, or an option is of the wrong kind.
    """
    if name not in _BY_NAME:
        raise InputError(f"Unknown benchmark {name!r}. Known benchmarks: {', '.join(_BY_NAME)}.")
    return _BY_NAME[name](**_checked_options(name, options))


def _checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the kinds that the reader takes; several names in one text are parted at commas."""
    reader = _BY_NAME[name]
    kinds: dict[str, Any] = get_type_hints(reader)
    known: list[str] = [field.name for field in fields(reader)] if is_dataclass(reader) else []
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise InputError(
            f"Benchmark {name!r} does not take these options: {', '.join(unknown)}. Its options: "
            f"{', '.join(known) or 'none'}."
        )
    checked = {}
    for option, value in options.items():
        several = isinstance(value, str) and "tuple" in str(kinds[option])
        try:
            checked[option] = TypeAdapter(kinds[option]).validate_python(value.split(",") if several else value)
        except ValidationError as error:
            raise InputError(f"Benchmark {name!r}: {option} is {value!r}. {error.errors()[0]['msg']}.") from error
    return checked
