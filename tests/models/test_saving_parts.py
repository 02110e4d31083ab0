"""Saving and uploading models of which a part is elsewhere: nothing of a checkpoint gets lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.models.conceptseg import ConceptSegModel, load_model
from conceptseg.models.prior import PriorConfig, ReferencePrior
from tests.training.tiny import tiny_model


@pytest.fixture(scope="module")
def model() -> ConceptSegModel:
    """The tiny model with a reference prior."""
    model = tiny_model()
    pixels = torch.zeros(1, 3, model.segmenter.image_px, model.segmenter.image_px)
    width = model.segmenter.glance(pixels).tokens.shape[-1]
    model.segmenter.prior = ReferencePrior(PriorConfig(width=width, hidden=4)).eval()
    return model


@pytest.fixture
def saved(model: ConceptSegModel, tmp_path: Path) -> Path:
    folder = model.save_pretrained(tmp_path / "saved")
    (folder / "calibration.json").write_text("{}")
    return folder


def bare(model: ConceptSegModel, **changes: object) -> ConceptSegModel:
    """As it is when it was loaded without SAM 3."""
    config = model.config.model_copy(update={"prior": model.segmenter.prior.config, **changes})
    return ConceptSegModel(config, model.reasoner, model.translation, None)


def test_saved_over_its_own_folder_a_model_without_sam_3_keeps_what_goes_with_it(model, saved):
    bare(model).save_pretrained(saved)
    names = {path.name for path in saved.iterdir()}
    assert names == {"config.json", "ctm.safetensors", "mllm", "sam", "prior.safetensors", "calibration.json"}
    (saved / "calibration.json").unlink()
    assert load_model(saved, device="cpu").has_prior


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({}, "sam and no prior.safetensors"), ({"sam": "me/sam"}, "prior.safetensors"), ({"prior": None}, "sam")],
)
def test_elsewhere_it_is_refused_rather_than_written_without_them(model, tmp_path, changes, missing):
    with pytest.raises(InputError, match=f"loaded without SAM 3, and .* has no {missing} to go with it"):
        bare(model, **changes).save_pretrained(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_what_needs_nothing_of_sam_3_is_saved_anywhere(model, tmp_path):
    bare(model, sam="me/sam", prior=None).save_pretrained(tmp_path / "elsewhere")
    assert json.loads((tmp_path / "elsewhere" / "config.json").read_text())["sam"] == "me/sam"


class Uploads:
    """The hub's side of uploading: what came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def create_repo(self, *_: object, **__: object) -> None: ...

    def create_branch(self, *_: object, **__: object) -> None: ...

    def file_exists(self, *_: object, **__: object) -> bool:
        return True

    def upload_folder(self, *, folder_path: Path, **_: object) -> SimpleNamespace:
        found = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        self.files = {path.relative_to(folder_path).as_posix(): path.read_bytes() for path in found}
        return SimpleNamespace(commit_url="https://hub/1", pr_url=None)


def test_an_upload_that_refers_to_sam_3_has_the_prior(model):
    hub = Uploads()
    model.push_to_hub("me/mine", sam="facebook/sam3", api=hub)
    told = json.loads(hub.files["config.json"])
    assert told["sam"] == "facebook/sam3" and told["prior"] is not None
    assert "prior.safetensors" in hub.files and not any(name.startswith("sam/") for name in hub.files)


def test_without_its_prior_a_checkpoint_is_not_uploaded(model):
    with pytest.raises(InputError, match="loaded without SAM 3 and so without its reference prior"):
        bare(model).push_to_hub("me/mine", sam="facebook/sam3", api=Uploads())
