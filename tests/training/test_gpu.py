from __future__ import annotations

import json

import pytest
import torch

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.config_reading import load_config
from conceptseg.training.run import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

STAGES = {
    "warmup": ["batch_size=4", "per_device_batch_size=4", "responses.max_new_tokens=6"],
    "meta-grpo": ["batch_size=4", "per_device_batch_size=4", "group_size=2", "max_completion_tokens=6"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_on_the_gpu(stage, tiny_checkpoint, squares, tmp_path):
    """In bfloat16 autocast, as full-size runs are computed."""
    where = [f"out={tmp_path}", f"model.checkpoint={tiny_checkpoint}", f"data.folders=[{squares}]"]
    config = load_config(stage, None, [*where, "max_steps=1", "log.to=[]", "log.every=1", *STAGES[stage]])
    assert train(config).steps == 1
    history = json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["log_history"]
    assert any(line.get("grad_norm", 0) > 0 for line in history)
    tensors = ConceptSegModel.from_pretrained(tmp_path / "model").state_dict().values()
    assert all(tensor.isfinite().all() for tensor in tensors)
