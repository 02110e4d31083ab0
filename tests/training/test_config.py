from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conceptseg.errors import ConfigError
from conceptseg.training.config import MetaGRPOConfig, RewardSection, WarmupConfig
from conceptseg.training.config_reading import dump_config, load_config, save_config

MINIMAL = ["out=runs/x", "data.world.count=64"]


@pytest.fixture
def recipe(tmp_path):
    def write(text, name="recipe.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_defaults_are_table_7a():
    config = load_config("warmup", None, MINIMAL)
    assert isinstance(config, WarmupConfig)
    assert (config.epochs, config.batch_size, config.learning_rate, config.scheduler) == (20, 128, 3e-5, "linear")
    assert (config.max_prompt_tokens, config.responses.max_new_tokens, config.seed) == (2048, 768, 42)
    assert config.pixel_loss == "focal"


def test_the_defaults_are_table_7b():
    config = load_config("meta-grpo", None, MINIMAL)
    assert isinstance(config, MetaGRPOConfig)
    assert (config.epochs, config.batch_size, config.learning_rate, config.scheduler) == (2, 64, 1e-6, "linear")
    assert (config.group_size, config.beta, config.max_completion_tokens, config.seed) == (8, 0.04, 768, 42)
    assert config.reward.weights == {"format": 1, "mask": 1, "meta": 1}
    assert config.segmentation.weight == 1
    assert (config.policy.mllm, config.policy.vision, config.policy.translation) == ("full", True, True)


def test_values_of_the_command_line_go_before_the_file(recipe):
    file = recipe("out: a\nlearning_rate: 1.0e-4\ndata: {world: {count: 3, split: train}}\n")
    config = load_config("warmup", file, ["learning_rate=1e-5", "data.world.count=9", "model.template=direct"])
    assert (config.learning_rate, config.data.world.count, config.data.world.split) == (1e-5, 9, "train")
    assert config.model.template == "direct"
    assert load_config("warmup", file, ["learning_rate=null"]).learning_rate == 3e-5


def test_a_recipe_extends_another(recipe, tmp_path):
    (tmp_path / "more").mkdir()
    recipe("out: a\nseed: 7\ndata: {world: {count: 3}}\nreward: {meta: 2.0}\n", "base.yaml")
    file = recipe("extends: ../base.yaml\nreward: {box: 1.0}\n", "more/child.yaml")
    config = load_config("meta-grpo", file)
    assert (config.seed, config.reward.meta, config.reward.box) == (7, 2.0, 1.0)


def test_a_recipe_that_extends_itself_is_refused(recipe):
    recipe("extends: b.yaml\n", "a.yaml")
    with pytest.raises(ConfigError, match=r"b\.yaml extends itself"):
        load_config("warmup", recipe("extends: a.yaml\n", "b.yaml"))


def test_every_mistake_in_one_message(recipe):
    file = recipe("learning_rat: 1\ndata: {wrld: {}, references: {count: -1}}\nbatch_size: many\n")
    with pytest.raises(ConfigError) as caught:
        load_config("warmup", file, ["typo.key=1", "other=2", "nothing", "scheduler=quick", "model=x"])
    message = str(caught.value)
    assert message.startswith(f"10 mistake(s) in the configuration of warmup ({file}):")
    for complaint in (
        "'nothing': expected key.sub=value, e.g. learning_rate=1e-5",
        "learning_rat: unknown key, did you mean 'learning_rate'?",
        "typo: unknown key; known are",
        "other: unknown key; known are",
        "out: missing",
        "batch_size: expected a whole number, got 'many'",
        "scheduler: expected 'linear', 'cosine' or 'constant', got 'quick'",
        "data.wrld: unknown key, did you mean 'world'?",
        "data.references.count: expected greater than or equal to 0, got -1",
        "model: expected keys and values, got 'x'",
    ):
        assert complaint in message


def test_sections_that_contradict_themselves():
    with pytest.raises(ConfigError, match=r"data: give folders, world, or both"):
        load_config("warmup", None, ["out=x", "data.limit=3"])
    with pytest.raises(ConfigError, match=r"must be a multiple of group_size 8, got 12"):
        load_config("meta-grpo", None, [*MINIMAL, "batch_size=12"])
    with pytest.raises(ConfigError, match=r"nothing can learn from the masks: set segmentation.weight=0"):
        load_config("meta-grpo", None, [*MINIMAL, "sam_prompt=box"])
    with pytest.raises(ConfigError, match=r"reward: at least one term of the reward needs a weight above 0"):
        load_config("meta-grpo", None, [*MINIMAL, "reward.format=0", "reward.mask=0", "reward.meta=0"])


def test_a_recipe_of_the_other_stage_is_refused(recipe):
    with pytest.raises(ConfigError, match="this is a recipe for 'warmup', but 'meta-grpo' was asked for"):
        load_config("meta-grpo", recipe("stage: warmup\nout: x\ndata: {world: {}}\n"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is not YAML"),
        ("- a\n", "must hold keys and values, got list"),
        (None, "Cannot read the configuration"),
    ],
)
def test_files_that_are_no_recipes(recipe, tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config("warmup", tmp_path / "none.yaml" if text is None else recipe(text))


@pytest.mark.parametrize("stage", ["warmup", "meta-grpo"])
def test_a_dumped_config_reads_back_to_the_same(stage, tmp_path):
    config = load_config(stage, None, [*MINIMAL, "data.folders=[a, b]", "model.concept_tokens=4"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(stage, tmp_path / "config.yaml") == config
    assert f"stage: {stage}" in dump_config(config)


def test_batches_are_split_over_processes_and_accumulation():
    config = load_config("warmup", None, MINIMAL)
    assert (config.accumulation_steps(1), config.accumulation_steps(8)) == (8, 1)
    with pytest.raises(ConfigError, match=r"batch_size 128 is not a multiple of .* 16 × 3 .*: set batch_size=144"):
        config.accumulation_steps(3)


def test_updates_count_samples_or_groups():
    assert load_config("warmup", None, MINIMAL).update_steps(1000) == 157  # ⌈20 × 1000 / 128⌉
    assert load_config("meta-grpo", None, MINIMAL).update_steps(1000) == 250  # 2 × 1000 prompts, 8 an update
    assert load_config("warmup", None, [*MINIMAL, "max_steps=3"]).update_steps(1000) == 3


def test_a_weight_of_zero_leaves_a_term_out():
    assert RewardSection(meta=0.0, box=0.5).weights == {"format": 1.0, "mask": 1.0, "box": 0.5}


def test_reading_a_config_loads_no_torch():
    code = (
        "import sys; from conceptseg.training.config_reading import load_config;"
        "load_config('warmup', None, ['out=x', 'data.world.count=1']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0


def test_a_value_that_means_nothing_is_told_by_its_key():
    words = [
        "out=",
        "data.folders=",
        "epochs=.inf",
        "seed=-1",
        "learning_rate=.nan",
        "data.held_out=1.5",
        "a=2026-13-45",
    ]
    with pytest.raises(ConfigError) as caught:
        load_config("warmup", None, words)
    for complaint in (
        "out: missing",
        "epochs: expected",
        "seed: expected greater than or equal to 0, got -1",
        "learning_rate: expected",
        "data.held_out: expected a whole number, got 1.5; or expected less than 1, got 1.5",
        "a: the value '2026-13-45' is not YAML",
    ):
        assert complaint in str(caught.value)


def test_a_blank_name_is_not_the_working_directory():
    with pytest.raises(ConfigError, match=r"out: expected the name of a file or folder, got ' '"):
        load_config("warmup", None, ["out=' '", "data.world.count=1"])


def test_a_long_value_is_cut_in_its_message(tmp_path):
    file = tmp_path / "bomb.yaml"
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [
        f"{name}: &{name} [{', '.join([f'*{under}'] * 9)}]" for under, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    file.write_text("\n".join([*rows, "epochs: *i", ""]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"epochs: expected a number, got \[\[") as caught:
        load_config("warmup", file)
    assert len(str(caught.value)) < 20_000


def test_one_folder_needs_no_brackets():
    config = load_config("warmup", None, ["out=x", "data.folders=a b"])
    assert [str(folder) for folder in config.data.folders] == ["a b"]


def test_held_out_is_a_number_or_a_share():
    for word, value in (("0.2", 0.2), ("64", 64), ("0", 0)):
        assert load_config("warmup", None, [*MINIMAL, f"data.held_out={word}"]).data.held_out == value
