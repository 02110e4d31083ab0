"""What resembles what: a target's cells compared with the marked and unmarked cells of references, without parameters.

The evidence that a frozen vision backbone gives by itself. It is the training-free baseline `match`, and what the
reference prior (`prior`) hands to SAM 3's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from conceptseg.errors import InputError

__all__ = ["EVIDENCE", "Evidence", "SeenReferences", "Sight", "cover_cells", "match_references"]

EVIDENCE: tuple[str, ...] = (
    "marked",
    "unmarked",
    "margin",
    "fine",
    "middle",
    "coarse",
    "itself",
    "same_place",
    "place",
)
"""The maps of `Evidence`, in order."""

_NEIGHBOURS = 3
_SELF_NEIGHBOURS = 8
_CONTRAST = 8.0
"""Brings differences of similarities, which are small, to the size of everything else."""
_MOSTLY, _HARDLY = 0.5, 0.25
_NEITHER = 0.375
"""The share of a cell that is not judged: it counts neither as marked nor as unmarked."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What a vision backbone sees of a batch of pictures, for comparing places: one map a scale, finest first.

    Every vector has length 1.
    """

    maps: tuple[Float[Tensor, "batch _ _ _"], ...]

    @classmethod
    def of(cls, maps: Sequence[Float[Tensor, "batch _ _ _"]]) -> Sight:
        """From raw maps, finest first."""
        return cls(tuple(F.normalize(seen.float(), dim=1) for seen in maps))

    def __len__(self) -> int:
        return len(self.maps[0])

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the finest map."""
        rows, columns = self.maps[0].shape[-2:]
        return rows, columns

    def select(self, indices: Sequence[int]) -> Sight:
        """Some of the pictures, in the order given."""
        rows = torch.as_tensor(list(indices), dtype=torch.long, device=self.maps[0].device)
        return Sight(tuple(seen[rows] for seen in self.maps))

    def joined(self) -> Float[Tensor, "batch channels rows columns"]:
        """All scales on the finest grid; a vector's squared length is the number of scales."""
        return torch.cat([_enlarge(seen, self.grid_hw) for seen in self.maps], dim=1)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What references say of each cell of a target; `EVIDENCE` names the maps.

    `marked`, `unmarked`: similarity to the nearest such cells of the references, −1…1; `margin`: how much more it
    resembles the marked ones, and the same for each scale alone; `itself`: the margin again, with the target's own
    clearest cells for references; `same_place`: similarity to the same place of the references; `place`: how often
    that place is marked, −1…1.
    """

    maps: Float[Tensor, "maps rows columns"]

    @property
    def margin(self) -> Float[Tensor, "rows columns"]:
        """Above 0 where a cell resembles marked cells more than unmarked ones."""
        return self.maps[EVIDENCE.index("margin")]


@dataclass(frozen=True, eq=False)
class SeenReferences:
    """Marked references as a vision backbone sees them: worked out once, compared with any number of targets."""

    sight: Sight
    covers: Float[Tensor, "references rows columns"]
    """The share of each cell of the finest grid that is marked."""

    def evidence_for(self, target: Sight) -> Evidence:
        """What they say of one target; see `match_references`."""
        return match_references(target, self.sight, self.covers)


def cover_cells(
    mask: Bool[np.ndarray, "h w"], grid_hw: tuple[int, int], ignore: Bool[np.ndarray, "h w"] | None = None
) -> Float[Tensor, "rows columns"]:
    """The share (0…1) of each cell of a grid that a mask covers.

    Args:
        mask: what is marked.
        grid_hw: rows and columns of the grid.
        ignore: what is not judged: cells of it are left out of the comparison, as if the picture ended there.
    """
    rows, columns = grid_hw
    levels = np.asarray(mask, dtype=np.uint8) * np.uint8(255)
    if ignore is not None:
        levels[ignore & ~mask] = round(_NEITHER * 255)
    picture = Image.fromarray(levels)
    return torch.from_numpy(np.array(picture.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32)) / 255


def match_references(target: Sight, references: Sight, covers: Float[Tensor, "references rows columns"]) -> Evidence:
    """Compare one target with its references.

    Args:
        target: of one picture.
        references: of at least one picture, from the same backbone.
        covers: the share of each cell of the finest grid that is marked (`cover_cells`).

    Raises:
        InputError: not one target, or the numbers of references and masks differ, or there are none.
    """
    if len(target) != 1 or len(references) != len(covers) or not len(covers):
        raise InputError(
            f"Expected one target and as many marks as references, got {len(target)} targets, {len(references)} "
            f"references and {len(covers)} marks."
        )
    grid_hw = target.grid_hw
    scales = len(target.maps)
    joined, theirs = target.joined(), references.joined()
    cells, known = joined[0].flatten(1).T, theirs.permute(1, 0, 2, 3).flatten(1)
    marked, unmarked = _nearest(cells @ known / scales, covers.flatten())
    margin = marked - unmarked
    by_scale = [_scale_margin(a[0], b, covers) for a, b in zip(target.maps, references.maps, strict=True)]
    fine, middle, coarse = (_enlarge(by_scale[i][None, None], grid_hw)[0, 0] for i in _three_of(scales))
    maps = [
        2 * marked - 1,
        2 * unmarked - 1,
        _CONTRAST * margin,
        *(_CONTRAST / 2 * one.flatten() for one in (fine, middle, coarse)),
        _CONTRAST * _by_itself(cells / scales**0.5, margin),
        2 * (joined * theirs).sum(dim=1).flatten(1).mean(dim=0) / scales - 1,
        2 * covers.mean(dim=0).flatten() - 1,
    ]
    return Evidence(torch.stack(maps).view(len(maps), *grid_hw))


def _three_of(scales: int) -> tuple[int, int, int]:
    """The finest, a middle and the coarsest scale of a backbone with any number of them."""
    return 0, scales // 2, scales - 1


def _scale_margin(target: Tensor, references: Tensor, covers: Tensor) -> Float[Tensor, "rows columns"]:
    """The margin of one scale alone, on its own grid."""
    shares = F.adaptive_avg_pool2d(covers[:, None], (references.shape[-2], references.shape[-1]))[:, 0]
    marked, unmarked = _nearest(target.flatten(1).T @ references.permute(1, 0, 2, 3).flatten(1), shares.flatten())
    return (marked - unmarked).view(target.shape[-2:])


def _nearest(similarity: Float[Tensor, "cells known"], shares: Float[Tensor, " known"]) -> tuple[Tensor, Tensor]:
    """Mean similarity of each cell to its nearest marked, and to its nearest unmarked, cells."""
    return tuple(  # type: ignore[return-value]
        similarity[:, chosen].topk(min(_NEIGHBOURS, int(chosen.sum())), dim=1).values.mean(dim=1)
        for chosen in _split(shares)
    )


def _split(shares: Tensor) -> tuple[Bool[Tensor, " known"], Bool[Tensor, " known"]]:
    """Cells that are mostly marked and cells that hardly are; where there are none, those that are most, or least."""
    marked, unmarked = shares > _MOSTLY, shares < _HARDLY
    marked = marked if marked.any() else shares >= shares.max()
    return marked, unmarked if unmarked.any() else shares <= shares.min()


def _by_itself(cells: Float[Tensor, "cells channels"], margin: Float[Tensor, " cells"]) -> Float[Tensor, " cells"]:
    """The margin with the target's own clearest cells in the references' place: things are more like themselves."""
    order = margin.argsort(descending=True)
    like = order[: max(1, int(0.15 * len(order)))]
    unlike = order[-max(1, int(0.3 * len(order))) :]
    like, unlike = like[margin[like] >= min(0.0, float(margin[like[0]]))], unlike
    similarity = cells @ cells.T
    near = [
        similarity[:, chosen].topk(min(_SELF_NEIGHBOURS, len(chosen)), dim=1).values.mean(dim=1)
        for chosen in (like, unlike)
    ]
    return near[0] - near[1]


def _enlarge(seen: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    if tuple(seen.shape[-2:]) == grid_hw:
        return seen
    return F.interpolate(seen, size=grid_hw, mode="bilinear", align_corners=False)
