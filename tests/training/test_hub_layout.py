"""Both stages from folders as the hub serves them, and the reference policy that is read by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trl.trainer.utils import create_model_from_path

from conceptseg.models.conceptseg import load_model
from conceptseg.models.loading import load_parts
from conceptseg.training.config_reading import load_config
from conceptseg.training.reference_policy import readable_by_name
from conceptseg.training.run import train
from tests.fixtures.hub_layout import QWEN, RELEASED, SAM3
from tests.models.tiny import write_released

COMMON = ["model.device=cpu", "log.to=[]", "log.watched=0", "max_steps=1", "data.references.count=2"]
FEW = ["batch_size=2", "per_device_batch_size=2"]


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("shards", [1, 2])
def test_the_reference_policy_is_the_policy_whatever_its_config_calls_it(tmp_path: Path, kind: str, shards: int):
    write_released(tmp_path, kind=kind, shards=shards)
    policy = load_parts(tmp_path, with_sam=False).reasoner.mllm
    name = policy.config._name_or_path
    with readable_by_name(policy):
        place = Path(policy.config._name_or_path)
        reference = create_model_from_path(policy.config._name_or_path, dtype=policy.dtype)
    assert policy.config._name_or_path == name and not place.is_relative_to(tmp_path) and not place.exists()
    assert type(reference) is type(policy)
    theirs, ours = policy.state_dict(), reference.state_dict()
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_a_folder_that_names_its_class_is_read_as_it_is(hub_folders):
    policy = load_parts(f"{hub_folders.qwen}+{hub_folders.sam3}", with_sam=False).reasoner.mllm
    with readable_by_name(policy):
        assert policy.config._name_or_path == str(hub_folders.qwen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "model", "options"),
    [
        ("warmup", f"{QWEN}+{SAM3}", ["responses.source=template"]),
        ("warmup", RELEASED, ["responses.source=true_boxes", "responses.max_new_tokens=4"]),
        ("meta-grpo", RELEASED, ["group_size=2", "max_completion_tokens=4"]),
        ("meta-grpo", f"{QWEN}+{SAM3}", ["group_size=2", "max_completion_tokens=4", "model.fresh_translation=true"]),
        ("meta-grpo", RELEASED, ["group_size=2", "max_completion_tokens=4", "policy.mllm=lora", "policy.lora.rank=2"]),
    ],
)
def test_a_stage_runs_from_a_published_name_to_a_model_that_loads(downloaded, squares, tmp_path, stage, model, options):
    where = [f"out={tmp_path / 'run'}", f"model.checkpoint={model}", f"data.folders=[{squares}]"]
    result = train(load_config(stage, None, [*where, *COMMON, *FEW, *options]))
    trained = load_model(result.model)
    assert trained.translation is not None
    before = load_model(model).reasoner.mllm.state_dict()
    after = trained.reasoner.mllm.state_dict()
    assert before.keys() == after.keys()
    assert (stage == "warmup") is all(torch.equal(before[name], after[name]) for name in before)
