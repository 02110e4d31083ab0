"""ConceptSeg-R1 as one model: reasoner, concept translation and segmenter, with their common on-disk form."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from conceptseg.data.loading import LoadedReference, lay_out
from conceptseg.errors import CheckpointError, InputError
from conceptseg.images import resize_image
from conceptseg.models.calibrated_router import ROUTER_FILE, CalibratedRouter, read_router
from conceptseg.models.calibration import CALIBRATION_FILE, Calibration, read_calibration
from conceptseg.models.config import CONFIG_FILE, CTM_FILE, PRIOR_FILE, ConceptSegConfig, ProtocolConfig
from conceptseg.models.loading import BUNDLED, load_parts
from conceptseg.models.matching import SeenReferences
from conceptseg.models.publishing import HubWriter, is_hub_id, push_folder, repository_for
from conceptseg.models.reasoner import Generation, Prompt, Reasoner
from conceptseg.models.segmenter import PromptSegmenter, PromptTokens
from conceptseg.models.translation import ConceptTranslation
from conceptseg.protocol import Mosaic, expected_parts, render_prompt
from conceptseg.words import check_words

__all__ = ["CONFIG_FILE", "CTM_FILE", "ConceptSegConfig", "ConceptSegModel", "ProtocolConfig", "load_model"]

_MLLM, _SAM = "mllm", "sam"
_UNFINISHED = ".part"
_SAMPLED = 64


class ConceptSegModel(nn.Module):
    """The three parts of Figure 3 and what passes between them; each part is usable alone."""

    def __init__(
        self,
        config: ConceptSegConfig,
        reasoner: Reasoner,
        translation: ConceptTranslation | None,
        segmenter: PromptSegmenter | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.reasoner = reasoner
        self.translation = translation
        self._segmenter = segmenter
        self.calibration: Calibration | None = None
        """What an answer's signs are worth, where that was measured (`conceptseg.models.calibration`)."""
        self.router: CalibratedRouter | None = None
        """When SAM 3 alone may answer, where that was learned (`conceptseg.models.calibrated_router`)."""

    @property
    def segmenter(self) -> PromptSegmenter:
        """SAM 3.

        Raises:
            CheckpointError: the model was loaded without.
        """
        if self._segmenter is None:
            raise CheckpointError(f"Model {self.config.name!r} was loaded without SAM 3, which draws the masks.")
        return self._segmenter

    @property
    def has_segmenter(self) -> bool:
        """Whether SAM 3 is there."""
        return self._segmenter is not None

    @property
    def device(self) -> torch.device:
        """Where SAM 3 and the concept translation live; inputs are moved there."""
        part: nn.Module = self._segmenter or self.translation or self.reasoner.mllm
        return next(part.parameters()).device

    def lay_out(self, references: Sequence[LoadedReference], *, proxy: bool = True) -> Mosaic:
        """References as the MLLM is shown them; marks on what the concept is not only where its template tells of them.

        Raises:
            InputError: there are none of what the concept is.
        """
        protocol = self.config.protocol
        shown = [one for one in references if not one.unlike or (self.tells_of_unlike and one.box is not None)]
        if all(one.unlike for one in shown):
            raise InputError(
                "References that are unlike the concept say little without one that shows it: give such a one too."
            )
        return lay_out(shown, canvas_px=protocol.frame_px, proxy=proxy, show_masks=protocol.mark == "mask")

    @property
    def tells_of_unlike(self) -> bool:
        """Whether the MLLM is told of marks on what the concept is not: its template has words for them."""
        return bool(self.config.protocol.wording.unlike)

    def build_prompt(self, concept: str, target: Image.Image, mosaic: Mosaic | None) -> Prompt:
        """The question of §3.2: mosaic (if any), target, and the instruction with the support boxes.

        The concept goes in with its blanks put in order and as mere text: control tokens that it spells are letters.

        Raises:
            InputError: the concept is no text, says nothing, or cannot be read.
        """
        protocol = self.config.protocol
        frame_hw = (protocol.frame_px, protocol.frame_px)
        images = ([mosaic.image] if mosaic else []) + [resize_image(target, frame_hw)]
        text = render_prompt(
            self.reasoner.words(check_words(concept)), mosaic, template=protocol.wording, unit_px=protocol.unit_px
        )
        text_first = protocol.layout == "target_last"
        has_proxy = mosaic is not None and mosaic.proxy_index is not None
        parts = expected_parts(check=has_proxy and protocol.expects_rule, rule=protocol.expects_rule)
        return Prompt(tuple(images), text, protocol.system_prompt, text_first=text_first, parts=parts)

    @property
    def has_prior(self) -> bool:
        """Whether what references mark reaches SAM 3's features: there is a prior, and the protocol has it so."""
        return self.has_segmenter and self.segmenter.prior is not None and self.config.protocol.reference_prior

    def see_references(self, references: Sequence[LoadedReference]) -> SeenReferences | None:
        """References for the prior (`conceptseg.models.prior`); None without marks, or where there is no prior to tell.

        The withheld reference is among them: what is withheld from the MLLM is the question it is verified on, which
        the prior has no say in.
        """
        return self.see_marks(references) if self.has_prior else None

    def see_marks(self, references: Sequence[LoadedReference]) -> SeenReferences | None:
        """References for comparing targets with, whether or not there is a prior to tell; None without marks."""
        seen = self._see([one for one in references if not one.unlike])
        return None if seen is None else replace(seen, unlike=self._see([one for one in references if one.unlike]))

    def _see(self, references: Sequence[LoadedReference]) -> SeenReferences | None:
        marked = [(one.image, region, one.ignore) for one in references if (region := one.region) is not None]
        if not marked:
            return None
        images, regions, ignored = zip(*marked, strict=True)
        return self.segmenter.see_references(images, regions, ignored)

    def reason(
        self,
        prompts: Sequence[Prompt],
        *,
        temperature: float = 0.0,
        begun: Sequence[str] = (),
        seed: int | None = None,
        remember: bool = False,
    ) -> Generation:
        """Responses and their hidden states H; see `Reasoner.generate`."""
        return self.reasoner.generate(
            prompts,
            max_new_tokens=self.config.protocol.max_new_tokens,
            temperature=temperature,
            begun=begun,
            seed=seed,
            remember=remember,
        )

    def digest(self) -> str:
        """What tells one checkpoint from another: its protocol, and a sample of every tensor but the MLLM's.

        The MLLM may not have been read, and is never trained without the concept translation that reads it. Where there
        is no such translation it is known by name.
        """
        told = hashlib.sha256(_protocol_text(self.config.protocol).encode())
        if self.translation is None:
            name, mllm = self.config.name, self.config.mllm
            told.update((name if mllm == _MLLM or mllm in name else f"{name} {mllm}").encode())
        for part in (self.translation, self._segmenter):
            for name, tensor in part.state_dict().items() if part is not None else ():
                flat = tensor.detach().flatten()
                sample = flat[:: max(1, flat.numel() // _SAMPLED)][:_SAMPLED].double().cpu().numpy()
                told.update(f"{name} {tuple(tensor.shape)}".encode() + sample.tobytes())
        return told.hexdigest()[:32]

    def translate(
        self,
        hidden_states: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"],
        answers: Sequence[str],
    ) -> PromptTokens:
        """P = [Z ; E_text] (Eq. 3 and 4).

        Raises:
            CheckpointError: the model has no concept translation.
        """
        if self.translation is None:
            raise CheckpointError(
                f"Checkpoint {self.config.name!r} has no concept translation module: train one with "
                "`conceptseg train warmup`, or use box prompts."
            )
        device = self.device
        concept_tokens = self.translation(hidden_states.to(device), mask.to(device))
        return self.segmenter.embed_text(answers).prepend(concept_tokens)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
        """Write the checkpoint: `config.json`, `mllm/`, `sam/`, `ctm.safetensors`, tokenizers and processors.

        A model without SAM 3 keeps naming where SAM 3 comes from. An earlier checkpoint in the folder is replaced when
        the new one is whole; its `config.json` goes first and comes last, so that a mixture of both never loads.

        Args:
            folder: created if needed; files that are no part of a checkpoint stay.
            dtype: storage type of the weights, e.g. `torch.float16`; None keeps theirs.

        Raises:
            InputError: the model was loaded without SAM 3, whose checkpoint brings its own or a reference prior: it can
                be saved where these lie, over that checkpoint, and nowhere else.
        """
        folder = Path(folder)
        stays = [] if self.has_segmenter else self._left_in(folder)
        config = self.config.model_copy(update={"sam": _SAM} if self.has_segmenter else {})
        return self._save(folder, config, dtype, stays)

    def _left_in(self, folder: Path) -> list[str]:
        """What a folder holds of the checkpoint that a model without SAM 3 came from; it stays as it is."""
        left = ([_SAM] if self.config.sam == _SAM else []) + ([PRIOR_FILE] if self.config.prior else [])
        missing = [name for name in left if not (folder / name).exists()]
        if missing:
            raise InputError(
                f"Model {self.config.name!r} was loaded without SAM 3, and {folder} has no {' and no '.join(missing)} "
                "to go with it. Load it with SAM 3, or save it over the folder that it came from."
            )
        return [*left, CALIBRATION_FILE, ROUTER_FILE]

    def _save(
        self, folder: Path, config: ConceptSegConfig, dtype: torch.dtype | None, stays: Sequence[str] = ()
    ) -> Path:
        """Write all that is there, SAM 3 where `config` has it in its own folder; `stays` are left as they are."""
        fresh = folder / _UNFINISHED
        shutil.rmtree(fresh, ignore_errors=True)  # what a killed process left
        fresh.mkdir(parents=True)
        told: dict[str, Any] = {"mllm": _MLLM}
        if self.has_segmenter:
            prior = self.segmenter.prior
            told["prior"] = None if prior is None else prior.config
        try:
            self._write(fresh, config.model_copy(update=told), dtype)
            parts = (_MLLM, _SAM, CTM_FILE, PRIOR_FILE, CALIBRATION_FILE, ROUTER_FILE)
            _take_over(fresh, folder, [part for part in parts if part not in stays])
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload a ConceptSeg checkpoint",
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | None = None,
        dtype: torch.dtype | None = None,
        sam: str | None = None,
        api: HubWriter | None = None,
    ) -> str:
        """Upload the checkpoint to the Hugging Face hub; `from_pretrained(repo_id)` gives it back.

        A SAM 3 that came from a hub id is referred to, not uploaded: its licence is not ours to pass on. An earlier
        checkpoint in the repository is replaced whole, in one commit.

        Args:
            repo_id: `owner/name`; made if needed.
            commit_message: of the commit.
            private: whether a new repository is private; None leaves it to the owner's settings.
            revision: a branch, made if needed.
            create_pr: open a pull request instead of committing.
            token: of an account that may write there; None takes the one of `hf auth login`.
            dtype: storage type of the weights; None keeps theirs.
            sam: the hub id that the uploaded checkpoint names as its SAM 3, where this one has it from a local path.
            api: where to write; the Hugging Face hub by default.

        Returns:
            The address of the commit or pull request.

        Raises:
            InputError: no name of a repository, SAM 3 comes from a path that nobody else has, or the model was loaded
                without it although a reference prior belongs to it.
            HubAccessError: no login, no right to write, or no network.
        """
        named = sam or self.config.sam
        self._refuse_without_sam(named)
        config = self.config.model_copy(update={"sam": named})
        writer = repository_for(repo_id, private=private, token=token, api=api)
        with TemporaryDirectory() as folder:
            self._save(Path(folder), config, dtype)
            return push_folder(
                Path(folder),
                repo_id,
                writer,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )

    def _refuse_without_sam(self, named: str) -> None:
        """Refuse to upload a checkpoint that would not load: its SAM 3, or what comes with it, is nowhere to be had."""
        refers = "/" in named
        if not (is_hub_id(named) if refers else self.has_segmenter):
            where = f"from {named}, which nobody else has" if refers else "from its folder, and was loaded without"
            raise InputError(
                f"This model takes SAM 3 {where}: say which hub id to name instead, e.g. sam='facebook/sam3'."
            )
        if self.config.prior is not None and not self.has_segmenter:
            raise InputError(
                f"Model {self.config.name!r} was loaded without SAM 3 and so without its reference prior: "
                "load it with SAM 3 to upload it."
            )

    def _write(self, folder: Path, config: ConceptSegConfig, dtype: torch.dtype | None) -> None:
        _save_part(self.reasoner.mllm, folder / _MLLM, dtype)
        self.reasoner.processor.save_pretrained(folder / _MLLM)
        if self.has_segmenter and config.sam == _SAM:
            _save_part(self.segmenter.sam, folder / _SAM, dtype)
            self.segmenter.tokenizer.save_pretrained(folder / _SAM)
        if self.has_segmenter and self.segmenter.prior is not None:
            save_file(_in_dtype(self.segmenter.prior.state_dict(), dtype), folder / PRIOR_FILE)
        if self.translation is not None:
            save_file(_in_dtype(self.translation.state_dict(), dtype), folder / CTM_FILE)
        self._write_measured(folder, dtype)
        (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _write_measured(self, folder: Path, dtype: torch.dtype | None) -> None:
        """What was measured on these very weights; in another precision they would be others."""
        for measured in (self.calibration, self.router):
            if measured is not None and dtype is None and measured.checkpoint == self.digest():
                measured.write(folder)

    @classmethod
    def from_pretrained(cls, source: str | Path = BUNDLED, **options: Any) -> ConceptSegModel:
        """Load any known kind of checkpoint; see `conceptseg.models.loading.load_parts` for kinds, options, errors."""
        parts = load_parts(source, **options)
        model = cls(parts.config, parts.reasoner, parts.translation, parts.segmenter).eval()
        if parts.folder is not None and model.has_segmenter:
            model.calibration = read_calibration(parts.folder, model.digest())
            model.router = read_router(parts.folder, model.digest())
        return model


def load_model(source: str | Path = BUNDLED, **options: Any) -> ConceptSegModel:
    """A model from the bundled checkpoint, a folder, a hub id or a pair; see `ConceptSegModel.from_pretrained`.

    `load_model("Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3")` reasons without training: its boxes prompt SAM 3 until a
    concept translation is trained.
    """
    return ConceptSegModel.from_pretrained(source, **options)


def _protocol_text(protocol: ProtocolConfig) -> str:
    """A protocol as digests know it; what came later is left out where it says nothing, so that they stay the same."""
    silent = protocol.instructions is not None and not protocol.instructions.unlike
    return protocol.model_dump_json(exclude={"instructions": {"unlike"}} if silent else None)


def _in_dtype(state: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {key: (value if dtype is None else value.to(dtype)).contiguous() for key, value in state.items()}


def _take_over(fresh: Path, folder: Path, stale: Sequence[str]) -> None:
    """Put the parts of a new checkpoint in the place of an old one's; without `config.json` there is no checkpoint."""
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    for old in (folder / name for name in stale):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for part in sorted(fresh.iterdir(), key=lambda path: path.name == CONFIG_FILE):
        os.replace(part, folder / part.name)


def _save_part(part: PreTrainedModel, folder: Path, dtype: torch.dtype | None) -> None:
    state = _in_dtype(part.state_dict(), dtype)
    for alias in getattr(part, "all_tied_weights_keys", None) or {}:
        state.pop(alias, None)
    part.save_pretrained(folder, state_dict=state, safe_serialization=True)
