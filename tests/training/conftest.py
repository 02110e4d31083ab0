from __future__ import annotations

import pytest

from tests.training.tiny import square_folder, tiny_model


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    return tiny_model().save_pretrained(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Eight samples on disk."""
    return square_folder(tmp_path_factory.mktemp("squares"), 8)
