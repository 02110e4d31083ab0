"""The import hook of `conftest.py` is proven here too, on the simplest functions that it guards."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
from conceptseg.geometry import box_from_mask


def test_a_wrong_shape_is_caught_while_testing():
    with pytest.raises(jaxtyping.TypeCheckError, match="box_from_mask"):
        box_from_mask(np.zeros((2, 3, 4), dtype=bool))
