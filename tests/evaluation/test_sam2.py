"""Boxes and points of Seg-Zero and VisionReasoner drawn by SAM 2, through `conceptseg evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import Sam2Model

from conceptseg.errors import CheckpointError, InputError
from conceptseg.interfaces.cli import main
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.sam2 import load_sam2
from tests.fixtures.lens_layout import write_sam2
from tests.models.tiny import write_released, write_sam

CPU = torch.device("cpu")
ANSWER = '<think>…</think><answer>[{"bbox_2d": [84, 168, 420, 756], "point_2d": [210, 420]}]</answer>'


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sam2Model]:
    folder = tmp_path_factory.mktemp("sam2.1")
    return folder, write_sam2(folder)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    chance = np.random.default_rng(1)
    Image.fromarray(chance.integers(0, 255, (45, 70, 3), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), ((0, 25), (0, 50)))).save(folder / "mask.png")
    row = {"id": "a", "task": "camouflage", "level": "CD", "concept": "cat", "image": "a.png", "mask": "mask.png"}
    (folder / "samples.jsonl").write_text(json.dumps(row | {"references": []}) + "\n")
    return folder


@torch.no_grad()
def test_a_box_and_a_point_are_drawn_by_sam_2(sam2, sample, tmp_path, monkeypatch):
    folder, original = sam2
    write_released(tmp_path / "mllm")
    write_sam(tmp_path / "sam3")
    monkeypatch.setattr(Reasoner, "generate", lambda self, prompts, **_: SimpleNamespace(texts=[ANSWER] * len(prompts)))
    words = ["evaluate", "--method", "seg-zero", "--option", f"sam2={folder}", "--data", str(sample)]
    words += ["--model", f"{tmp_path / 'mllm'}+{tmp_path / 'sam3'}", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    pixels = np.asarray(Image.open(sample / "a.png").resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float32)
    scaled = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    frame = 64 / 840
    output = original(
        pixel_values=torch.from_numpy(scaled).permute(2, 0, 1)[None].float(),
        input_boxes=torch.tensor([[[84.0, 168.0, 420.0, 756.0]]]) * frame,
        input_points=torch.tensor([[[[210.0, 420.0]]]]) * frame,
        input_labels=torch.ones(1, 1, 1, dtype=torch.int),
    )
    best = output.pred_masks[:, 0, output.iou_scores[0, 0].argmax()][:, None]
    expected = F.interpolate(best, size=(45, 70), mode="bilinear", align_corners=False)[0, 0] > 0
    (mask,) = (tmp_path / "run").rglob("000000.png")
    assert expected.any() and (np.asarray(Image.open(mask)) > 0).tolist() == expected.tolist()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["options"] == {"sam2": str(folder)}


def test_what_serves_videos_is_left_out_and_nothing_else(sam2, tmp_path):
    folder, original = sam2
    mine = load_sam2(str(folder), device=CPU).state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in original.state_dict().items())
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = load_file(tmp_path / "model.safetensors") | {"mask_decoder.more.bias": torch.zeros(1)}
    del tensors["no_memory_embedding"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"2 tensors are .*: mask_decoder\.more\.bias, no_memory_embedding"):
        load_sam2(str(tmp_path), device=CPU)


def test_what_is_no_sam_2_is_named(tmp_path):
    write_sam(tmp_path)
    with pytest.raises(CheckpointError, match="is not SAM 2 but 'sam3_video'"):
        load_sam2(str(tmp_path), device=CPU)
    with pytest.raises(InputError, match=r"SAM 2: there is no folder 'nothing'.*--option sam2"):
        load_sam2("nothing", device=CPU)
