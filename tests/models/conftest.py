"""Checkpoints that several tests read, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import write_released, write_sam


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SAM 3, laid out as on the hub."""
    folder = tmp_path_factory.mktemp("sam3")
    write_sam(folder)
    return folder


@pytest.fixture(scope="session")
def released_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in the released layout, in two shards."""
    folder = tmp_path_factory.mktemp("ConceptSeg-R1-tiny")
    write_released(folder, shards=2)
    return folder


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONCEPTSEG_SAM", raising=False)
