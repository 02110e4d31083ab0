"""The files of a checkpoint as hubs, tools and caches leave them: each form loads, or is one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conceptseg.errors import ConceptSegError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from tests.models.tiny import write_released, write_sam

QUESTION = Prompt((Image.new("RGB", (60, 40), "orange"),), "Where is the cat?", "Be brief.")


@pytest.fixture(scope="module")
def answer(released_folder: Path, sam_folder: Path) -> list[str]:
    return said(released_folder, sam_folder)


@pytest.fixture
def copy(released_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released_folder, tmp_path / "copy"))


def said(folder: Path, sam: Path) -> list[str]:
    model = ConceptSegModel.from_pretrained(folder, sam=sam, device="cpu", protocol={"max_new_tokens": 4})
    return model.reason([QUESTION]).texts


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def newer_dtype(folder: Path) -> None:
    config = read(folder, "config.json")
    write(folder, "config.json", config | {"dtype": config.pop("torch_dtype")})


def nested_config(folder: Path) -> None:
    """As transformers of today saves it: parts nested, rotary parameters under their new name."""
    ConceptSegModel.from_pretrained(folder, with_sam=False).reasoner.mllm.config.save_pretrained(folder)


def rotary_of_4_57(folder: Path) -> None:
    config = read(folder, "config.json")
    config["rope_scaling"] |= {"rope_type": "default", "type": "default"}
    write(folder, "config.json", config)


def processor_config_alone(folder: Path) -> None:
    inner = read(folder, "preprocessor_config.json")
    (folder / "preprocessor_config.json").unlink()
    write(folder, "processor_config.json", {"image_processor": inner, "processor_class": "Qwen2_5_VLProcessor"})


def older_processor_name(folder: Path) -> None:
    inner = read(folder, "preprocessor_config.json") | {"image_processor_type": "Qwen2_5_VLImageProcessor"}
    write(folder, "preprocessor_config.json", inner)


def edges_for_pixels(folder: Path) -> None:
    inner = read(folder, "preprocessor_config.json")
    inner["size"] = {"shortest_edge": inner.pop("min_pixels"), "longest_edge": inner.pop("max_pixels")}
    write(folder, "preprocessor_config.json", inner)


def a_processor_for_videos(folder: Path) -> None:
    inner = read(folder, "preprocessor_config.json") | {"video_processor_type": "Qwen2VLVideoProcessor"}
    write(folder, "video_preprocessor_config.json", inner)


def template_in_a_file(folder: Path) -> None:
    config = read(folder, "tokenizer_config.json")
    template = config.pop("chat_template", None) or (folder / "chat_template.jinja").read_text()
    write(folder, "tokenizer_config.json", config)
    (folder / "chat_template.jinja").write_text(template)


def links_as_in_a_cache(folder: Path) -> None:
    blobs = folder.parent / "blobs"
    folder.rename(blobs)
    folder.mkdir()
    for file in blobs.iterdir():
        os.symlink(os.path.relpath(file, folder), folder / file.name)


def tied_copy_beside(folder: Path) -> None:
    (folder / "LICENSE").write_text("Apache-2.0")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / "consolidated.safetensors.tmp").write_bytes(b"x")


GOOD = [newer_dtype, nested_config, rotary_of_4_57, processor_config_alone, older_processor_name, edges_for_pixels,
        a_processor_for_videos, template_in_a_file, links_as_in_a_cache, tied_copy_beside]  # fmt: skip


@pytest.mark.parametrize("change", GOOD, ids=lambda change: change.__name__)
def test_another_form_of_the_same_files_answers_alike(copy, sam_folder, answer, change):
    change(copy)
    assert said(copy, sam_folder) == answer


def one_shard_less(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def no_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()


def an_adapter(folder: Path) -> None:
    for file in folder.glob("*"):
        file.unlink()
    write(folder, "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B"})
    save_file({"base_model.model.lora_A.weight": torch.zeros(1)}, folder / "adapter_model.safetensors")


def an_adapter_beside_a_config(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    write(folder, "adapter_config.json", {"peft_type": "LORA"})


def quantised(method: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write(folder, "config.json", read(folder, "config.json") | {"quantization_config": {"quant_method": method}})

    change.__name__ = method
    return change


def a_link_to_nothing(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    file.unlink()
    os.symlink("../../blobs/gone", file)


def one_tensor_more(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    save_file(load_file(file) | {"model.layers.0.mlp.more.weight": torch.zeros(1)}, file)


def no_image_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


BAD = [
    (one_shard_less, r"half downloaded: 1 of 2 files .* missing \(model-00002-of-00002\.safetensors\)"),
    (no_index, r"holds no weights: expected model\.safetensors, or shards with"),
    (an_adapter, r"holds a LoRA adapter of Qwen/Qwen2\.5-VL-7B, not a model\. Merge it"),
    (an_adapter_beside_a_config, r"holds a LoRA adapter, not a model\. Merge it"),
    (quantised("fp8"), r"stored quantised \(fp8\), which is not read.*--bits 8"),
    (quantised("gptq"), r"stored quantised \(gptq\), which is not read"),
    (a_link_to_nothing, r"half downloaded: 1 of 2 files .* missing \(model-00001-of-00002\.safetensors\)"),
    (one_tensor_more, r"1 not expected: model\.language_model\.layers\.0\.mlp\.more\.weight"),
    (no_image_processor, r"lacks the MLLM's tokenizer or image processor files"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_read_is_one_line(copy, sam_folder, change, complaint):
    change(copy)
    with pytest.raises(ConceptSegError, match=complaint) as caught:
        ConceptSegModel.from_pretrained(copy, sam=sam_folder, device="cpu")
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_a_sam_3_without_a_video_around_it(tmp_path, released_folder, answer):
    write_sam(tmp_path / "plain", video=False)
    assert said(released_folder, tmp_path / "plain") == answer


def test_a_folder_typed_qwen2_vl_with_nested_parts(tmp_path, sam_folder):
    write_released(tmp_path / "flat", kind="qwen2_vl")
    expected = said(tmp_path / "flat", sam_folder)
    nested_config(tmp_path / "flat")
    config = read(tmp_path / "flat", "config.json")
    config |= {"model_type": "qwen2_vl", "architectures": ["ConceptModelForConditionalGeneration"]}
    config["text_config"]["model_type"] = "qwen2_vl_text"
    config["vision_config"]["model_type"] = "qwen2_vl"
    write(tmp_path / "flat", "config.json", config)
    assert said(tmp_path / "flat", sam_folder) == expected
