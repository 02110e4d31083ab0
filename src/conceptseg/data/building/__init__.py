"""Making benchmarks out of data sets as Appendix B does: masks of boxes, strata by confidence, hashed selections.

What draws and scores is given as a function, for models stand above data: `conceptseg data build` passes SAM 3.
"""

from __future__ import annotations

from conceptseg.data.building.masks import BuiltMask, DrawnMask, build_masks
from conceptseg.data.building.selection import build_selection
from conceptseg.data.building.strata import build_strata

__all__ = ["BuiltMask", "DrawnMask", "build_masks", "build_selection", "build_strata"]
