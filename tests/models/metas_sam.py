"""SAM 3.1 as Meta's package stores it, made of a `Sam3Model`: the names put together part by part, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from tests.models.tiny import PROMPT

_ENDS = ("weight", "bias")


def metas_tensors(state: Mapping[str, torch.Tensor], *, version: str = "3.1") -> dict[str, torch.Tensor]:
    """The tensors of a detector under Meta's names, and some of what stands around it.

    Args:
        state: of a `Sam3Model`.
        version: "3.1" has a neck of three levels, three times over; "3" one of four, twice.
    """
    detector = dict(_trunk(state)) | dict(_neck(state, 3 if version == "3.1" else 4)) | dict(_words(state))
    for ours, theirs in (("geometry_encoder.layers", "geometry_encoder.encode"),
                         ("detr_encoder.layers", "transformer.encoder.layers")):  # fmt: skip
        detector |= dict(_encoder(state, ours, theirs))
    detector |= dict(_decoder(state)) | dict(_alone(state))
    detector["geometry_encoder.points_direct_project.weight"] = torch.zeros(PROMPT, 2)
    tensors = {f"detector.{name}": tensor.contiguous().clone() for name, tensor in detector.items()}
    for neck in ("interactive_convs", "propagation_convs") if version == "3.1" else ("sam2_convs",):
        tensors[f"detector.backbone.vision_backbone.{neck}.0.conv_1x1.bias"] = torch.zeros(PROMPT)
    tensors["tracker.model.maskmem_backbone.out_proj.bias"] = torch.zeros(4)
    return tensors


def _joined(state, ours, names):
    return torch.cat([state[ours.format(name)] for name in names])


def _trunk(state) -> Iterator[tuple[str, torch.Tensor]]:
    here, there = "vision_encoder.backbone.", "backbone.vision_backbone.trunk."
    places = state[here + "embeddings.position_embeddings"]
    yield there + "pos_embed", torch.cat([torch.full_like(places[:, :1], 7.0), places], dim=1)
    yield there + "patch_embed.proj.weight", state[here + "embeddings.patch_embeddings.projection.weight"]
    for end in _ENDS:
        yield there + f"ln_pre.{end}", state[here + f"layer_norm.{end}"]
        layer, block = here + "layers.0.", there + "blocks.0."
        yield block + f"attn.qkv.{end}", _joined(state, layer + "attention.{}_proj." + end, "qkv")
        yield block + f"attn.proj.{end}", state[layer + f"attention.o_proj.{end}"]
        for number in (1, 2):
            yield block + f"norm{number}.{end}", state[layer + f"layer_norm{number}.{end}"]
            yield block + f"mlp.fc{number}.{end}", state[layer + f"mlp.fc{number}.{end}"]


def _neck(state, levels) -> Iterator[tuple[str, torch.Tensor]]:
    scales = {0: {"0": "dconv_2x2_0", "2": "dconv_2x2_1"}, 1: {"0": "dconv_2x2"}, 2: {}, 3: {}}
    for level in range(levels):
        here, there = f"vision_encoder.neck.fpn_layers.{level}.", f"backbone.vision_backbone.convs.{level}."
        for end in _ENDS:
            for place, name in scales[level].items():
                yield there + f"{name}.{end}", state[here + f"scale_layers.{place}.{end}"]
            yield there + f"conv_1x1.{end}", state[here + f"proj1.{end}"]
            yield there + f"conv_3x3.{end}", state[here + f"proj2.{end}"]


def _words(state) -> Iterator[tuple[str, torch.Tensor]]:
    here, there = "text_encoder.text_model.", "backbone.language_backbone.encoder."
    yield there + "token_embedding.weight", state[here + "embeddings.token_embedding.weight"]
    yield there + "positional_embedding", state[here + "embeddings.position_embedding.weight"]
    yield there + "text_projection", state["text_encoder.text_projection.weight"].T
    layer, block = here + "encoder.layers.0.", there + "transformer.resblocks.0."
    for end in _ENDS:
        yield there + f"ln_final.{end}", state[here + f"final_layer_norm.{end}"]
        yield block + f"attn.in_proj_{end}", _joined(state, layer + "self_attn.{}_proj." + end, "qkv")
        yield block + f"attn.out_proj.{end}", state[layer + f"self_attn.out_proj.{end}"]
        yield block + f"mlp.c_fc.{end}", state[layer + f"mlp.fc1.{end}"]
        yield block + f"mlp.c_proj.{end}", state[layer + f"mlp.fc2.{end}"]
        for number in (1, 2):
            yield block + f"ln_{number}.{end}", state[layer + f"layer_norm{number}.{end}"]
        yield f"backbone.language_backbone.resizer.{end}", state[f"text_projection.{end}"]


def _attention(state, here, there) -> Iterator[tuple[str, torch.Tensor]]:
    for end in _ENDS:
        yield f"{there}.in_proj_{end}", _joined(state, here + ".{}_proj." + end, "qkv")
        yield f"{there}.out_proj.{end}", state[f"{here}.o_proj.{end}"]


def _encoder(state, ours, theirs) -> Iterator[tuple[str, torch.Tensor]]:
    yield from _attention(state, f"{ours}.0.self_attn", f"{theirs}.0.self_attn")
    yield from _attention(state, f"{ours}.0.cross_attn", f"{theirs}.0.cross_attn_image")
    for end in _ENDS:
        for number in (1, 2, 3):
            yield f"{theirs}.0.norm{number}.{end}", state[f"{ours}.0.layer_norm{number}.{end}"]
        for number in (1, 2):
            yield f"{theirs}.0.linear{number}.{end}", state[f"{ours}.0.mlp.fc{number}.{end}"]


def _decoder(state) -> Iterator[tuple[str, torch.Tensor]]:
    here, there = "detr_decoder.", "transformer.decoder."
    layer, theirs = here + "layers.0.", there + "layers.0."
    for ours, name in (("self_attn", "self_attn"), ("text_cross_attn", "ca_text"), ("vision_cross_attn", "cross_attn")):
        yield from _attention(state, layer + ours, theirs + name)
    norms = {"norm1": "vision_cross_attn_layer_norm", "catext_norm": "text_cross_attn_layer_norm",
             "norm2": "self_attn_layer_norm", "norm3": "mlp_layer_norm"}  # fmt: skip
    heads = {"bbox_embed": ("box_head", 3), "presence_token_head": ("presence_head", 3),
             "ref_point_head": ("ref_point_head", 2), "boxRPB_embed_x": ("box_rpb_embed_x", 2),
             "boxRPB_embed_y": ("box_rpb_embed_y", 2)}  # fmt: skip
    for end in _ENDS:
        for name, ours in norms.items():
            yield theirs + f"{name}.{end}", state[layer + f"{ours}.{end}"]
        for number in (1, 2):
            yield theirs + f"linear{number}.{end}", state[layer + f"mlp.fc{number}.{end}"]
        for name, (ours, depth) in heads.items():
            for step in range(depth):
                yield there + f"{name}.layers.{step}.{end}", state[here + f"{ours}.layer{step + 1}.{end}"]
        yield there + f"norm.{end}", state[here + f"output_layer_norm.{end}"]
        yield there + f"presence_token_out_norm.{end}", state[here + f"presence_layer_norm.{end}"]
    for name in ("query_embed", "reference_points", "presence_token"):
        yield there + f"{name}.weight", state[here + f"{name}.weight"]


def _alone(state) -> Iterator[tuple[str, torch.Tensor]]:
    for name in ("label_embed", "cls_embed"):
        yield f"geometry_encoder.{name}.weight", state[f"geometry_encoder.{name}.weight"]
    head, scoring = "segmentation_head.", "dot_prod_scoring."
    yield from _attention(state, "mask_decoder.prompt_cross_attn", head + "cross_attend_prompt")
    same = ("boxes_direct_project", "boxes_pool_project", "boxes_pos_enc_project", "final_proj")
    pairs = {f"geometry_encoder.{name}": f"geometry_encoder.{name}" for name in same} | {
        "geometry_encoder.img_pre_norm": "geometry_encoder.vision_layer_norm",
        "geometry_encoder.norm": "geometry_encoder.prompt_layer_norm",
        "geometry_encoder.encode_norm": "geometry_encoder.output_layer_norm",
        scoring + "prompt_mlp.layers.0": "dot_product_scoring.text_mlp.layer1",
        scoring + "prompt_mlp.layers.1": "dot_product_scoring.text_mlp.layer2",
        scoring + "prompt_mlp.out_norm": "dot_product_scoring.text_mlp_out_norm",
        scoring + "prompt_proj": "dot_product_scoring.text_proj",
        scoring + "hs_proj": "dot_product_scoring.query_proj",
        head + "cross_attn_norm": "mask_decoder.prompt_cross_attn_norm",
        head + "instance_seg_head": "mask_decoder.instance_projection",
        head + "semantic_seg_head": "mask_decoder.semantic_projection",
    }  # fmt: skip
    for place in range(3):
        pairs[head + f"mask_predictor.mask_embed.layers.{place}"] = f"mask_decoder.mask_embedder.layers.{place}"
        for kind in ("conv_layers", "norms"):
            pairs[head + f"pixel_decoder.{kind}.{place}"] = f"mask_decoder.pixel_decoder.{kind}.{place}"
    for theirs, ours in pairs.items():
        for end in _ENDS:
            yield f"{theirs}.{end}", state[f"{ours}.{end}"]
