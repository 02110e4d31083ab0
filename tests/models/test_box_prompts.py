"""Box prompts: SAM 3's own path through its own method, but for the pooling; as tokens, so that features are reused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers.models.sam3 import modeling_sam3

from conceptseg.errors import InputError
from conceptseg.models.loading import load_parts
from conceptseg.models.roi_align import roi_align
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter
from tests.models.tiny import write_sam

BOXES = [(0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 0.5)]


@pytest.fixture(scope="module")
def segmenter(released_folder: Path, sam_folder: Path) -> PromptSegmenter:
    return load_parts(released_folder, sam=sam_folder).segmenter


@pytest.fixture(scope="module")
def features(segmenter: PromptSegmenter) -> ImageFeatures:
    pictures = [Image.effect_noise((40, 30), 80).convert("RGB"), Image.linear_gradient("L").convert("RGB")]
    with torch.no_grad():
        return segmenter.encode(segmenter.preprocess(pictures))


def test_it_is_what_sam_3_does_with_input_boxes(
    segmenter: PromptSegmenter, features: ImageFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    untouched = write_sam(tmp_path)  # the same weights, with transformers' own box encoder
    lent = SimpleNamespace(ops=SimpleNamespace(roi_align=lambda f, boxes, size: roi_align(f, torch.stack(boxes), size)))
    monkeypatch.setattr(modeling_sam3, "torchvision", lent, raising=False)
    tokens = segmenter.tokenizer(["cat", "a b"], padding=True, return_tensors="pt")
    centred = torch.tensor([[[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]] for x1, y1, x2, y2 in BOXES])
    with torch.no_grad():
        theirs = untouched(
            vision_embeds=features.vision,
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            input_boxes=centred,
        )
        ours = segmenter.decode_box(features, BOXES, ["cat", "a b"])
    torch.testing.assert_close(ours.semantic, theirs.semantic_seg.squeeze(1))
    torch.testing.assert_close(ours.presence, theirs.presence_logits.squeeze(-1))


@torch.no_grad()
def test_the_box_matters_and_no_box_is_the_text_alone(segmenter: PromptSegmenter, features: ImageFeatures):
    with_box = segmenter.decode_box(features, [BOXES[0], None], ["cat", "cat"]).semantic
    moved = segmenter.decode_box(features, [(0.5, 0.5, 1.0, 1.0), None], ["cat", "cat"]).semantic
    alone = segmenter.decode(features, segmenter.embed_text(["cat", "cat"])).semantic
    assert (with_box[0] - moved[0]).abs().max() > 1e-6
    torch.testing.assert_close(with_box[1], alone[1])


def test_one_box_an_image(segmenter: PromptSegmenter, features: ImageFeatures):
    with pytest.raises(InputError, match="got 1 boxes, 2 images"):
        segmenter.embed_boxes(features, [None])


@torch.no_grad()
def test_autocast_leaves_the_weights_alone_and_the_masks_about_where_they_are(
    segmenter: PromptSegmenter, features: ImageFeatures
):
    low = PromptSegmenter(segmenter.sam, segmenter.tokenizer, autocast=torch.bfloat16)
    assert low.embed_text(["cat"]).embeds.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in low.sam.parameters()} == {torch.float32}
    exact = segmenter.decode_box(features, BOXES, ["cat", "cat"]).semantic
    about = low.decode_box(features, BOXES, ["cat", "cat"]).semantic
    assert (exact - about.float()).abs().max() < 0.05 * exact.abs().max() + 0.05
