"""What nano is shown beside ConceptWorld's tasks: photographs, and parts that only references explain."""

from __future__ import annotations

import numpy as np

from nano.alterations import Alterations
from nano.photographs import Photographs

__all__ = ["Mixture"]


class Mixture:
    """Now photographs, now altered parts, each for its share of the samples; otherwise it is ConceptWorld's turn.

    Args:
        size_px: side of the pictures.
        photographs: real samples; without them there is no share of them either.
        photograph_share: how many of all samples those are.
        altered_share: how many show altered parts.
    """

    def __init__(
        self,
        size_px: int,
        photographs: Photographs | None = None,
        *,
        photograph_share: float = 0.0,
        altered_share: float = 0.0,
    ) -> None:
        self.photographs = photographs
        self.photograph_share = photograph_share if photographs else 0.0
        self.altered = Alterations(size_px)
        self.altered_share = altered_share

    @property
    def names(self) -> tuple[str, ...]:
        """Names that ConceptWorld may not have."""
        return self.photographs.names if self.photographs else ()

    def draw(self, rng: np.random.Generator) -> Photographs | Alterations | None:
        """Whose turn it is; None for ConceptWorld's."""
        if self.photographs is None and not self.altered_share:
            return None
        share = rng.random()
        if self.photographs is not None and share < self.photograph_share:
            return self.photographs
        return self.altered if share < self.photograph_share + self.altered_share else None
