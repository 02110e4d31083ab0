"""iNaturalist: species, fine-grained and ultra-rare, in SAM 3's SA-Co/Silver annotation.

Data set: the iNaturalist-2017 part of SA-Co/Silver, Carion et al., "SAM 3", 2025.
Source: https://huggingface.co/datasets/facebook/SACo-Silver (annotations), iNaturalist 2017 (pictures)
Licence: annotations CC BY-NC 4.0; pictures by their photographers, non-commercial.
Layout: silver_inaturalist_merged_test.json, and the pictures it names in images/ (or beside it). The file is COCO's
format, except that every entry of `images` is a picture with a noun phrase (`text_input`); entries without annotations
ask for something that is not there and take no part.
Protocol: the species is asked; one picture in ten of every species, at least two (Appendix B); the 1 % of species that
SAM 3 is least sure of are ultra-rare. Which these are depends on that run: they are read from ultra_rare.txt (one
species a line) in the root, as `conceptseg data build` writes it; without it all count as fine-grained. References come
from the other pictures of the species.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan, missing_files
from conceptseg.data.benchmarks._files import first_folder, inside, read_json, read_lines
from conceptseg.data.benchmarks._regions import decode_regions
from conceptseg.data.selection import take_by_hash
from conceptseg.errors import SampleError
from conceptseg.images import LazyImage

__all__ = ["ULTRA_RARE_LIST", "INaturalist"]

ULTRA_RARE_LIST = "ultra_rare.txt"
"""The species of the ultra-rare stratum, one a line."""

_INDICES = ("silver_inaturalist_merged_test.json", "silver_inaturalist_test.json")
_LEAST = 2


@dataclass(frozen=True)
class INaturalist(Benchmark):
    """Species recognition with masks."""

    share: float = 0.1
    """The part of every species' pictures that is the test; at least two of them."""

    pool_split: ClassVar[str | None] = "all"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="inaturalist",
        title="iNaturalist (SA-Co/Silver)",
        source="https://huggingface.co/datasets/facebook/SACo-Silver",
        licence="annotations CC BY-NC 4.0, pictures non-commercial",
        layout=f"{_INDICES[0]}, images/<file_name>, optionally {ULTRA_RARE_LIST}",
        protocol="the species, a tenth of its pictures, at least two; references from its other pictures",
        fetch=(
            "download silver_inaturalist_merged_test.json from https://huggingface.co/datasets/facebook/SACo-Silver, "
            "and the pictures as scripts/eval/silver/README.md of https://github.com/facebookresearch/sam3 says"
        ),
        splits=("all", "test"),
        expected={("test", "fine_grained"): 5_325, ("test", "ultra_rare"): 52},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a picture and species."""
        index = next((root / name for name in _INDICES if (root / name).is_file()), root / _INDICES[0])
        rare = set(read_lines(root / ULTRA_RARE_LIST)) if (root / ULTRA_RARE_LIST).is_file() else set()
        try:
            entries = _by_species(read_json(index))
            folder = first_folder(root, "images", ".")
            items = [
                _item(folder, entry, regions, "ultra_rare" if species in rare else "fine_grained")
                for species, pictures in sorted(entries.items())
                for entry, regions in self._chosen(pictures, species, split)
            ]
        except SampleError as error:
            return Scan([], [str(error)])
        except (KeyError, TypeError) as error:
            return Scan([], [f"{index} is not a SA-Co/Silver file: {error!r}"])
        return Scan(items, missing_files(items))

    def _chosen(self, pictures: _Pictures, species: str, split: str) -> _Pictures:
        if split == "all":
            return pictures
        count = max(_LEAST, int(len(pictures) * self.share))
        chosen = take_by_hash((str(entry["id"]) for entry, _ in pictures), count, salt=species)
        return [(entry, regions) for entry, regions in pictures if str(entry["id"]) in chosen]


_Pictures = list[tuple[dict[str, Any], list[Any]]]
"""(entry of `images`, its regions)."""


def _by_species(content: dict[str, Any]) -> dict[str, _Pictures]:
    """Species → its pictures with regions; pictures without are negatives."""
    regions: defaultdict[Any, list[Any]] = defaultdict(list)
    for annotation in content["annotations"]:
        regions[annotation["image_id"]].append(annotation["segmentation"])
    species: defaultdict[str, _Pictures] = defaultdict(list)
    for entry in content["images"]:
        if entry["id"] in regions:
            species[entry["text_input"]].append((entry, regions[entry["id"]]))
    return species


def _item(folder: Path, entry: dict[str, Any], regions: list[Any], task: str) -> Item:
    species = entry["text_input"]
    mask = partial(decode_regions, regions, (entry["height"], entry["width"]))
    return Item(
        id=str(entry["id"]),
        task=task,
        concept=species,
        image=inside(folder, entry["file_name"]),
        mask=LazyImage(mask, f"{entry['file_name']}: {species}"),
        group=species,
        answer=species,
    )
