"""What SAM 3's decoder keeps for the way back to the concept tokens, counted for memory estimates."""

from __future__ import annotations

from typing import Any

from conceptseg.models.sam_files import SamConfig

__all__ = ["segmenter_activations"]


def segmenter_activations(config: SamConfig) -> int:
    """Values that one image's mask keeps for gradients: of the DETR encoder and decoder, pixel decoder and heads.

    The factors were fitted to what autograd saves in `Sam3Model` at sizes that fit a test; the image encoder keeps
    nothing, it runs without gradients.
    """
    encoder: Any = config.detr_encoder_config
    decoder: Any = config.detr_decoder_config
    vision: Any = config.vision_config
    height, width = vision.backbone_feature_sizes[-1]
    size, layers = encoder.hidden_size, encoder.num_layers
    a_token = size * (71 + 8.4 * decoder.num_layers + 10 * layers) + 1.07 * encoder.intermediate_size * layers
    a_query = decoder.num_layers * (19 * size + decoder.intermediate_size)
    return int(height * width * a_token + decoder.num_queries * a_query)
