from __future__ import annotations

import pytest

from tests.training.tiny import square_folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Eight samples on disk."""
    return square_folder(tmp_path_factory.mktemp("squares"), 8)
