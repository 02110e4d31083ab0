"""The released layout: a checkpoint written from INTEROP §1 alone loads, and computes what that says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conceptseg.data import Reference
from conceptseg.errors import CheckpointError, InputError
from conceptseg.inference import ConceptSegmenter
from conceptseg.models.conceptseg import ConceptSegModel, load_model
from conceptseg.models.reasoner import Prompt
from conceptseg.models.released import import_checkpoint, load_released
from conceptseg.models.released_layout import mllm_name, translation_name
from conceptseg.protocol import build_mosaic
from tests.models.interop import random_translation, translate
from tests.models.tiny import PROMPT, WIDTH, write_released


@pytest.mark.parametrize(
    ("kind", "queries", "shards", "new_names"),
    [("qwen2_5_vl", 8, 1, False), ("qwen2_vl", 16, 3, False), ("qwen2_vl", 8, 2, True), ("qwen2_5_vl", 16, 2, True)],
)
def test_a_checkpoint_written_from_the_table_loads_whole(
    tmp_path: Path, kind: str, queries: int, shards: int, new_names: bool
):
    mllm, translation = write_released(tmp_path, kind=kind, queries=queries, shards=shards, new_names=new_names)
    model = load_released(tmp_path, sam=None)
    loaded = model.reasoner.mllm.state_dict()
    assert loaded.keys() == mllm.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in mllm.state_dict().items())
    states = torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    tokens = model.translation(states, mask)
    assert tokens.shape == (2, queries, PROMPT)
    torch.testing.assert_close(tokens[0], translate(translation, states[0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(tokens[1], translate(translation, states[1, :6]), atol=1e-6, rtol=0)


def test_the_reference_implementation_notices_a_wrong_order_of_keys_and_values():
    weights = random_translation(WIDTH, 8, PROMPT)
    swapped = dict(weights)
    for block in range(4):
        for kind in ("weight", "bias"):
            swapped[f"connector.blocks.{block}.attn.kv.{kind}"] = weights[
                f"connector.blocks.{block}.attn.kv.{kind}"
            ].roll(WIDTH, 0)
    states = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(2))
    assert (translate(weights, states) - translate(swapped, states)).abs().max() > 1e-3


def test_the_mllm_computes_the_same_whatever_its_config_called_it(tmp_path: Path):
    mllm, _ = write_released(tmp_path, kind="qwen2_vl")
    reasoner = load_released(tmp_path, sam=None).reasoner
    inputs = reasoner.encode([Prompt((Image.new("RGB", (600, 600), "red"),), "find the cat")])
    assert inputs.image_grid_thw.tolist() == [[1, 42, 42]]  # 600 pixels are seen as 588 = 42 patches of 14
    with torch.no_grad():
        torch.testing.assert_close(reasoner.mllm(**inputs).logits, mllm(**inputs).logits)


def test_it_is_asked_in_its_own_frame_and_words(released_folder: Path):
    model = load_released(released_folder, sam=None)
    references = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue", "white")]
    mosaic = build_mosaic(references, [(4, 3, 20, 15)] * 4, canvas_px=model.config.protocol.frame_px)
    prompt = model.build_prompt("cat", Image.new("RGB", (80, 60)), mosaic)
    assert [image.size for image in prompt.images] == [(600, 600), (600, 600)]
    assert prompt.system == "You are a helpful assistant. "
    assert prompt.messages()[1]["content"][2]["type"] == "text"  # mosaic, target, text
    # 300-pixel cells: (4, 3, 20, 15) of 40×30 is (30, 30, 150, 150) of a cell; the first one is withheld
    assert "Bounding boxes at [[330, 30, 450, 150], [30, 330, 150, 450], [330, 330, 450, 450]]" in prompt.text
    assert "the missed bounding box in the top-left region" in prompt.text
    assert mosaic.image.getpixel((330, 30)) == (255, 0, 0) and mosaic.image.getpixel((331, 31)) == (255, 0, 0)
    assert mosaic.image.getpixel((332, 32)) != (255, 0, 0)  # two pixels wide


def test_it_segments_with_sam_3_beside_it(released_folder: Path, sam_folder: Path):
    model = load_released(released_folder, sam=sam_folder)
    short = model.config.protocol.model_copy(update={"max_new_tokens": 3})
    model.config = model.config.model_copy(update={"protocol": short})
    picture = Image.new("RGB", (50, 40), "red")
    result = ConceptSegmenter(model)(picture, "cat", [Reference(picture, box=(5, 5, 20, 20))], route="reason")
    assert result.mask.shape == (40, 50)
    assert not any("No concept translation" in note for note in result.notes)


def test_without_sam_3_the_rest_works_and_the_mask_says_what_is_missing(released_folder: Path):
    model = load_released(released_folder, sam=None)
    assert not model.has_segmenter
    with pytest.raises(CheckpointError, match="loaded without SAM 3"):
        ConceptSegmenter(model)(Image.new("RGB", (8, 8)), "cat")


def test_everything_missing_extra_or_of_another_shape_is_listed(tmp_path: Path):
    write_released(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["connector.blocks.2.attn.q.bias"], tensors["visual.blocks.1.norm1.weight"]
    tensors["connector.blocks.0.gate.weight"] = torch.zeros(2)
    tensors["model.extra.weight"] = torch.zeros(2)
    tensors["proj_to_sam.0.bias"] = torch.zeros(WIDTH + 1)
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].contiguous()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        load_released(tmp_path, sam=None)
    message = str(caught.value)
    assert "2 missing: model.visual.blocks.1.norm1.weight, translation connector.blocks.2.attn.q.bias" in message
    assert "2 not expected: model.language_model.extra.weight, translation connector.blocks.0.gate.weight" in message
    assert "2 of another shape" in message
    assert f"translation proj_to_sam.0.bias is [{WIDTH + 1}] instead of [{WIDTH}]" in message


def test_a_qwen2_vl_is_not_taken_for_its_successor(tmp_path: Path):
    write_released(tmp_path, kind="qwen2_vl")
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["visual.blocks.0.mlp.fc1.weight"] = torch.zeros(4, 4)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="This is a Qwen2-VL"):
        load_released(tmp_path, sam=None)


def test_another_architecture_is_refused(released_folder: Path, tmp_path: Path):
    shutil.copytree(released_folder, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))
    with pytest.raises(CheckpointError, match=r"Expected a Qwen2\.5-VL or Qwen3-VL .* got 'llava'"):
        load_released(tmp_path / "copy", sam=None)


def test_an_import_is_the_same_model_in_our_format(released_folder: Path, sam_folder: Path, tmp_path: Path):
    ours = import_checkpoint(released_folder, tmp_path / "imported", sam=str(sam_folder))
    assert {path.name for path in ours.iterdir()} == {"config.json", "ctm.safetensors", "mllm"}
    before, after = load_released(released_folder, sam=sam_folder), load_model(ours)
    assert after.config.protocol == before.config.protocol
    assert after.config.translation == before.config.translation
    for part in ("translation", "segmenter"):
        theirs, mine = getattr(before, part).state_dict(), getattr(after, part).state_dict()
        assert theirs.keys() == mine.keys() and all(torch.equal(theirs[name], mine[name]) for name in theirs)
    theirs, mine = before.reasoner.mllm.state_dict(), after.reasoner.mllm.state_dict()
    assert theirs.keys() == mine.keys() and all(torch.equal(theirs[name], mine[name]) for name in theirs)
    prompt = Prompt((Image.new("RGB", (600, 600), "red"),), "find the cat", "You are a helpful assistant. ")
    for name, tensor in before.reasoner.encode([prompt]).items():
        assert torch.equal(tensor, after.reasoner.encode([prompt])[name]), name


def test_an_import_never_overwrites_and_needs_the_released_layout(released_folder: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        import_checkpoint(released_folder, tmp_path / "full")
    ours = import_checkpoint(released_folder, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="in our format already"):
        import_checkpoint(ours, tmp_path / "again")


def test_a_model_without_sam_3_is_saved_with_its_reference(released_folder: Path, sam_folder: Path, tmp_path: Path):
    load_released(released_folder, sam=None).save_pretrained(tmp_path / "saved")
    model = ConceptSegModel.from_pretrained(tmp_path / "saved", sam=sam_folder)
    assert model.config.sam == "facebook/sam3"
    assert model.has_segmenter


def test_a_checkpoint_of_ours_may_take_its_mllm_from_a_released_one(
    released_folder: Path, sam_folder: Path, tmp_path: Path
):
    """A warm-up from the released checkpoint names its MLLM, and has learned another translation."""
    ours = import_checkpoint(released_folder, tmp_path / "ours", sam=str(sam_folder))
    shutil.rmtree(ours / "mllm")
    config = json.loads((ours / "config.json").read_text()) | {"mllm": str(released_folder)}
    (ours / "config.json").write_text(json.dumps(config))
    learned = {name: tensor + 1 for name, tensor in load_file(ours / "ctm.safetensors").items()}
    save_file(learned, ours / "ctm.safetensors")
    state = load_model(ours).translation.state_dict()
    assert state.keys() == learned.keys() and all(torch.equal(state[name], learned[name]) for name in learned)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("visual.blocks.0.norm1.weight", "model.visual.blocks.0.norm1.weight"),
        ("model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"),
        ("model.visual.merger.ln_q.weight", "model.visual.merger.ln_q.weight"),
        ("model.language_model.norm.weight", "model.language_model.norm.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_names_of_either_generation_become_todays(old: str, new: str):
    assert mllm_name(old) == new
    assert mllm_name(mllm_name(old)) == new


def test_only_the_translations_tensors_are_taken_for_it():
    assert translation_name("learnable_query.param.weight") == "learnable_query.weight"
    assert translation_name("connector.pos_embed") == "connector.pos_embed"
    assert translation_name("model.layers.0.mlp.up_proj.weight") is None
