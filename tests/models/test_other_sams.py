"""SAM 3.1 brought into transformers' form, and SAM3-LiteText: both stand where SAM 3 does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Sam3Config

from conceptseg.errors import CheckpointError, InputError
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.cli import main
from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.loading import load_parts
from conceptseg.models.meta_layout import never_read, places_of
from conceptseg.models.sam_files import sam_model
from conceptseg.models.sam_import import import_sam
from tests.models.metas_sam import metas_tensors
from tests.models.tiny import write_lite_text, write_sam

IMAGE = Image.new("RGB", (60, 40), "orange")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM 3.1 by Meta's names in one safetensors file, with the tokenizer and a config that tells its size."""
    folder = tmp_path_factory.mktemp("sam3.1")
    sam = write_sam(folder)
    (folder / "model.safetensors").unlink()
    save_file(metas_tensors(sam.state_dict()), folder / "sam3.1_multiplex.safetensors")
    return folder


def described(folder: Path, **changes: torch.Tensor | None) -> Path:
    """The weights of a folder with some tensors replaced or, as None, taken out."""
    file = folder / "sam3.1_multiplex.safetensors"
    tensors = {name: tensor for name, tensor in (load_file(file) | changes).items() if tensor is not None}
    file.unlink()
    save_file(tensors, file)
    return folder


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def test_the_detector_of_sam_3_1_is_sam_3_under_other_names(published, tmp_path, capsys):
    folder = tmp_path / "sam3.1-hf"
    assert main(["models", "import", str(published), str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "the detector of SAM 3.1: use it with --sam" in printed
    assert "the tracker (1 tensors)" in printed and "the necks of the tracker (2 tensors)" in printed
    assert "4 tensors whose result is never read are not in it, and are zeros" in printed
    original = write_sam(tmp_path / "original", video=False).state_dict()
    brought = load_file(folder / "model.safetensors")
    assert brought.keys() == original.keys()
    for name, tensor in original.items():
        assert never_read(name) or torch.equal(brought[name], tensor), name


def test_it_draws_as_the_sam_3_that_it_is(published, tmp_path, released_folder):
    assert main(["models", "import", str(published), str(tmp_path / "converted")]) == 0
    write_sam(tmp_path / "original")
    drawn = []
    for name in ("original", "converted"):
        segmenter = ConceptSegmenter.from_pretrained(released_folder, sam=tmp_path / name, device="cpu")
        parts = segmenter.model.segmenter
        features = parts.encode(parts.preprocess([IMAGE]))
        drawn.append(parts.decode_box(features, [(0.1, 0.1, 0.6, 0.7)], ["cat"]))
    assert torch.equal(drawn[0].semantic, drawn[1].semantic) and torch.equal(drawn[0].presence, drawn[1].presence)


def test_results_say_that_the_translation_was_trained_with_another_sam(published, tmp_path, released_folder):
    assert main(["models", "import", str(published), str(tmp_path / "converted")]) == 0
    options = {"device": "cpu", "protocol": {"max_new_tokens": 2}}
    own = ConceptSegmenter.from_pretrained(released_folder, sam=tmp_path / "converted", **options)
    notes = own(IMAGE, "the cat behind the other cat there").notes
    assert any("SAM 3.1's detector, another SAM 3 than the concept translation was trained with" in n for n in notes)
    assert open_checkpoint(str(released_folder), sam=str(tmp_path / "converted")).has_own_sam is False


def test_sam_3_by_metas_names_comes_the_same_way(tmp_path):
    sam = write_sam(tmp_path / "sam3", video=False)
    (tmp_path / "sam3" / "model.safetensors").unlink()
    save_file(metas_tensors(sam.state_dict(), version="3"), tmp_path / "sam3" / "sam3.safetensors")
    assert main(["models", "import", str(tmp_path / "sam3"), str(tmp_path / "ours")]) == 0
    brought = load_file(tmp_path / "ours" / "model.safetensors")
    assert all(torch.equal(brought[name], tensor) for name, tensor in sam.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"detector.transformer.decoder.instance_query_embed.weight": torch.zeros(1, 16)},
         r"1 have no place in a Sam3Model: detector\.transformer\.decoder\.instance_query_embed\.weight"),
        ({"detector.dot_prod_scoring.hs_proj.bias": None}, r"1 are missing: dot_product_scoring\.query_proj\.bias"),
        ({"detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.bias": torch.zeros(30)},
         r"1 are of another shape: detector\.backbone\.vision_backbone\.trunk\.blocks\.0\.attn\.qkv\.bias"),
    ],
)  # fmt: skip
def test_every_tensor_has_its_place(copy, tmp_path, changes, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        import_sam(described(copy, **changes), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_two_tensors_never_share_a_place():
    taken = ["detector.transformer.encoder.layers.0.linear1.bias", "detector.detr_encoder.layers.0.mlp.fc1.bias"]
    with pytest.raises(CheckpointError, match=r"both belong at detr_encoder\.layers\.0\.mlp\.fc1\.bias"):
        places_of(taken)


def test_copies_without_the_pooled_texts_projection_are_taken(copy, tmp_path):
    source = described(copy, **{"detector.backbone.language_backbone.encoder.text_projection": None})
    import_sam(source, tmp_path / "ours")
    assert not load_file(tmp_path / "ours" / "model.safetensors")["text_encoder.text_projection.weight"].any()


def test_the_published_pickle_is_refused_with_the_way_around_it(tmp_path, capsys):
    assert main(["models", "import", "facebook/sam3.1", str(tmp_path / "ours")]) == 2
    told = capsys.readouterr().err
    assert "docs/full_size.md says how to bring its pickle file" in told and len(told.splitlines()) == 1


def test_a_full_folder_is_left_alone(published, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty: name a new folder"):
        import_sam(published, tmp_path)


def test_unconverted_it_is_one_line_that_names_the_command(published, released_folder):
    with pytest.raises(CheckpointError, match=r"holds SAM 3\.1 under the names of Meta.*conceptseg models import"):
        open_checkpoint(str(released_folder), sam=str(published))


def test_the_published_geometry_has_a_place_for_everything():
    with torch.device("meta"):
        state = sam_model(Sam3Config()).state_dict()
    read = {name for name in state if not never_read(name)}
    assert len(state) - len(read) == 5  # two convolutions, with their biases, and the projection


@pytest.fixture(scope="module")
def lite_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("litetext")
    write_lite_text(folder)
    return folder


class TestLiteText:
    """SAM 3 with the text encoder of SAM3-LiteText."""

    def test_texts_in_a_batch_are_as_alone(self, lite_text, released_folder):
        parts = load_parts(released_folder, sam=lite_text).segmenter
        together = parts.embed_text(["cat", "find the cat"])
        for row, text in enumerate(("cat", "find the cat")):
            alone = parts.embed_text([text])
            assert alone.embeds.shape == together.embeds[:1].shape == (1, 32, 16)
            assert torch.allclose(alone.embeds[0], together.embeds[row], atol=1e-6)
            assert torch.equal(alone.mask[0], together.mask[row])

    def test_it_answers_on_the_command_line(self, lite_text, released_folder, tmp_path, capsys):
        IMAGE.save(tmp_path / "a.png")
        command = ["segment", str(tmp_path / "a.png"), "--concept", "cat", "--model", str(released_folder)]
        words = [*command, "--sam", str(lite_text), "--device", "cpu", "--route", "reason", "--max-new-tokens", "2"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        row = json.loads((tmp_path / "out" / "results.jsonl").read_text())
        assert any("by SAM3-LiteText, another SAM 3" in note for note in row["notes"])
        assert (tmp_path / "out" / "a.mask.png").is_file()

    def test_boxes_prompt_it_too(self, lite_text, released_folder):
        parts = load_parts(released_folder, sam=lite_text).segmenter
        features = parts.encode(parts.preprocess([IMAGE]))
        assert parts.decode_box(features, [(0.1, 0.1, 0.6, 0.7)], ["cat"]).semantic.isfinite().all()
