"""Full-size geometry without full-size memory: published counts, a 7B-shaped header, memory estimates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Sam3Config, Sam3Model

from conceptseg.errors import CheckpointError, ResourceError
from conceptseg.models.full_size import KNOWN_MODELS, RELEASED_7B, qwen2_5_vl_config
from conceptseg.models.memory import check_memory, explain_out_of_memory, required_memory
from conceptseg.models.released_layout import check_fit, expected_shapes, mllm_config, mllm_name, translation_config
from conceptseg.models.tensor_files import TensorInfo
from conceptseg.models.translation import TranslationConfig
from tests.models.interop import qwen_7b_table, translation_table

GIB = 2**30


def headers(table: dict[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(Path("x"), shape, "BF16", 0) for name, shape in table.items()}


@pytest.mark.parametrize(("size", "published"), [("3B", 3_754_622_976), ("7B", 8_292_166_656)])
def test_qwen_at_full_size_has_the_published_number_of_parameters(size: str, published: int):
    with torch.device("meta"):
        mllm = Qwen2_5_VLForConditionalGeneration(qwen2_5_vl_config(size))
        mllm.tie_weights()
    assert sum(parameter.numel() for parameter in mllm.parameters()) == published
    assert KNOWN_MODELS[f"Qwen/Qwen2.5-VL-{size}-Instruct"].parameters == published


def test_sam_3_at_full_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        sam = Sam3Model(Sam3Config())
    assert sum(parameter.numel() for parameter in sam.parameters()) == KNOWN_MODELS["facebook/sam3"].parameters
    assert sam.config.image_size == 1008
    assert sam.config.text_config.max_position_embeddings == 32


@pytest.mark.parametrize("queries", [8, 16])
def test_a_7b_shaped_header_maps_with_no_key_left_over(queries: int):
    table = qwen_7b_table() | translation_table(3584, queries, 256)
    config = qwen2_5_vl_config("7B")
    sizes = translation_config(headers(table))
    assert sizes == TranslationConfig(hidden_size=3584, prompt_size=256, num_queries=queries, depth=4, num_heads=16)
    check_fit(headers(table), config, sizes)
    assert {mllm_name(name): shape for name, shape in qwen_7b_table().items()} == expected_shapes(config)


def test_a_7b_config_of_the_older_type_is_read_off_the_tensors():
    table = qwen_7b_table()
    raw = qwen2_5_vl_config("7B").to_dict() | {"model_type": "qwen2_vl"}
    raw["vision_config"] = {"hidden_size": 3584, "embed_dim": 1280, "num_heads": 16, "window_size": 112}
    vision = mllm_config(raw, headers(table)).vision_config
    sizes = (vision.depth, vision.hidden_size, vision.intermediate_size, vision.out_hidden_size, vision.patch_size)
    assert sizes == (32, 1280, 3420, 3584, 14)
    assert (vision.spatial_merge_size, vision.temporal_patch_size, vision.in_channels) == (2, 2, 3)


def test_a_3b_header_is_not_taken_for_a_7b():
    with pytest.raises(CheckpointError, match=r"of another shape: .*instead of \[152064, 3584\]"):
        check_fit(headers(qwen_7b_table() | {"lm_head.weight": (151936, 2048)}), qwen2_5_vl_config("7B"), None)


def test_memory_of_the_released_7b():
    sizes = KNOWN_MODELS[RELEASED_7B].translation
    full, half, eighth, quarter = required_memory(qwen2_5_vl_config("7B"), Sam3Config(), sizes, bits=(32, 16, 8, 4))
    assert full.mllm == 4 * 8_292_166_656 and half.mllm == 2 * 8_292_166_656
    # The language model's linear layers are 28·(3584·(2·3584 + 2·512 + 3·18944)) = 6 525 288 448 parameters.
    linear = 28 * 3584 * (2 * 3584 + 2 * 512 + 3 * 18944)
    assert eighth.mllm == 2 * (8_292_166_656 - linear) + linear
    assert quarter.mllm == int(2 * (8_292_166_656 - linear) + linear * 4.127 / 8)
    assert half.sam == 4 * 840_376_374
    width = 3584
    blocks = 4 * (12 * width**2 + 9 * width + 6 * width)  # q, kv, proj, fc1, fc2 with biases; three norms
    rest = 2 * 8 * width + width**2 + width + 256 * width + 256
    assert half.translation == 4 * (blocks + rest)
    assert half.cache == 2 * 28 * 4 * 128 * 2 * (2 * 21 * 21 + 400 + 768)
    assert full.total > half.total > eighth.total > quarter.total


def test_memory_without_sam_3_and_with_a_batch():
    (one,) = required_memory(qwen2_5_vl_config("3B"), None, None, bits=(16,))
    (four,) = required_memory(qwen2_5_vl_config("3B"), None, None, bits=(16,), batch_size=4)
    assert (one.sam, one.translation) == (0, 0)
    assert four.cache == 4 * one.cache and four.mllm == one.mllm


def test_a_model_larger_than_the_device_is_refused_with_what_would_fit(monkeypatch: pytest.MonkeyPatch):
    estimates = required_memory(qwen2_5_vl_config("7B"), None, None, bits=(32, 16, 8, 4))
    monkeypatch.setattr("conceptseg.models.memory.device_memory", lambda device: 12 * GIB)
    with pytest.raises(
        ResourceError, match=r"needs about 16\.\d GiB with 16-bit .* has 12\.0 GiB .* With --bits 8 it needs"
    ):
        check_memory(torch.device("cpu"), estimates, 16)
    check_memory(torch.device("cpu"), estimates, 8)
    monkeypatch.setattr("conceptseg.models.memory.device_memory", lambda device: None)
    check_memory(torch.device("cpu"), estimates, 32)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), MemoryError()])
def test_running_out_of_memory_is_said_in_words(error: Exception):
    with (
        pytest.raises(
            ResourceError,
            match=r"Out of memory while loading the MLLM.*--batch-size.*--bits 4.*--device-map auto.*bits, device_map",
        ),
        explain_out_of_memory("loading the MLLM"),
    ):
        raise error


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device with 32 GiB")
@pytest.mark.parametrize("size", ["3B", "7B"])
def test_one_image_runs_end_to_end_at_full_size_with_random_weights(size: str):
    script = Path(__file__).parents[2] / "benchmarks" / "full_size.py"
    command = [sys.executable, str(script), "--size", size, "--device", "cuda", "--tokens", "16"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert row[0] == f"Qwen2.5-VL-{size} + SAM 3"
    assert all(float(cell) > 0 for cell in row[2:])
