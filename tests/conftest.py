"""What holds for all tests: types and shapes are checked at run time, and property tests do the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from conceptseg.inference import ConceptSegmenter
    from tests.fixtures.hub_layout import HubFolders

install_import_hook(["conceptseg", "nano"], "tests.check_types")  # jaxtyping and beartype, on every signature

settings.register_profile(
    "same everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")  # a busy machine must not fail a property


@pytest.fixture(scope="session")
def nano() -> ConceptSegmenter:
    """The bundled checkpoint, loaded once for all tests; they leave it as they found it."""
    import torch

    from conceptseg.inference import ConceptSegmenter
    from conceptseg.models.checkpoints import bundled_folder

    if not (bundled_folder() / "config.json").is_file():
        pytest.skip("this working copy has no bundled checkpoint")
    torch.set_num_threads(1)  # tests share their cores; two threads that wait for each other are slower than one
    segmenter = ConceptSegmenter.from_pretrained("nano", device="cpu", lazy=False)
    # What was last measured on it says nothing of how it works, and empties masks of the made-up pictures of tests.
    segmenter.model.calibration = segmenter.model.router = None
    return segmenter


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest checkpoint that can be trained."""
    from tests.training.tiny import tiny_model

    return tiny_model().save_pretrained(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def hub_folders(tmp_path_factory: pytest.TempPathFactory) -> HubFolders:
    """Qwen2.5-VL, the released ConceptSeg-R1 and SAM 3 as the hub serves them, small, and a cache that holds them."""
    from tests.fixtures.hub_layout import write_hub

    return write_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def downloaded(hub_folders: HubFolders, monkeypatch: pytest.MonkeyPatch) -> HubFolders:
    """The same, found under their published names without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_folders.cache))
    monkeypatch.delenv("CONCEPTSEG_SAM", raising=False)
    return hub_folders
