"""Every way a model cannot be had ends the command with status 2 and one line that says what to do."""

import os
import shutil

import pytest
from huggingface_hub import errors
from PIL import Image

from conceptseg.interfaces.cli import main
from conceptseg.models.checkpoints import bundled_folder
from conceptseg.models.hub import HuggingFaceHub
from tests.models.test_hub import GATED

RELEASED = "zhaoyuan666/ConceptSeg-R1-7B"


@pytest.fixture
def copy(nano, tmp_path):
    return shutil.copytree(bundled_folder(), tmp_path / "copy", copy_function=os.symlink)


def no_network(monkeypatch, copy):
    monkeypatch.setattr(HuggingFaceHub, "cached", lambda self, repo_id: None)
    monkeypatch.setattr(HuggingFaceHub, "check", _raise(ConnectionError("no route to host")))
    return RELEASED, "cannot be reached"


def no_access(monkeypatch, copy):
    monkeypatch.setattr(HuggingFaceHub, "cached", lambda self, repo_id: None)
    monkeypatch.setattr(HuggingFaceHub, "check", _raise(GATED))
    return RELEASED, "hf auth login"


def no_such_repository(monkeypatch, copy):
    monkeypatch.setattr(HuggingFaceHub, "cached", lambda self, repo_id: None)
    missing = errors.RepositoryNotFoundError("404", response=GATED.response)
    monkeypatch.setattr(HuggingFaceHub, "check", _raise(missing))
    return "me/mine", "no repository me/mine"


def wrong_file(monkeypatch, copy):
    config = copy / "sam" / "config.json"
    text = config.read_text().replace('"model_type": "sam3"', '"model_type": "sam3_1"', 1)
    config.unlink()
    config.write_text(text)
    return str(copy), "SAM 3"


def half_a_download(monkeypatch, copy):
    weights = copy / "mllm" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])
    return str(copy), "half downloaded"


def too_little_memory(monkeypatch, copy):
    monkeypatch.setattr("conceptseg.models.memory.device_memory", lambda device: 2**20)
    return str(copy), "in all"


def _raise(error):
    def fail(*_args, **_kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    "failure", [no_network, no_access, no_such_repository, wrong_file, half_a_download, too_little_memory]
)
def test_a_model_that_cannot_be_had_is_exit_2_and_one_line(failure, monkeypatch, copy, tmp_path, capsys):
    model, said = failure(monkeypatch, copy)
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 30)).save(picture)
    words = ["segment", str(picture), "--concept", "cat", "--model", model, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith("conceptseg: ")
    assert said in complaint
    assert not (tmp_path / "out" / "picture.mask.png").exists()
