import torch

from nano.architecture import FRAME_PX, SEGMENTER_PX, build_nano

TEXTS = ["hidden crab", "Segment every grapes, wherever it is.", "find : boxes . check"]


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


def test_object_queries_begin_apart_and_look_around_themselves():
    decoder = build_nano(TEXTS, ["crab"]).segmenter.sam.detr_decoder
    boxes = decoder.reference_points.weight.sigmoid()
    assert len(torch.unique(boxes[:, :2].round(decimals=4), dim=0)) == len(boxes)
    assert torch.allclose(boxes[:, 2:], torch.tensor(0.25))
    bias = decoder._get_rpb_matrix(boxes[None], (torch.tensor(8), torch.tensor(8)))[0, 0].view(-1, 8, 8)
    inside = bias[0, :2, 0]  # the first query's box covers the top left corner
    assert inside.mean() - bias[0, 6:, 6:].mean() > 3
