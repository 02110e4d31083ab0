"""Checkpoints as the hub serves them: everything around the tensors is read as it is meant."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.quantizers.quantizers_utils import should_convert_module

from conceptseg.errors import CheckpointError
from conceptseg.inference import ConceptSegmenter
from conceptseg.models import loading
from conceptseg.models.conceptseg import ConceptSegModel, load_model
from conceptseg.models.loading import load_parts
from conceptseg.models.reasoner import Prompt, Reasoner
from conceptseg.models.released import import_checkpoint
from tests.fixtures.chat_templates import TEXT_ONLY, WITH_IMAGES
from tests.fixtures.hub_layout import QWEN, SAM3
from tests.fixtures.vocabularies import END_OF_TEXT, END_OF_TURN, IMAGE_PAD

PICTURE = Image.new("RGB", (56, 56), "red")
SMALL = {"frame_px": 112, "max_new_tokens": 5}


@pytest.fixture(scope="module")
def reasoner(hub_folders) -> Reasoner:
    """The reasoner of the Qwen2.5-VL; tests leave it as they found it."""
    return load_parts(f"{hub_folders.qwen}+{hub_folders.sam3}", with_sam=False).reasoner


def prompt(text: str = "find the animal") -> Prompt:
    return Prompt((PICTURE, PICTURE), text, "You are a helpful assistant.")


class TestProcessor:
    def test_the_published_names_are_found_and_their_images_are_shown(self, downloaded):
        parts = load_parts(f"{QWEN}+{SAM3}", lazy=True)
        assert parts.reasoner.processor.chat_template == WITH_IMAGES and parts.reasoner.processor.notes == ()
        shown = parts.reasoner.processor(text=[parts.reasoner.render(prompt())], images=[[PICTURE, PICTURE]])
        assert shown["input_ids"][0].count(IMAGE_PAD) == 2 * (56 // 28) ** 2
        start, *_, end = parts.segmenter.tokenizer("a cat").input_ids
        assert (start, end) == (49406, 49407)

    def test_a_text_only_template_alone_is_noticed_at_opening(self, hub_folders, tmp_path: Path):
        folder = copy_with(hub_folders.qwen, tmp_path, "chat_template.json", None)
        parts = load_parts(f"{folder}+{hub_folders.sam3}", lazy=True, protocol=SMALL)
        assert not parts.reasoner.is_loaded
        model = ConceptSegModel(parts.config, parts.reasoner, parts.translation, parts.segmenter)
        result = ConceptSegmenter(model)(PICTURE, "animal", route="reason")
        assert "Chat template: the form of Qwen2.5-VL, for that of the tokenizer shows no images." in result.notes

    def test_pictures_are_one_token_in_config_and_tokenizer(self, hub_folders, tmp_path: Path):
        raw = json.loads((hub_folders.qwen / "config.json").read_text()) | {"image_token_id": IMAGE_PAD + 1}
        folder = copy_with(hub_folders.qwen, tmp_path, "config.json", json.dumps(raw))
        with pytest.raises(
            CheckpointError, match=r"pictures are token 151655 in its tokenizer files and 151656 in its"
        ):
            load_parts(f"{folder}+{hub_folders.sam3}", lazy=True)

    def test_what_is_saved_opens_with_transformers_alone(self, hub_folders, tmp_path: Path):
        folder = import_checkpoint(hub_folders.released, tmp_path / "ours") / "mllm"
        names = {path.name for path in folder.iterdir()}
        assert {"preprocessor_config.json", "chat_template.jinja", "tokenizer_config.json"} <= names
        assert not any("ReasonerProcessor" in path.read_text() for path in folder.glob("*.json"))
        assert (folder / "chat_template.jinja").read_text() == WITH_IMAGES
        opened = AutoProcessor.from_pretrained(folder)
        inputs = opened.apply_chat_template(
            [{"role": "user", "content": [{"type": "image", "image": PICTURE}, {"type": "text", "text": "what?"}]}],
            tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]
        assert int((inputs["input_ids"] == IMAGE_PAD).sum()) == 4
        assert opened.image_processor.size["longest_edge"] == 12845056  # max_pixels


class TestWeights:
    def test_bits_leave_vision_tower_and_head_alone(self, reasoner: Reasoner):
        skipped = loading._quantisation(4).llm_int8_skip_modules
        with torch.device("meta"):
            mllm = Qwen2_5_VLForConditionalGeneration(reasoner.mllm.config)
        linear = [name for name, module in mllm.named_modules() if isinstance(module, torch.nn.Linear)]
        quantised = [name for name in linear if should_convert_module(name, skipped)]
        assert quantised == [name for name in linear if name.startswith("model.language_model.")]
        assert len(linear) - len(quantised) == 4 * 5 + 2 + 1  # vision: blocks, merger; the head

    def test_bits_on_this_cpu(self, hub_folders):
        pytest.importorskip("bitsandbytes")
        pytest.importorskip("accelerate")
        mllm = load_parts(f"{hub_folders.qwen}+{hub_folders.sam3}", with_sam=False, bits=4).reasoner.mllm
        kinds = {name: type(module).__name__ for name, module in mllm.named_modules()}
        packed = {name for name, kind in kinds.items() if kind == "Linear4bit"}
        assert len(packed) == 4 * 7 and all(name.startswith("model.language_model.") for name in packed)

    def test_an_import_answers_as_the_original(self, hub_folders, tmp_path: Path):
        ours = import_checkpoint(hub_folders.released, tmp_path / "ours", sam=str(hub_folders.sam3))
        results = [
            ConceptSegmenter(load_model(source, sam=str(hub_folders.sam3), protocol=SMALL))(
                PICTURE, "camouflaged animal", route="reason"
            )
            for source in (hub_folders.released, ours)
        ]
        assert results[0].response.text == results[1].response.text != ""
        assert (results[0].mask == results[1].mask).all()


class TestEnding:
    """Qwen2.5-VL may end with `<|im_end|>` or `<|endoftext|>`."""

    def test_both_end_tokens_count(self, reasoner: Reasoner):
        assert reasoner.end_token_ids == (END_OF_TURN, END_OF_TEXT)

    @pytest.mark.parametrize("end", [END_OF_TURN, END_OF_TEXT])
    def test_generation_stops_at_either_and_the_mask_ends_there(self, reasoner: Reasoner, end: int):
        with writing(reasoner, [[11, 12, end], [11, 12, 13, 14]]):
            generation = reasoner.generate([prompt("a"), prompt("a longer question")], max_new_tokens=4)
        assert generation.mask.tolist() == [[True, True, True, False], [True] * 4]
        assert generation.truncated == [False, True]
        assert generation.token_ids[0, :3].tolist() == [11, 12, end]

    def test_a_checkpoints_taste_is_left_to_chats(self, reasoner: Reasoner, tmp_path: Path):
        config = reasoner.mllm.generation_config
        assert (config.repetition_penalty, config.do_sample, config.temperature) == (None, None, None)
        reasoner.mllm.generation_config.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [
            END_OF_TURN,
            END_OF_TEXT,
        ]

    def test_greedy_decoding_warns_of_nothing(self, reasoner: Reasoner, monkeypatch: pytest.MonkeyPatch):
        said: list[str] = []
        monkeypatch.setattr("transformers.generation.configuration_utils.logger.warning_once", said.append)
        monkeypatch.setattr("transformers.generation.configuration_utils.logger.warning", said.append)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reasoner.generate([prompt()], max_new_tokens=1)
        assert said == []


class TestSampling:
    def test_a_batch_says_what_each_says_alone(self, reasoner: Reasoner):
        prompts = [prompt("a cat"), Prompt((PICTURE,), "the camouflaged animal in the target image"), prompt("a")]
        together = reasoner.generate(prompts, max_new_tokens=6)
        for row, alone in enumerate(reasoner.generate([one], max_new_tokens=6) for one in prompts):
            assert together.texts[row] == alone.texts[0]
            kept = together.hidden_states[row][together.mask[row]]
            torch.testing.assert_close(kept, alone.hidden_states[0], atol=2e-4, rtol=1e-3)

    def test_what_is_sampled_depends_on_the_seed_alone(self, reasoner: Reasoner):
        def sampled(seed: int) -> list[str]:
            torch.manual_seed(seed)
            return reasoner.generate([prompt()] * 2, max_new_tokens=4, temperature=1.0).texts

        assert sampled(1) == sampled(1) != sampled(2)
        assert len(set(sampled(1))) == 2  # the checkpoint's own top_k of 1 would make them one


class TestBoundary:
    """Prompt and response are tokenised apart, as generation has them."""

    @pytest.mark.parametrize("response", ["\n<think>the</think>\n", "<think>the</think>", " a", "\n\n"])
    def test_ids_are_those_of_both_joined(self, reasoner: Reasoner, response: str):
        asked = reasoner.encode([prompt()]).input_ids[0].tolist()
        joined = reasoner.encode([prompt()], [response]).input_ids[0].tolist()
        assert joined[: len(asked)] == asked
        assert joined[len(asked) :] == [*reasoner.processor.tokenizer(response).input_ids, END_OF_TURN]

    @pytest.mark.parametrize("response", ["a<|image_pad|>b", "a<|im_end|>b"])
    def test_control_tokens_that_a_response_spells_are_letters(self, reasoner: Reasoner, response: str):
        tokenizer = reasoner.processor.tokenizer
        asked = reasoner.encode([prompt()]).input_ids[0].tolist()
        *rest, end = reasoner.encode([prompt()], [response]).input_ids[0].tolist()[len(asked) :]
        assert end == END_OF_TURN and not {reasoner.processor.image_token_id, END_OF_TURN} & set(rest)
        assert tokenizer.decode(rest) == response

    def test_the_vocabulary_would_merge_across_it(self, reasoner: Reasoner):
        tokenizer = reasoner.processor.tokenizer
        assert tokenizer("assistant\n\n").input_ids != tokenizer("assistant\n").input_ids + tokenizer("\n").input_ids

    def test_rows_of_a_batch_are_left_padded(self, reasoner: Reasoner):
        both = reasoner.encode([prompt("a"), prompt("the camouflaged animal")], ["\nthe animal", "a"])
        for row, (text, said) in enumerate([("a", "\nthe animal"), ("the camouflaged animal", "a")]):
            alone = reasoner.encode([prompt(text)], [said])
            for name in ("input_ids", "mm_token_type_ids"):
                kept = both[name][row][both.attention_mask[row].bool()]
                assert kept.tolist() == alone[name][0].tolist()
            assert both.attention_mask[row].diff().ge(0).all()

    def test_states_of_a_written_response_are_those_of_its_generation(self, reasoner: Reasoner):
        said = reasoner.processor.tokenizer("\n\nthe animal").input_ids
        with writing(reasoner, [[*said, END_OF_TURN]]):
            generated = reasoner.generate([prompt()], max_new_tokens=len(said) + 1)
        with torch.no_grad():
            read = reasoner.hidden_states_of([prompt()], ["\n\nthe animal"])
        assert read.token_ids.tolist() == generated.token_ids.tolist()
        torch.testing.assert_close(read.hidden_states, generated.hidden_states, atol=2e-4, rtol=1e-3)


class writing:
    """Makes an MLLM write these tokens, a row each, whatever it would."""

    def __init__(self, reasoner: Reasoner, rows: list[list[int]]) -> None:
        self.head, self.rows, self.step = reasoner.mllm.lm_head, rows, 0

    def __enter__(self) -> None:
        self.hook = self.head.register_forward_hook(self._force)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _force(self, _module: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        there = [row for row in self.rows if self.step <= len(row)]  # one whose last token was read has left
        wanted = [row[min(self.step, len(row) - 1)] for row in there]
        self.step += 1
        forced = torch.zeros_like(logits)
        forced[range(len(wanted)), :, wanted] = 1.0
        return forced


def copy_with(folder: Path, tmp_path: Path, name: str, content: str | None) -> Path:
    """A copy (its weights linked) in which one file is another, or gone."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy", copy_function=os.symlink))
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    return copy


def test_the_fixture_is_what_the_hub_serves(hub_folders):
    """What makes the folders differ from what this package writes is really there."""
    tokenizer = json.loads((hub_folders.qwen / "tokenizer_config.json").read_text())
    assert tokenizer["chat_template"] == TEXT_ONLY and not (hub_folders.qwen / "chat_template.jinja").exists()
    index = json.loads((hub_folders.qwen / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) == 3
    assert {name.split(".")[0] for name in index} == {"model", "visual"}
    assert json.loads((hub_folders.released / "config.json").read_text())["model_type"] == "qwen2_vl"
