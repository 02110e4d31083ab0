"""Loading the own format: what is whole loads, and every way of being broken is refused in one clear line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models import conceptseg as conceptseg_model
from conceptseg.models.checkpoints import bundled_folder
from conceptseg.models.conceptseg import ConceptSegModel, load_model


@pytest.fixture
def copy(nano, tmp_path) -> Path:
    """A copy of the bundled checkpoint made of links: replace files in it, never write into them."""
    return Path(shutil.copytree(bundled_folder(), tmp_path / "copy", copy_function=os.symlink))


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    replace(folder / "config.json", json.dumps(config | changes).encode())


def only_pickles(folder: Path) -> None:
    (folder / "mllm" / "model.safetensors").unlink()
    torch.save({}, folder / "mllm" / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    weights = folder / "sam" / "model.safetensors"
    replace(weights, weights.read_bytes()[:-100])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (only_pickles, "only as pickle files .pytorch_model.bin.*never loaded"),
    "no mllm": (lambda f: shutil.rmtree(f / "mllm"), "incomplete: its mllm/ folder with the MLLM is missing"),
    "no sam": (lambda f: shutil.rmtree(f / "sam"), "incomplete: its sam/ folder with SAM 3 is missing"),
    "no ctm": (lambda f: (f / "ctm.safetensors").unlink(), "names a concept translation but has no ctm.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json: not a checkpoint"),
    "cut short": (cut_short, "damaged or only half downloaded: model.safetensors is cut short"),
    "no safetensors": (lambda f: replace(f / "mllm" / "model.safetensors", b"x" * 99), "is no safetensors file"),
    "no json": (lambda f: replace(f / "config.json", b"{"), "is not valid JSON"),
    "newer format": (lambda f: edit_config(f, format_version=2), "is not a ConceptSeg config: format_version"),
    "unknown keys": (lambda f: edit_config(f, colour=1, size=2), "colour: .*; size: "),
    "no tokenizer": (lambda f: (f / "mllm" / "tokenizer.json").unlink(), "lacks the MLLM's tokenizer"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_refused_in_one_clear_line(copy, case):
    damage, complaint = BROKEN[case]
    damage(copy)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_model(copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_a_pickle_beside_the_weights_is_not_opened(copy):
    (copy / "mllm" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    assert load_model(copy, lazy=False).config.name == "nano"


def test_sam_3_1_is_refused_by_its_name():
    with pytest.raises(CheckpointError, match=r"SAM 3\.1 as a pickle file .*conceptseg models import"):
        load_model("nano", sam="facebook/sam3.1")


def test_neither_a_folder_nor_a_hub_id():
    with pytest.raises(InputError, match="no such checkpoint here"):
        load_model("no such checkpoint here")


@pytest.mark.parametrize("device", ["gpu0", "cuda:banana"])
def test_an_unknown_device_names_the_known_ones(nano, device):
    with pytest.raises(InputError, match="use auto, cpu, mps, cuda or cuda:N"):
        load_model("nano", device=device)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_saving_and_loading_gives_the_same_model(nano, tmp_path, dtype):
    folder = nano.model.save_pretrained(tmp_path / "saved", dtype=dtype)
    again = load_model(folder, lazy=False)
    assert again.config == nano.model.config
    mine, theirs = nano.model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(theirs[name], tensor, atol=0 if dtype is None else 1e-2, rtol=1e-2)
    assert not list(folder.rglob("*.bin")) and len(list(folder.rglob("*.safetensors"))) == 4


class TestSavingOverACheckpoint:
    """A checkpoint in the folder is replaced whole, or stays; what a kill leaves is one of them, or none that loads."""

    @pytest.fixture
    def model(self, released_folder: Path, sam_folder: Path) -> ConceptSegModel:
        return load_model(released_folder, sam=sam_folder)

    @pytest.fixture
    def saved(self, model: ConceptSegModel, tmp_path: Path) -> Path:
        folder = model.save_pretrained(tmp_path / "saved")
        (folder / "README.md").touch()
        return folder

    def test_parts_that_the_new_one_lacks_are_gone_and_other_files_stay(self, model, saved):
        assert {path.name for path in saved.iterdir()} == {"README.md", "config.json", "ctm.safetensors", "mllm", "sam"}
        (saved / "mllm" / "model-00001-of-00002.safetensors").touch()
        bare = ConceptSegModel(
            model.config.model_copy(update={"translation": None, "sam": "me/sam"}), model.reasoner, None, None
        )
        bare.save_pretrained(saved)
        assert {path.name for path in saved.iterdir()} == {"README.md", "config.json", "mllm"}
        assert [path.name for path in (saved / "mllm").glob("*.safetensors")] == ["model.safetensors"]

    def test_a_model_read_without_its_sam_3_does_not_cost_the_folder_its_own(self, saved):
        load_model(saved, with_sam=False).save_pretrained(saved)
        assert load_model(saved).has_segmenter

    def test_a_failure_while_writing_leaves_the_old_one(self, model, saved, monkeypatch):
        before = (saved / "mllm" / "model.safetensors").read_bytes()
        monkeypatch.setattr(conceptseg_model, "save_file", _fail)
        with pytest.raises(OSError, match="No space left"):
            model.save_pretrained(saved, dtype=torch.float16)
        monkeypatch.undo()
        assert (saved / "mllm" / "model.safetensors").read_bytes() == before
        assert load_model(saved).translation is not None and not list(saved.glob(".*"))

    @pytest.mark.parametrize("moved", range(4))
    def test_killed_while_parts_change_places_nothing_loads(self, model, saved, monkeypatch, moved):
        places = iter(range(moved))
        replace_file = os.replace

        def replace_some(source: Path, target: Path) -> None:
            if next(places, None) is None:
                raise KeyboardInterrupt("kill -9")
            replace_file(source, target)

        monkeypatch.setattr(conceptseg_model.os, "replace", replace_some)
        with pytest.raises(KeyboardInterrupt, match="kill -9"):
            model.save_pretrained(saved)
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match=r"has no config\.json: not a checkpoint"):
            load_model(saved)
        model.save_pretrained(saved)
        assert load_model(saved).translation is not None


def _fail(*_args: object, **_options: object) -> None:
    raise OSError(28, "No space left on device")


def test_weights_on_a_cpu_are_float32(nano):
    assert {parameter.dtype for parameter in nano.model.parameters()} == {torch.float32}
