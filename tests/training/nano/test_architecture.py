import pytest
import torch

from conceptseg.training.nano.architecture import FRAME_PX, SEGMENTER_PX, build_nano, build_tokenizer

TEXTS = ["hidden crab", "Segment every grapes, wherever it is.", "find : boxes . check"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS)


def test_every_coordinate_tag_and_known_word_is_one_token(tokenizer):
    text = "<check>[0, 34, 168, 9]</check>"
    assert tokenizer.tokenize(text) == ["<check>", "[", "0", ", ", "34", ", ", "168", ", ", "9", "]", "</check>"]
    assert tokenizer.tokenize("hidden crab") == ["hidden", "Ġcrab"]


@pytest.mark.parametrize(
    "text", ["<rule>Segment every grapes, wherever it is.</rule>", "zebra ünïcode 你好 169 1234", "a\n b"]
)
def test_any_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_the_segmenters_texts_are_wrapped():
    ids = build_tokenizer(TEXTS, wrap=True)("hidden crab").input_ids
    assert len(ids) == 4
    assert ids[0] != ids[-1]


def test_nano_is_small_and_the_same_for_the_same_seed():
    one, two = build_nano(TEXTS, ["crab"], seed=3), build_nano(TEXTS, ["crab"], seed=3)
    assert sum(p.numel() for p in one.parameters()) <= 30e6
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.config.protocol.frame_px == FRAME_PX
    assert one.segmenter.image_px == SEGMENTER_PX


def test_neighbouring_coordinates_start_as_neighbours():
    model = build_nano(TEXTS, ["crab"])
    ids = model.reasoner.processor.tokenizer.convert_tokens_to_ids(["50", "51", "120"])
    near, next_to, far = torch.nn.functional.normalize(model.reasoner.mllm.get_input_embeddings().weight[ids], dim=1)
    assert near @ next_to > 0.8
    assert near @ far < 0.4
