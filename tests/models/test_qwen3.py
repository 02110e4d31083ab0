"""Qwen3-VL behind the same reasoner: boxes in thousandths, patches of 16, features fed to the first layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from conceptseg import ConceptSegmenter, Reference
from conceptseg.errors import CheckpointError
from conceptseg.interfaces.cli import main
from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from conceptseg.protocol import build_mosaic, format_response, parse_response, render_prompt
from tests.fixtures.hub_layout import write_qwen3

PICTURES = [Image.new("RGB", (60, 40), colour) for colour in ("orange", "navy", "olive")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3")
    write_qwen3(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder, hub_folders) -> ConceptSegmenter:
    options = {"device": "cpu", "dtype": "float32", "lazy": False, "protocol": {"max_new_tokens": 4}}
    return ConceptSegmenter.from_pretrained(f"{folder}+{hub_folders.sam3}", **options)


def test_it_is_asked_in_its_own_frame_and_units(folder, hub_folders):
    protocol = open_checkpoint(f"{folder}+{hub_folders.sam3}").config.protocol
    assert (protocol.frame_px, protocol.box_units, protocol.unit_px) == (608, 1000, 0.608)
    assert open_checkpoint(f"{hub_folders.qwen}+{hub_folders.sam3}").config.protocol.box_units is None


def test_the_picture_that_it_sees_is_the_frame(segmenter):
    query = segmenter.model.build_prompt("cat", PICTURES[0], None)
    grids = segmenter.model.reasoner.encode([query]).image_grid_thw
    assert grids.tolist() == [[1, 38, 38]]  # 608 / 16, so that nothing is resized on the way


def test_states_from_generation_are_those_of_a_full_pass(segmenter):
    reasoner = segmenter.model.reasoner
    prompts = [Prompt((PICTURES[0], PICTURES[1]), "Which?", "Be brief."), Prompt((PICTURES[2],), "Where is it?")]
    said = reasoner.generate(prompts, max_new_tokens=5)
    inputs = reasoner.encode(prompts)
    width = inputs.input_ids.shape[1]
    inputs["input_ids"] = torch.cat([inputs.input_ids, said.token_ids], dim=1)
    inputs["attention_mask"] = torch.cat([inputs.attention_mask, torch.ones_like(said.token_ids)], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs.mm_token_type_ids, torch.zeros_like(said.token_ids)], dim=1)
    with torch.no_grad():
        whole = reasoner.mllm.model(**inputs, use_cache=False).last_hidden_state[:, width:]
    assert torch.allclose(said.hidden_states[said.mask], whole[said.mask], atol=1e-4)
    for row, prompt in enumerate(prompts):
        alone = reasoner.generate([prompt], max_new_tokens=5)
        assert alone.texts[0] == said.texts[row]
        assert torch.allclose(alone.hidden_states[0], said.hidden_states[row][: alone.mask.sum()], atol=1e-4)


def test_what_is_kept_of_a_prompts_beginning_changes_no_answer(segmenter):
    """Features of the mosaic go to the first layers when it is read, those of the target when that is."""
    reasoner = segmenter.model.reasoner
    prompts = [Prompt((PICTURES[0], target), "Which?", "Be brief.", parts=("think",)) for target in PICTURES[1:]]
    plain = reasoner.generate(prompts, max_new_tokens=5)
    for _ in range(2):
        kept = reasoner.generate(prompts, max_new_tokens=5, remember=True)
        assert kept.texts == plain.texts
        assert torch.allclose(kept.hidden_states[kept.mask], plain.hidden_states[plain.mask], atol=1e-4)
    assert len(reasoner._beginnings) == 1
    reasoner.forget()


def test_boxes_are_written_and_read_in_thousandths():
    mosaic = build_mosaic(PICTURES[:2], [(0, 0, 30, 20), (30, 20, 60, 40)], canvas_px=608, proxy=False)
    text = render_prompt("cat", mosaic, unit_px=0.608)
    first, second = ([round(value / 0.608) for value in box] for box in mosaic.shown_boxes)
    assert f"[{first}, {second}]" in text and max(*first, *second) <= 1000
    response = format_response("so", "rule", None, (60.8, 121.6, 304.0, 608.0), "cat", unit_px=0.608)
    assert "<bbox>[100, 200, 500, 1000]</bbox>" in response
    read = parse_response(response, expect_check=False, unit_px=0.608)
    assert read.box == pytest.approx((60.8, 121.6, 304.0, 608.0)) and read.is_strict


def test_a_box_comes_back_in_the_callers_pixels(segmenter, monkeypatch):
    text = "<think>t</think>\n<rule>r</rule>\n<bbox>[250, 500, 750, 1000]</bbox>\n<answer>cat</answer>"
    generate = segmenter.model.reasoner.generate

    def said(*arguments, **options):
        generation = generate(*arguments, **options)
        return type(generation)([text], generation.token_ids, generation.hidden_states, generation.mask, _ended=(True,))

    monkeypatch.setattr(segmenter.model.reasoner, "generate", said)
    result = segmenter(PICTURES[0], "the thing that is behind here", route="reason")
    assert result.box == pytest.approx((15, 20, 45, 40))  # of a picture 60 wide and 40 high


def test_it_answers_on_the_command_line_in_a_batch_as_alone(folder, hub_folders, tmp_path):
    for number, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{number}.png")
    pictures = [str(tmp_path / f"{number}.png") for number in (0, 1)]
    words = ["--concept", "the animal", "--device", "cpu", "--route", "reason", "--max-new-tokens", "3"]
    words += ["--model", f"{folder}+{hub_folders.sam3}", "--ref", f"{tmp_path / '2.png'}@5,5,30,30"]
    said = []
    for batch in ("1", "2"):
        out = tmp_path / f"out{batch}"
        assert main(["segment", *pictures, *words, "--batch-size", batch, "--out", str(out)]) == 0
        rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        said.append([row["response"] for row in rows])
    assert said[0] == said[1] and all(said[0])


def test_what_is_saved_of_it_is_it_again(segmenter, tmp_path, capsys):
    saved = segmenter.model.save_pretrained(tmp_path / "saved")
    again = ConceptSegModel.from_pretrained(saved, device="cpu", dtype="float32", lazy=False)
    prompt = Prompt((PICTURES[0],), "Where is it?")
    assert again.reason([prompt]).texts == segmenter.model.reason([prompt]).texts
    assert again.config.protocol.box_units == 1000
    assert AutoProcessor.from_pretrained(saved / "mllm").image_processor.patch_size == 16
    assert main(["models", str(saved)]) == 0
    printed = capsys.readouterr().out
    assert "Qwen3-VL, 4 layers" in printed and "frame 608 px (boxes of 1000)" in printed


def test_its_references_verify_as_ever(segmenter):
    references = [Reference(picture, box=(5, 5, 30, 30)) for picture in PICTURES[:2]]
    result = segmenter(PICTURES[2], "the thing that is behind here", references=references, route="reason")
    assert result.response is not None and result.mask.shape == (40, 60)


def test_another_familys_image_processor_is_refused(folder, hub_folders, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text((hub_folders.qwen / "preprocessor_config.json").read_text())
    with pytest.raises(CheckpointError, match=r"patches of 14 pixels, 2 × 2 a token, its config\.json has 16 and 2"):
        ConceptSegModel.from_pretrained(f"{tmp_path}+{hub_folders.sam3}", device="cpu")


def test_its_relatives_are_refused_by_name(folder, hub_folders, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen3_vl_moe"}
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"Expected a Qwen2\.5-VL or Qwen3-VL .*got 'qwen3_vl_moe'"):
        open_checkpoint(f"{tmp_path}+{hub_folders.sam3}")
