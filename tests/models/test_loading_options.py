"""What loading can be told, and when the MLLM is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from conceptseg.errors import CheckpointError, InputError, MissingExtraError, ResourceError
from conceptseg.models import loading
from conceptseg.models.loading import LoadOptions, load_parts
from conceptseg.models.reasoner import Prompt
from conceptseg.models.released import load_released


def test_options_are_typed_and_all_mistakes_are_told_at_once():
    assert LoadOptions.of({"dtype": "bfloat16"}).dtype is torch.bfloat16
    assert LoadOptions.of({"sam": Path("a/b")}).sam == "a/b"
    with pytest.raises(
        InputError, match=r"dtype: .*unknown dtype 'int3'.*bits: .*nonsense: unknown key; known are device, sam"
    ):
        LoadOptions.of({"dtype": "int3", "bits": 3, "nonsense": True})


def test_a_lazy_mllm_is_read_by_the_first_prompt_and_can_go_again(released_folder: Path):
    reasoner = load_released(released_folder, sam=None, lazy=True).reasoner
    assert not reasoner.is_loaded and list(reasoner.parameters()) == []
    reasoner.render(Prompt((), "find the cat"))  # text alone needs no weights
    assert not reasoner.is_loaded
    first = reasoner.generate([Prompt((), "find the cat")], max_new_tokens=2)
    assert reasoner.is_loaded and len(list(reasoner.parameters())) > 0
    reasoner.release()
    assert not reasoner.is_loaded
    again = reasoner.generate([Prompt((), "find the cat")], max_new_tokens=2)
    assert torch.equal(first.hidden_states, again.hidden_states)


def test_an_mllm_that_could_not_be_read_again_is_not_let_go(released_folder: Path):
    reasoner = load_released(released_folder, sam=None, lazy=False).reasoner
    reasoner.release()
    assert reasoner.is_loaded


def test_the_mllm_takes_the_dtype_and_nothing_else_does(released_folder: Path, sam_folder: Path):
    parts = load_parts(released_folder, sam=sam_folder, dtype="bfloat16")
    assert {p.dtype for p in parts.reasoner.mllm.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in parts.translation.parameters()} == {torch.float32}
    assert {p.dtype for p in parts.segmenter.parameters()} == {torch.float32}
    assert parts.segmenter.autocast is None  # on a CPU
    assert load_parts(released_folder, sam=sam_folder, autocast=True, lazy=True).segmenter.autocast is torch.bfloat16


@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 8}, {"device_map": "auto"}])
def test_quantisation_names_its_extra_before_anything_is_read(options, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'conceptseg\[quant\]'"):
        load_parts("/nowhere", **options)


@pytest.mark.parametrize(("bits", "flags"), [(8, (True, False)), (4, (False, True))])
def test_only_the_language_model_is_quantised(bits: int, flags: tuple[bool, bool]):
    config = loading._quantisation(bits)
    assert (config.load_in_8bit, config.load_in_4bit) == flags
    assert config.llm_int8_skip_modules == ["model.visual", "lm_head"]


def test_a_device_map_changes_nothing_but_the_place(released_folder: Path):
    pytest.importorskip("accelerate")
    mllm = load_parts(released_folder, with_sam=False, device_map="auto").reasoner.mllm
    whole = load_parts(released_folder, with_sam=False).reasoner.mllm
    assert all(torch.equal(mllm.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())


def test_too_large_a_model_is_refused_before_it_is_read(released_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("conceptseg.models.memory.device_memory", lambda device: 1000)
    with pytest.raises(ResourceError, match=r"32-bit weights, but cpu has 0\.0 GiB"):
        load_parts(released_folder, with_sam=False, lazy=True)


def test_a_missing_image_processor_is_named(released_folder: Path, tmp_path: Path):
    folder = Path(shutil.copytree(released_folder, tmp_path / "copy"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="lacks the MLLM's tokenizer or image processor files"):
        load_parts(folder, with_sam=False, lazy=True)


def test_a_device_that_is_not_here_is_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"'mps' was asked for, but torch .* sees no Apple GPU"):
        loading.pick_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert loading.pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ResourceError, match="'cuda:2' was asked for, but there are only 2"):
        loading.pick_device("cuda:2")
