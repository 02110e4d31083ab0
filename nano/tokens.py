"""An episode as the language model's image tokens have it: what each shows of the target, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from nano.dense import centres, merge_cells
from nano.episodes import Episode

__all__ = ["EpisodeTokens", "compares_one_scene", "target_looks_like_references", "tokens_of"]

_STILL = ("static_difference",)
"""Tasks whose pictures show one scene from one place."""
_MOVED = ("view_difference",)
"""Tasks whose pictures show one scene from several places."""


def compares_one_scene(episode: Episode) -> bool:
    """Whether an episode's pictures show one scene from one place, so that a place can be compared with itself."""
    return episode.sample.task in _STILL


def target_looks_like_references(episode: Episode) -> bool:
    """Whether what is to be segmented looks like what the references mark: not so where something has changed."""
    return episode.sample.task not in (*_STILL, *_MOVED)


@dataclass(frozen=True, eq=False)
class EpisodeTokens:
    """The merged image tokens of an episode with references: the mosaic's (keys, in its order) and the target
    picture's (queries), row by row."""

    marked: Float[np.ndarray, " keys"]
    """How much of each is to be segmented, 0…1; the proxy's too."""
    target: Float[np.ndarray, " queries"]
    """How much of each is to be segmented, 0…1."""
    is_proxy: Bool[np.ndarray, " keys"]
    """Those that show the reference whose box is withheld; none without one."""
    same_place: Bool[np.ndarray, "queries keys"]
    """Which show a query's place in their own reference."""

    @property
    def proxy_here(self) -> Float[np.ndarray, " queries"]:
        """How much of what the proxy shows at each query's place is to be segmented there, 0…1; 0 without a proxy."""
        there = self.same_place & self.is_proxy
        return (there @ self.marked) / np.maximum(there.sum(axis=1), 1).astype(np.float32)


def tokens_of(episode: Episode) -> EpisodeTokens | None:
    """The image tokens of an episode; None without references."""
    if episode.places is None:
        return None
    marked, target = (merge_cells(share).mean(axis=1) for share in episode.coverage)
    is_proxy = merge_cells(episode.withheld.astype(np.float32)).mean(axis=1) >= 0.5
    return EpisodeTokens(marked, target, is_proxy, _same_place(episode.places))


def _same_place(places: Float[np.ndarray, "patches patches 2"]) -> Bool[np.ndarray, "queries keys"]:
    """Which tokens of the mosaic show the middle of each of the target's, in any reference.

    Args:
        places: where in its own reference each patch of the mosaic lies; NaN where there is none.
    """
    keys = merge_cells(places)
    reach = np.nanmax(np.abs(keys - keys.mean(axis=1, keepdims=True)), initial=0.0) * 2
    side = int(len(keys) ** 0.5)
    apart = np.abs(centres(side, side).reshape(-1, 1, 2) - keys.mean(axis=1)[None])
    return (apart <= reach + 1e-6).all(axis=2)
