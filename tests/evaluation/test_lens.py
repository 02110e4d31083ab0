"""LENS end to end: its published layout through `conceptseg evaluate`, against its way worked out a second time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import Sam2Config

from conceptseg.evaluation.baselines.lens import framed_hw
from conceptseg.images import resize_image
from conceptseg.interfaces.cli import main
from conceptseg.models.lens import LensModel, load_lens
from conceptseg.models.reasoner import Prompt
from tests.fixtures.lens_layout import QUERIES, SAM2, Lens, write_lens
from tests.models.test_lens import token_of

SIZES = ((50, 70), (64, 40))
TOKENS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("LENS")


@pytest.fixture(scope="module")
def parts(folder: Path) -> Lens:
    return write_lens(folder)


@pytest.fixture(scope="module")
def model(folder: Path, parts: Lens) -> LensModel:
    return load_lens(folder, device="cpu", sam2_config=Sam2Config(**SAM2))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of noise with a mask each."""
    folder = tmp_path_factory.mktemp("data")
    chance = np.random.default_rng(0)
    samples = []
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(chance.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[:20, :20] = 255
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        samples.append({"id": str(number), "task": "camouflage", "level": "CD", "concept": "the cat",
                        "image": f"{number}.png", "mask": f"{number}_mask.png", "references": []})  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    return folder


def drawn_by_hand(parts: Lens, model: LensModel, image: Image.Image) -> np.ndarray:
    """The mask of a picture: pieces of transformers, put together as the layout's description has it."""
    processor, mllm = model.reasoner.processor, parts.mllm
    seen = resize_image(image, framed_hw((image.height, image.width), 1_000_000))
    question = 'Output the bounding box of "the cat" in the image.'
    prompt = Prompt((seen,), question, "You are a helpful assistant. ")
    inputs = model.reasoner.encode([prompt])
    ids = inputs.input_ids
    for _ in range(TOKENS):  # greedy, each step from the beginning
        types = (ids == processor.image_token_id).long()
        picture = {"pixel_values": inputs.pixel_values, "image_grid_thw": inputs.image_grid_thw}
        logits = mllm(input_ids=ids, mm_token_type_ids=types, attention_mask=torch.ones_like(ids), **picture).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
        if int(ids[0, -1]) in model.reasoner.end_token_ids:
            break
    words = mllm.get_input_embeddings()(ids)
    pictures = torch.cat(tuple(mllm.model.get_image_features(**picture).pooler_output))
    words = words.masked_scatter((ids == processor.image_token_id)[..., None], pictures)
    words = torch.cat([words, parts.head["learnable_query"]], dim=1)
    behind = torch.cat([ids, torch.full((1, QUERIES), model.reasoner.end_token_id)], dim=1)
    places, _ = mllm.model.get_rope_index(
        behind,
        (behind == processor.image_token_id).long(),
        inputs.image_grid_thw,
        attention_mask=torch.ones_like(behind),
    )
    states = mllm.model.language_model(inputs_embeds=words, position_ids=places, use_cache=False).last_hidden_state
    token = token_of(parts.head, states[0, -QUERIES:])
    pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float32)
    return sam2_mask(parts, token, pixels, (image.height, image.width))


def sam2_mask(parts: Lens, token: torch.Tensor, pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    sam2 = parts.sam2
    scaled = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    fine, finer, coarse = sam2.get_image_embeddings(torch.from_numpy(scaled).permute(2, 0, 1)[None].float())
    output = sam2.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=sam2.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=token[None, None, None],
        dense_prompt_embeddings=sam2.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(coarse),
        multimask_output=False,
        high_resolution_features=[fine, finer],
    )
    logits = F.interpolate(output[0][0], size=size_hw, mode="bilinear", align_corners=False)
    return (logits[0, 0] > 0).detach().numpy()


def test_every_tensor_of_the_layout_has_its_place(model, parts):
    for mine, theirs in ((model.sam2.state_dict(), parts.sam2.state_dict()), (model.head.state_dict(), parts.head)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())


@torch.no_grad()
def test_it_runs_from_its_published_layout_on_the_command_line(folder, parts, model, data, tmp_path, monkeypatch):
    monkeypatch.setattr("conceptseg.models.lens.hiera_large", lambda: Sam2Config(**SAM2))
    run = tmp_path / "run"
    words = ["evaluate", "--method", "lens", "--model", str(folder), "--data", str(data), "--device", "cpu"]
    words += ["--option", f"max_new_tokens={TOKENS}"]
    assert main([*words, "--out", str(run)]) == 0
    for number in range(len(SIZES)):
        image = Image.open(data / f"{number}.png").convert("RGB")
        (mask,) = run.rglob(f"{number:06d}.png")
        expected = drawn_by_hand(parts, model, image)
        assert expected.any() and not expected.all()
        assert (np.asarray(Image.open(mask)) > 0).tolist() == expected.tolist()
    assert json.loads((run / "run.json").read_text())["checkpoint"]["layout"] == "lens"
