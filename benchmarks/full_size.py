"""Qwen2.5-VL and SAM 3 at full size with random weights: seconds by stage and peak memory, without any download.

python benchmarks/full_size.py --size 7B --device cuda     # prints a Markdown table
python benchmarks/full_size.py --size 3B --device cpu --layers 1 --tokens 4      # a try of the script itself

What random weights say is nonsense, but it takes as long: responses always have `--tokens` tokens, mosaic and target
are 588 pixels wide, SAM 3 sees 1008.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from PIL import Image
from transformers import PreTrainedConfig, PreTrainedModel, Qwen2_5_VLForConditionalGeneration, Sam3Config, Sam3Model
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from conceptseg import ConceptSegmenter, Reference
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel, ProtocolConfig
from conceptseg.models.full_size import qwen2_5_vl_config
from conceptseg.models.processing import ReasonerProcessor
from conceptseg.models.reasoner import Reasoner
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.small_tokenizer import build_tokenizer
from conceptseg.models.translation import ConceptTranslation, TranslationConfig

_GIB = 2**30


class _Endless(Reasoner):
    """A reasoner that goes on to the token limit: of random weights' tokens this one is as unlikely as any."""

    @property
    def end_token_id(self) -> int:
        return int(self.mllm.config.text_config.vocab_size) - 1


def build(options: argparse.Namespace) -> ConceptSegModel:
    """A model with random weights, made on the device itself."""
    device = torch.device(options.device)
    tokenizer = build_tokenizer(["the odd one out"])
    config = qwen2_5_vl_config(options.size)
    for name in ("image_pad", "vision_start", "vision_end"):
        key = "image_token_id" if name == "image_pad" else f"{name}_token_id"
        setattr(config, key, tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
    sam_config = Sam3Config()
    if options.layers:
        config.text_config.num_hidden_layers = config.vision_config.depth = options.layers
        config.text_config.layer_types = config.text_config.layer_types[: options.layers]
        sam_config.vision_config.backbone_config.num_hidden_layers = options.layers
        sam_config.text_config.num_hidden_layers = options.layers
    mllm = _random(Qwen2_5_VLForConditionalGeneration, config, device, torch.bfloat16)
    sam = _random(Sam3Model, sam_config, device, torch.float32)
    with device:
        translation = ConceptTranslation(TranslationConfig(hidden_size=config.text_config.hidden_size))
    protocol = ProtocolConfig(max_new_tokens=options.tokens)
    processor = ReasonerProcessor(Qwen2VLImageProcessorPil(patch_size=14, merge_size=2), tokenizer)
    segmenter = PromptSegmenter(
        sam, build_tokenizer(["cat"], wrap=True), autocast=torch.bfloat16 if device.type == "cuda" else None
    )
    model_config = ConceptSegConfig(name="random", translation=translation.config, protocol=protocol)
    return ConceptSegModel(model_config, _Endless(mllm, processor), translation, segmenter).eval()


def _random(
    kind: type[PreTrainedModel], config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """A model of `kind` with small random weights of `dtype`."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return kind(config).eval()
    finally:
        torch.set_default_dtype(previous)


def measure(options: argparse.Namespace) -> None:
    """Build, answer once to warm up, answer again, and print."""
    torch.manual_seed(0)
    started = time.perf_counter()
    segmenter = ConceptSegmenter(build(options))
    built = time.perf_counter() - started
    picture = Image.effect_noise((800, 600), 60).convert("RGB")
    references = [Reference(picture, box=(40.0 * n, 50.0, 300.0, 400.0)) for n in range(1, 5)]
    answers = [segmenter(picture, "the odd one out here", references, route="reason") for _ in range(2)]
    stages = answers[-1].timings
    weights = sum(p.numel() * p.element_size() for p in segmenter.model.parameters())
    cells = [f"{stages[stage]:.2f}" for stage in ("encode", "reason", "decode")]
    print("| model | device | new tokens | weights GiB | peak GiB | encode s | reason s | decode s | build s |")
    print("|---|---|---|---|---|---|---|---|---|")
    row = [f"Qwen2.5-VL-{options.size} + SAM 3", _name_of(options.device), str(options.tokens)]
    row += [f"{weights / _GIB:.1f}", f"{_peak_bytes(options.device) / _GIB:.1f}", *cells, f"{built:.1f}"]
    print(f"| {' | '.join(row)} |", flush=True)


def _peak_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _name_of(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("3B", "7B"), default="7B")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of a response")
    parser.add_argument("--layers", type=int, help="keep only so many layers of every tower")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
