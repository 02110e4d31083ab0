"""Recipes of the package: by name, from anywhere, and what is no recipe."""

from __future__ import annotations

import pytest

from conceptseg.errors import ConfigError
from conceptseg.training.config_reading import load_config
from conceptseg.training.recipes import ablation_changes, describe_recipes, read_recipe, recipe_names


def test_recipes_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"warmup", "meta_grpo", "own_data", "released"} <= set(recipe_names())
    config = load_config("warmup", "own_data", ["data.folders=my_samples"])
    assert [str(folder) for folder in config.data.folders] == ["my_samples"]
    assert (config.data.split, config.data.validation, config.data.held_out) == ("train", "val", 0.2)
    assert load_config("meta-grpo", "released").segmentation.weight == 0.01


def test_an_ablation_is_a_row_of_the_table_over_the_recipe_that_it_extends():
    config = load_config("warmup", "ablations/concept_tokens_4")
    assert (config.model.concept_tokens, config.model.fresh_translation, config.batch_size) == (4, True, 128)
    assert str(config.out) == "runs/ablations/concept_tokens_4"
    assert ablation_changes("one_stage") == {"extends": "meta_grpo", "model": {"fresh_translation": True}}
    with pytest.raises(ConfigError, match=r"There is no ablation 'x'. Known: architecture_sft, "):
        ablation_changes("x")


def test_a_name_goes_before_a_file_and_a_path_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data").write_text("stage: warmup\nout: mine\n", encoding="utf-8")
    assert read_recipe("own_data")["out"] == "runs/own_data"
    assert read_recipe("./own_data") == {"stage": "warmup", "out": "mine"}


def test_a_file_may_extend_a_recipe_of_the_package(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: ablations/concept_tokens_2\ndata: {held_out: 8}\n", encoding="utf-8")
    values = read_recipe(file)
    assert values["data"]["held_out"] == 8 and values["data"]["world"]["count"] == 4096
    assert values["model"]["concept_tokens"] == 2 and "extends" not in values


@pytest.mark.parametrize(
    ("name", "hint"), [("own-data", "did you mean 'own_data'?"), ("zzz", "no recipe of that name.")]
)
def test_an_unknown_name_is_told_with_those_that_are_known(name, hint):
    with pytest.raises(ConfigError) as caught:
        load_config("warmup", name)
    assert hint in str(caught.value)
    assert "Known: meta_grpo, own_data, released, warmup, ablations/NAME" in str(caught.value)


def test_every_recipe_is_described():
    told = describe_recipes()
    assert "own_data   warmup: Fine-tuning on one's own pictures" in told
    assert "ablations/NAME, NAME one of architecture_sft," in told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("out: a\nout: b\n", r"the key out occurs twice"),
        ("data: {limit: 1, limit: 2}\n", r"the key limit occurs twice"),
        ("1: 2\n", r"keys must be words, got 1"),
        ("out: 2026-13-45\n", r"is not YAML: month must be in 1..12"),
        ("data: &a {world: *a}\n", r"a value contains itself"),
        ("out: !!python/object:os.system {}\n", r"is not YAML"),
        ("out: \x07\n", r"is not YAML"),
        ("a: " + "[" * 2000 + "\n", r"is not YAML"),
    ],
)
def test_yaml_that_would_pass_for_something_else_is_refused(tmp_path, text, complaint):
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint):
        load_config("warmup", file)


def test_a_recipe_that_is_no_text_is_told(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"out: \xff\xfe")
    with pytest.raises(ConfigError, match="Cannot read the configuration"):
        load_config("warmup", tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError, match="Cannot read the configuration"):
        load_config("warmup", tmp_path)
