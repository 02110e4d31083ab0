"""The way from stage to stage: what each needs, what it may not undo, what it sees, what it leaves beside itself."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from conceptseg.errors import TrainingError
from conceptseg.files import lock_for_writing
from conceptseg.models.conceptseg import ConceptSegModel
from nano import __main__ as command
from nano import assembly, imitation, lessons, stages
from nano.assembly import assemble
from nano.recipe import STAGES, NanoRecipe
from nano.stages import train_nano

TIMED = STAGES[:-1]


def recipe(**changes: object) -> NanoRecipe:
    numbers = {"minutes": 0.001, "batch_size": 2, "learning_rate": 1e-3}
    given = {name: dict.fromkeys(TIMED, value) for name, value in numbers.items()}
    given |= {"tasks": ["living", "saliency"], "imitation_minutes": 0.001, "workers": 0}
    return NanoRecipe.model_validate(given | changes)


def leave(folder: Path, stage: str, *, seconds: float | None = None, weights: bool = True) -> None:
    """What a stage leaves: its weights (of another model, if anyone should load them), and its state."""
    kept = {"vision": "reasoner"}.get(stage, stage)
    if weights:
        save_file({"w": torch.zeros(1)}, folder / f"{kept}_weights.safetensors")
    if seconds is not None:
        note = {"progress": json.dumps({"step": 3, "seconds": seconds, "samples": 6})}
        save_file({"model.w": torch.zeros(1)}, folder / f"{stage}.safetensors", note)


def keep_all(folder: Path) -> ConceptSegModel:
    """The weights of every stage, random as they are."""
    model = assemble(recipe(), folder)
    for path, part in assembly._parts(model, folder):
        save_file({key: value.contiguous().clone() for key, value in part.state_dict().items()}, path)
    return model


@pytest.mark.parametrize(
    ("stage", "needed"),
    [("reasoner", "vision"), ("translation", "segmenter"), ("meta_grpo", "translation")],
)
def test_a_stage_names_the_one_to_run_first(tmp_path: Path, stage: str, needed: str) -> None:
    with pytest.raises(TrainingError, match=f"Stage {stage} needs what stage {needed} leaves.*--stages {needed}"):
        train_nano(recipe(), tmp_path, stages=[stage], device="cpu")
    assert not list(tmp_path.glob("*.safetensors"))


def test_weights_of_a_stage_that_is_not_done_do_not_count(tmp_path: Path) -> None:
    leave(tmp_path, "segmenter", seconds=1e-6)
    with pytest.raises(TrainingError, match="translation needs what stage segmenter leaves"):
        train_nano(recipe(), tmp_path, stages=["translation"], device="cpu")
    leave(tmp_path, "segmenter", seconds=60.0)
    leave(tmp_path, "vision", seconds=60.0)
    with pytest.raises(TrainingError, match="translation needs what stage reasoner leaves"):
        train_nano(recipe(), tmp_path, stages=["translation"], device="cpu")  # reasoner_weights are vision's alone


def test_a_stage_does_not_undo_a_later_one(tmp_path: Path) -> None:
    stage, later = "vision", "reasoner"
    leave(tmp_path, later, seconds=1e-6)
    with pytest.raises(TrainingError, match=rf"Stage {stage} has time left, .*delete .*{later}\.safetensors"):
        train_nano(recipe(), tmp_path, stages=[stage], device="cpu")
    leave(tmp_path, stage, seconds=60.0)
    assert train_nano(recipe(), tmp_path, stages=[stage], device="cpu")


def test_a_finished_stage_is_left_alone_without_reading_its_weights(tmp_path: Path) -> None:
    leave(tmp_path, "segmenter", seconds=60.0)
    (tmp_path / "names.json").write_text('["cat"]', encoding="utf-8")
    assert train_nano(recipe(), tmp_path, stages=["segmenter"], device="cpu")
    assert (tmp_path / "names.json").read_text(encoding="utf-8") == '["cat"]'
    assert not (tmp_path / "segmenter.json").exists()


def test_two_runs_of_one_stage_do_not_share_a_folder(tmp_path: Path) -> None:
    lock = lock_for_writing(tmp_path, ".vision.lock")
    with pytest.raises(TrainingError, match=r"Stage vision is being trained in .* by another process"):
        train_nano(recipe(), tmp_path, stages=["vision"], device="cpu")
    lock.release()
    leave(tmp_path, "vision", seconds=60.0)
    assert train_nano(recipe(), tmp_path, stages=["vision", "vision"], device="cpu")  # released each time


def test_every_stage_has_samples_of_its_own(tmp_path: Path) -> None:
    seeds = [lessons._seed(name, recipe()) for name in (*STAGES, "imitation")]
    assert len({*seeds}) == len(seeds)
    assert lessons._seed("vision", recipe(seed=1)) != lessons._seed("vision", recipe())
    model = assemble(recipe(), tmp_path)
    spoken, shown = (lessons.episodes_of(name, recipe(), model, None) for name in ("reasoner", "translation"))
    assert not torch.equal(*(torch.from_numpy(data[0].boxes).nan_to_num() for data in (spoken, shown)))
    assert lessons._scenes("vision", recipe()).seed != lessons._scenes("reasoner", recipe()).seed


def test_an_imitation_that_is_cut_short_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_all(tmp_path)
    leave(tmp_path, "reasoner", seconds=60.0, weights=False)
    told = []

    def imitate(model: object, data: object, *, minutes: float, until_s: float) -> None:
        told.append(until_s)
        time.sleep(max(0.0, until_s - time.monotonic()))

    monkeypatch.setattr(stages, "imitate_regions", imitate)
    assert not train_nano(recipe(), tmp_path, stages=["translation"], minutes=0.05, device="cpu")
    assert len(told) == 1
    assert not (tmp_path / "translation.safetensors").exists()


def test_the_imitation_stops_with_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imitation, "_BATCH", 2)
    model = assemble(recipe(), tmp_path)
    before = {key: value.clone() for key, value in model.translation.state_dict().items()}
    data = lessons.episodes_of("imitation", recipe(), model, None)
    imitation.imitate_regions(model, data, minutes=0.3, until_s=time.monotonic())
    assert all(torch.equal(before[key], value) for key, value in model.translation.state_dict().items())


def test_a_lost_warm_up_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = keep_all(tmp_path)
    leave(tmp_path, "translation", seconds=60.0, weights=False)
    monkeypatch.setattr(stages, "load_config", lambda *_: None)
    monkeypatch.setattr(stages, "train", lambda _: SimpleNamespace(model=None))
    assert not train_nano(recipe(), tmp_path, stages=["meta_grpo"], device="cpu")
    again = ConceptSegModel.from_pretrained(str(tmp_path / "warmup"))
    for key, value in model.translation.state_dict().items():
        torch.testing.assert_close(again.translation.state_dict()[key].float(), value.half().float())


def test_what_a_stage_is_made_from_stands_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "vision.json"
    recipe().record(path, None, 0)
    recipe().record(path, None, 10)
    (only,) = json.loads(path.read_text(encoding="utf-8"))
    assert (only["from_step"], only["photographs"], only["recipe"]["tasks"]) == (0, None, ["living", "saliency"])
    recipe(minutes=dict.fromkeys(TIMED, 9.0)).record(path, Path("photos"), 20)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        recipe(seed=7, workers=1).record(path, None, 30)
    assert caplog.messages == ["vision goes on at step 30 with another recipe: seed, workers differ."]
    assert [entry["from_step"] for entry in json.loads(path.read_text(encoding="utf-8"))] == [0, 20, 30]
    recipe().record(path, None, 0)  # begun anew: what was before is of no account
    assert [entry["from_step"] for entry in json.loads(path.read_text(encoding="utf-8"))] == [0]


def test_an_option_that_is_newer_than_a_stage_is_no_other_recipe(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vision.json"
    recipe().record(path, None, 0)
    (entry,) = json.loads(path.read_text(encoding="utf-8"))
    del entry["recipe"]["altered_share"], entry["recipe"]["named_tasks"]
    path.write_text(json.dumps([entry]), encoding="utf-8")
    recipe(minutes=dict.fromkeys(TIMED, 9.0)).record(path, None, 5)
    assert not caplog.records
    recipe(altered_share={"reasoner": 0.1}).record(path, None, 6)
    assert caplog.messages == ["vision goes on at step 6 with another recipe: altered_share differ."]


def test_sigterm_in_the_last_update_of_a_stage_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def ends_while_told_to(stage: str, run: stages._Run) -> dict[str, float]:
        begun.append(stage)
        run.termination.asked = True
        return {}

    monkeypatch.setattr(stages, "_timed_stage", ends_while_told_to)
    assert not train_nano(recipe(), tmp_path, stages=["segmenter", "vision"], device="cpu")
    assert begun == ["segmenter"]
    assert train_nano(
        recipe(), tmp_path, stages=["vision"], device="cpu"
    )  # it was the last: all that was asked is done


def test_a_trained_stage_records_itself_and_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "run_stage", lambda *_, **__: True)
    assert train_nano(recipe(), tmp_path, stages=["segmenter"], device="cpu")
    (entry,) = json.loads((tmp_path / "segmenter.json").read_text(encoding="utf-8"))
    assert entry["recipe"]["minutes"]["segmenter"] == 0.001
    assert json.loads((tmp_path / "names.json").read_text(encoding="utf-8"))
    assert not list(tmp_path.glob(".*.part.*"))


@pytest.mark.parametrize(("done", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_to_call_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, done: bool, status: int
) -> None:
    monkeypatch.setattr(command, "train_nano", lambda *_, **__: done)
    monkeypatch.setattr(command.NanoRecipe, "read", lambda _: recipe())
    monkeypatch.setattr(sys, "argv", ["nano", "--config", "any.yaml", "--out", str(tmp_path)])
    caplog.set_level(logging.INFO)
    try:
        command.main()
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    assert code == status
    assert ("run the same command again" in caplog.text) == (not done)


def test_an_interruption_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train_nano", interrupted)
    monkeypatch.setattr(command.NanoRecipe, "read", lambda _: recipe())
    monkeypatch.setattr(sys, "argv", ["nano", "--config", "any.yaml", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("Interrupted. What was saved")
