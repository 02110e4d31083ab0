"""Models are whole inside `whole_weights`, whatever transformers has been told to divide."""

from __future__ import annotations

import os
import sys

import pytest
from transformers.integrations import deepspeed

from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.loading import load_parts
from conceptseg.models.sharding import whole_weights
from tests.training.tiny import tiny_model


class Zero3:
    """What transformers keeps of a ZeRO-3 run's settings."""

    def is_zero3(self):
        return True


@pytest.fixture
def zero3(monkeypatch):
    settings = Zero3()
    deepspeed.set_hf_deepspeed_config(settings)
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    yield settings
    deepspeed.unset_hf_deepspeed_config()


def is_divided():
    return deepspeed.is_deepspeed_zero3_enabled(), os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING")


def test_inside_nothing_is_divided_and_outside_all_is_as_before(zero3):
    assert is_divided() == (True, "true")
    with whole_weights():
        assert is_divided() == (False, None)
        with whole_weights():
            assert is_divided() == (False, None)
        assert is_divided() == (False, None)
    assert is_divided() == (True, "true")
    with pytest.raises(KeyError, match="inside"), whole_weights():
        raise KeyError("inside")
    assert is_divided() == (True, "true")


def test_without_a_launcher_nothing_changes(monkeypatch):
    monkeypatch.delenv("FSDP_CPU_RAM_EFFICIENT_LOADING", raising=False)
    with whole_weights():
        assert is_divided() == (False, None)
    assert is_divided() == (False, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model().save_pretrained(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("lazy", [False, True])
def test_inspection_and_every_part_are_read_whole(folder, zero3, monkeypatch, lazy):
    """ZeRO-3 would call DeepSpeed from within `from_pretrained`, and leave meta models without shapes."""
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # whoever asks for it fails
    checkpoint = open_checkpoint(str(folder))
    parts = load_parts(folder, lazy=lazy)
    assert is_divided() == (True, "true")
    mllm = dict(parts.reasoner.mllm.named_parameters())
    assert all(tuple(mllm[name].shape) == info.shape for name, info in checkpoint.mllm_tensors.items() if name in mllm)
    assert min(p.numel() for p in parts.segmenter.parameters()) > 0
