"""Every shipped recipe is parsed, and worked out at nano size."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptseg.errors import ConfigError
from conceptseg.training.config_reading import load_config
from conceptseg.training.plan import Launch, plan_training, read_launch
from conceptseg.training.recipes import read_recipe, recipe_names

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RUNS = recipe_names()
LAUNCHES = sorted((RECIPES / "accelerate").glob("*.yaml"))


def load(recipe, *overrides):
    return load_config(read_recipe(recipe)["stage"], recipe, overrides)


def test_the_ablations_of_the_paper_are_there():
    names = {name.removeprefix("ablations/") for name in recipe_names() if name.startswith("ablations/")}
    assert {f"concept_tokens_{k}" for k in (1, 2, 4, 8, 16, 32)} <= names  # Figure 7
    assert {f"architecture_{row}" for row in ("sft", "grpo", "translation", "meta_grpo")} <= names  # Table 4(a)
    assert {"without_meta_reward", "without_meta_reasoning", "one_stage"} <= names  # Table 4(b), (c)
    assert {"without_mask_reward", "without_box_and_meta_reward"} <= names  # Table 9
    assert {"references_1x1", "references_2x2", *(f"references_seed_{k}" for k in (1, 2, 3))} <= names  # 11, 12


@pytest.mark.parametrize("recipe", RUNS, ids=lambda recipe: Path(recipe).stem)
def test_a_recipe_can_be_worked_out(recipe, tiny_checkpoint, squares):
    own = [f"data.folders={squares}"] if recipe == "own_data" else []
    config = load(recipe, f"model.checkpoint={tiny_checkpoint}", *own)
    plan = plan_training(config)
    samples, steps = {
        "own_data": (6, 60),  # two of eight are a fifth, rounded
    }.get(Path(recipe).stem, (4096 - 64, 20 * 4032 / config.batch_size if config.stage == "warmup" else 2 * 4032 / 8))
    assert (plan.samples, plan.steps) == (samples, steps)
    assert 0 < plan.trainable < plan.total


def test_only_the_translation_learns_while_it_warms_up(tiny_checkpoint):
    plan = plan_training(load("warmup", f"model.checkpoint={tiny_checkpoint}"))
    assert {part.name for part in plan.parts if part.trainable} == {"concept translation"}
    sizes = {
        k: plan_training(load(f"ablations/concept_tokens_{k}", f"model.checkpoint={tiny_checkpoint}")) for k in (1, 2)
    }
    assert sizes[2].trainable - sizes[1].trainable == 2 * 48  # one more query and its position, 48 wide


def test_what_learns_in_stage_two(tiny_checkpoint):
    def trainable(*overrides):
        plan = plan_training(load("meta_grpo", f"model.checkpoint={tiny_checkpoint}", *overrides))
        return {part.name for part in plan.parts if part.trainable}

    vision, language, translation = "MLLM, vision tower", "MLLM, language model", "concept translation"
    assert trainable() == {vision, language, translation}
    assert trainable("policy.vision=false") == {language, translation}
    assert trainable("policy.translation=false") == {vision, language}
    assert trainable("policy.mllm=lora") == {language, translation}
    assert trainable("segmentation.weight=0") == {vision, language}  # no loss reaches the translation


def test_an_adapter_counts_rank_times_inputs_and_outputs(tiny_checkpoint):
    plan = plan_training(
        load(
            "meta_grpo",
            f"model.checkpoint={tiny_checkpoint}",
            "policy.mllm=lora",
            "policy.lora.rank=4",
            "policy.lora.targets=[q_proj, k_proj]",
        )
    )
    assert plan.parts[1].trainable == 2 * 4 * ((48 + 48) + (48 + 24))  # two layers; q 48→48, k 48→24


def test_published_sizes_are_known_without_the_hub():
    plan = plan_training(load("meta_grpo", "model.checkpoint=Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3"))
    by_name = {part.name: part.total for part in plan.parts}
    assert by_name["MLLM, vision tower"] + by_name["MLLM, language model"] == 8_292_166_656
    assert by_name["SAM 3"] == 840_376_374


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.stem)
def test_accelerate_reads_the_launch_configurations(path):
    from accelerate.commands.config.config_args import load_config_from_file

    launch = read_launch(path)
    assert load_config_from_file(str(path)).num_processes == launch.processes
    recipe = load("meta_grpo", "model.checkpoint=Qwen/Qwen2.5-VL-3B-Instruct+facebook/sam3")
    assert plan_training(recipe, launch).accumulation * launch.processes == 8


def test_weights_that_learn_alone_are_float32():
    """At a learning rate of 1e-6 bfloat16 would round most updates away."""
    recipe = load("meta_grpo", "model.checkpoint=Qwen/Qwen2.5-VL-3B-Instruct+facebook/sam3")
    by_deepspeed = Launch(processes=1, keeps_master=True)
    adapter = load("meta_grpo", f"model.checkpoint={recipe.model.checkpoint}", "policy.mllm=lora")
    full, master, lora = (
        plan_training(config, launch).memory
        for config, launch in ((recipe, Launch()), (recipe, by_deepspeed), (adapter, Launch()))
    )
    mllm = 3_754_622_976
    assert full.reference == 4 * mllm
    assert master.reference == 2 * mllm
    assert master.optimizer - full.optimizer == pytest.approx((12 - 8) * mllm, rel=1e-6)
    assert lora.weights < full.weights / 1.8 and lora.reference == 0


def test_sharding_divides_what_it_says():
    names = {path.stem: read_launch(path) for path in LAUNCHES}
    zero2, zero3, fsdp = names["eight_gpus_zero2"], names["eight_gpus_zero3"], names["eight_gpus_fsdp"]
    assert (zero2.shards_optimizer, zero2.shards_gradients, zero2.shards_weights) == (True, True, False)
    assert zero3.shards_weights and fsdp.shards_weights
    recipe = load("meta_grpo", "model.checkpoint=Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3")
    alone, two, three = (plan_training(recipe, launch).memory for launch in (Launch(keeps_master=True), zero2, zero3))
    assert two.weights == alone.weights
    assert two.gradients == pytest.approx(alone.gradients / 8, rel=1e-6)
    assert three.weights == pytest.approx(alone.weights / 8, rel=1e-6)
    assert three.total < two.total < alone.total


def test_launches_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read"):
        read_launch(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match="is no configuration of accelerate"):
        read_launch(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("distributed_type: MEGATRON_LM\nnum_processes: 2\n")
    with pytest.raises(ConfigError, match="'MEGATRON_LM' is not known here"):
        read_launch(tmp_path / "b.yaml")
