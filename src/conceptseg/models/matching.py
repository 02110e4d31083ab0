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

__all__ = ["EVIDENCE", "Evidence", "SeenReferences", "Sight", "cover_cells", "cross_match", "match_references"]

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
_UNLIKE_LEAD = 0.02
"""By so much (of a cosine) what is marked as unlike the concept counts as nearer than it is."""
_CONTRAST = 8.0
"""Brings differences of similarities, which are small, to the size of everything else."""
_MOSTLY, _HARDLY = 0.5, 0.25
_COMPARED_CELLS = 24
"""Along a side, where references are compared with each other."""
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
    unlike: SeenReferences | None = None
    """What the concept is not, in the same form: only what is marked there counts."""

    def evidence_for(self, target: Sight) -> Evidence:
        """What they say of one target; see `match_references`."""
        return match_references(target, self.sight, self.covers, self.unlike)


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


def match_references(
    target: Sight,
    references: Sight,
    covers: Float[Tensor, "references rows columns"],
    unlike: SeenReferences | None = None,
) -> Evidence:
    """Compare one target with its references.

    What is marked as unlike the concept is background too, of more weight than what merely is not marked: a cell is as
    near to the background as it is to the nearer of both.

    Args:
        target: of one picture.
        references: of at least one picture, from the same backbone.
        covers: the share of each cell of the finest grid that is marked (`cover_cells`).
        unlike: marks on what the concept is not, which may lie in other pictures; None without any.

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
    if unlike is not None:
        unmarked = torch.maximum(unmarked, _near_unlike(cells / scales, unlike.sight.joined(), unlike.covers))
    margin = marked - unmarked
    others = [None] * scales if unlike is None else unlike.sight.maps
    by_scale = [
        _scale_margin(a[0], b, covers, None if c is None or unlike is None else (c, unlike.covers))
        for a, b, c in zip(target.maps, references.maps, others, strict=True)
    ]
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


@torch.no_grad()
def cross_match(seen: SeenReferences) -> Float[Tensor, "references others"]:
    """How well each reference's mark is found by each other reference alone.

    Each cell of a picture is ranked by how much nearer it is to the other one's marked cells than to its unmarked ones;
    as many cells as are marked are taken from the top. Entries are their IoU with the mark, so that no threshold plays
    a part; the diagonal means nothing.
    """
    maps = seen.sight.maps[_three_of(len(seen.sight.maps))[1]]
    side = min(_COMPARED_CELLS, *maps.shape[-2:])
    cells = F.normalize(F.adaptive_avg_pool2d(maps, side).flatten(2), dim=1)
    marks = torch.stack([_most_covered(covers, side) for covers in seen.covers]).to(cells.device)
    return torch.stack([_found_by_others(cells, marks, place) for place in range(len(cells))])


def _found_by_others(
    cells: Float[Tensor, "references channels cells"], marks: Bool[Tensor, "references cells"], place: int
) -> Float[Tensor, " others"]:
    similarity = torch.einsum("cp,rcq->rpq", cells[place], cells)
    nearest = [similarity.masked_fill(~kind[:, None], -2.0).amax(dim=2) for kind in (marks, ~marks)]
    ranked = (nearest[0] - nearest[1]).argsort(dim=1, descending=True)[:, : int(marks[place].sum())]
    hits = marks[place][ranked].sum(dim=1)
    return hits / (2 * marks[place].sum() - hits)


def _most_covered(covers: Float[Tensor, "rows columns"], side: int) -> Bool[Tensor, " cells"]:
    """The cells of a coarser grid that are mostly marked; at least one is, and one is not."""
    shares = F.adaptive_avg_pool2d(covers[None], side).flatten()
    marked = shares > _MOSTLY
    marked[shares.argmax()] = True
    marked[shares.argmin()] = False
    return marked


def _three_of(scales: int) -> tuple[int, int, int]:
    """The finest, a middle and the coarsest scale of a backbone with any number of them."""
    return 0, scales // 2, scales - 1


def _scale_margin(
    target: Tensor, references: Tensor, covers: Tensor, unlike: tuple[Tensor, Tensor] | None
) -> Float[Tensor, "rows columns"]:
    """The margin of one scale alone, on its own grid; `unlike` is a map of it with its covers."""
    shares, cells = _on_grid_of(references, covers), target.flatten(1).T
    marked, unmarked = _nearest(cells @ references.permute(1, 0, 2, 3).flatten(1), shares.flatten())
    if unlike is not None:
        unmarked = torch.maximum(unmarked, _near_unlike(cells, unlike[0], _on_grid_of(*unlike)))
    return (marked - unmarked).view(target.shape[-2:])


def _on_grid_of(seen: Tensor, covers: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(covers[:, None], (seen.shape[-2], seen.shape[-1]))[:, 0]


def _near_unlike(cells: Float[Tensor, "cells channels"], seen: Tensor, covers: Tensor) -> Float[Tensor, " cells"]:
    """Mean similarity of each cell to the nearest cells of what the concept is not, with the lead that it has."""
    chosen = _split(covers.flatten())[0]
    similarity = (cells @ seen.permute(1, 0, 2, 3).flatten(1))[:, chosen]
    return similarity.topk(min(_NEIGHBOURS, int(chosen.sum())), dim=1).values.mean(dim=1) + _UNLIKE_LEAD


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
