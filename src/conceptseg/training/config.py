"""What a training run is: typed, frozen configuration objects for both stages. Loads no torch.

Defaults are the paper's Table 7 (a) for the warm-up and (b) for Meta-GRPO; fields say where the paper is silent. Files
and command lines become these objects in `conceptseg.training.config_reading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from conceptseg.errors import ConfigError
from conceptseg.training.rewards import WithoutProxy

__all__ = [
    "CheckpointSection",
    "DataSection",
    "LogSection",
    "LoraSection",
    "MetaGRPOConfig",
    "ModelSection",
    "PolicySection",
    "ReferenceSection",
    "ResponseSection",
    "RewardSection",
    "SegmentationSection",
    "SegmenterSection",
    "Stage",
    "TrainingConfig",
    "VllmSection",
    "WarmupConfig",
    "WorldSection",
]

Stage: TypeAlias = Literal["warmup", "meta-grpo"]

_LARGEST_SEED = 2**32 - 1  # NumPy's


def _named(value: object) -> object:
    """An empty word would stand for the working directory, and no file has a NUL in its name."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError(f"expected the name of a file or folder, got {value!r}")
    return value


def _as_list(value: object) -> object:
    """One folder alone, without the brackets of a list."""
    return [value] if isinstance(value, (str, Path)) else value


_Path: TypeAlias = Annotated[Path, BeforeValidator(_named)]
_Seed: TypeAlias = Annotated[int, Field(ge=0, le=_LARGEST_SEED)]
_Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
_Updates: TypeAlias = Annotated[int, Field(gt=0, le=10**9)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ModelSection(_Section):
    """What is trained."""

    checkpoint: str = "nano"
    """The bundled `nano`, a checkpoint folder, a hub id, or `MLLM+SAM`, two of the latter without a translation yet."""
    sam: str | None = None
    """Folder or hub id to take SAM 3 from, instead of the checkpoint's."""
    concept_tokens: int | None = Field(default=None, gt=0)
    """L2. None keeps the checkpoint's number (8 when fresh); another number means a fresh translation."""
    fresh_translation: bool = False
    """Forget the checkpoint's concept translation and start it anew."""
    template: str | None = None
    """Prompt template, instead of the checkpoint's: a name ("direct" asks for no rule and no check), or the folder of
    one's own, whose texts are then kept with the model."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where a single process trains: "auto" is the first CUDA device, else the CPU; another GPU is chosen with
    CUDA_VISIBLE_DEVICES. "mps", an Apple GPU, is untried. Under `accelerate launch` each process has its own."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the MLLM's weights; "auto" is float32 on a CPU, and where all of it learns without DeepSpeed's float32 copies;
    bfloat16 otherwise. SAM 3 and the CTM stay in float32."""


class WorldSection(_Section):
    """ConceptWorld samples, made while training."""

    tasks: tuple[str, ...] | Literal["all", "trained"] = "trained"
    """Leaf tasks; "trained" are those of the paper's training set and what stands in for SAM 3's pretraining."""
    split: str = "train"
    count: int = Field(default=10_000, gt=0)
    """Samples of one epoch."""
    first: int = Field(default=0, ge=0)
    """Index of the first sample, e.g. to hold some out."""
    seed: _Seed = 0
    """Another seed is another world."""
    size_px: int = Field(default=168, ge=32)
    """Side of the pictures."""


class ReferenceSection(_Section):
    """Which references a sample is shown with; they depend on (seed, sample id, epoch) alone, never on order."""

    count: int = Field(default=4, ge=0)
    """How many, at most; 4 make the paper's 2×2 mosaic, 1 its 1×1. Context-reasoning samples keep their own."""
    from_others: bool = True
    """Draw from other samples of the same task and concept where a sample has none of its own."""
    draws: int | None = Field(default=None, gt=0)
    """Different draws for one sample, epoch after epoch and then over again. None draws anew every epoch (Appendix I),
    1 keeps to the same references. Stage I reads and keeps a response for each draw."""
    withhold_proxy: bool = True
    """Withhold one reference's box for verification (§3.2); needs two references."""
    seed: _Seed | None = None
    """Of the draw; None takes the run's seed."""


class DataSection(_Section):
    """What is learned from: folders of samples, ConceptWorld, or both."""

    folders: Annotated[tuple[_Path, ...], BeforeValidator(_as_list)] = ()
    """Folders with `samples.jsonl`."""
    split: str | None = None
    """Only samples of this split of the folders."""
    validation: str | None = None
    """The split whose samples are held out; where the folders have none of it, `held_out` says how many."""
    world: WorldSection | None = None
    limit: int | None = Field(default=None, gt=0)
    """Keep this many samples, chosen by the run's seed."""
    held_out: Annotated[int, Field(ge=0)] | _Share = 0
    """Samples set aside before training, a number or a share below 1; what is learned is measured on them."""
    references: ReferenceSection = ReferenceSection()
    on_bad_sample: Literal["stop", "skip"] = "stop"
    """Whether a sample that cannot be used ends the run before it starts, or is listed and left out."""

    @model_validator(mode="after")
    def _some_source(self) -> DataSection:
        if not self.folders and self.world is None:
            raise ValueError("give folders, world, or both, e.g. data.folders=my_samples")
        return self


class CheckpointSection(_Section):
    """What is kept of a run."""

    every: int = Field(default=200, gt=0)
    """Updates between checkpoints."""
    keep: int = Field(default=3, gt=0)
    """How many to keep, the newest."""


class LogSection(_Section):
    """What is said of a run."""

    every: int = Field(default=10, gt=0)
    """Updates between two lines."""
    to: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    evaluate_every: int | None = Field(default=None, gt=0)
    """Updates between measurements on the held-out samples; None measures before and after."""
    watched: int = Field(default=4, ge=0)
    """Samples whose masks and responses are recorded over time, for the contact sheet."""


class _RunConfig(_Section):
    """What both stages have in common."""

    out: _Path
    """The run's folder: checkpoints, logs, curves, `best/`, and at the end `model/`."""
    model: ModelSection = ModelSection()
    data: DataSection
    seed: _Seed = 42
    epochs: float = Field(gt=0, le=1e6)
    max_steps: _Updates | None = None
    """Updates; goes before `epochs`. A run may be made longer later, see `conceptseg.training.run.train`."""
    batch_size: int = Field(gt=0)
    """Of one update, over all processes and accumulation steps."""
    per_device_batch_size: int = Field(gt=0)
    """How many at a time on one device."""
    learning_rate: float = Field(gt=0)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises; the paper names none."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's; the paper gives none."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """0 does not clip; the paper says nothing."""
    bf16: bool | None = None
    """Autocast to bfloat16; None does so on CUDA devices alone."""
    workers: int = Field(default=0, ge=0)
    """Processes a device that prepare samples."""
    max_prompt_tokens: int = Field(default=2048, gt=0)
    """Longest prompt (Table 7); a longer one is an error, since to cut it would cut pictures."""
    checkpoints: CheckpointSection = CheckpointSection()
    log: LogSection = LogSection()

    def accumulation_steps(self, processes: int) -> int:
        """Micro-batches of one update.

        Raises:
            ConfigError: `batch_size` is not a multiple of `per_device_batch_size` × processes.
        """
        at_once = self.per_device_batch_size * processes
        if self.batch_size % at_once:
            raise ConfigError(
                f"batch_size {self.batch_size} is not a multiple of per_device_batch_size {self.per_device_batch_size} "
                f"× {processes} process(es): set batch_size={-(-self.batch_size // at_once) * at_once}, or another "
                "per_device_batch_size."
            )
        return self.batch_size // at_once

    def update_steps(self, samples: int) -> int:
        """Updates of the whole run over `samples` training samples."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, -(-int(self.epochs * samples) // self._samples_per_update()))

    def _samples_per_update(self) -> int:
        return self.batch_size


class ResponseSection(_Section):
    """The responses whose hidden states the concept translation reads while it warms up."""

    source: Literal["true_boxes", "generated", "template"] = "true_boxes"
    """Written by the frozen MLLM with its boxes replaced by the true ones; as written; or a bare template, the
    released code's way, which needs no generation. The paper says only that the MLLM is frozen."""
    max_new_tokens: int | None = Field(default=768, gt=0)
    """Longest response (Table 7); None keeps the checkpoint's own limit."""
    batch_size: int = Field(default=8, gt=0)
    """Prompts at a time when responses are generated and read."""
    cache: _Path | None = None
    """Where hidden states are kept from run to run; None is `states/` in the run's folder."""


class SegmenterSection(_Section):
    """Whether SAM 3 learns beside the concept translation. The paper freezes it; for one's own pictures it pays."""

    learns: bool = False
    """Its fusion encoder and mask decoder learn, a small part of SAM 3; its eyes, its words and its detector, which
    says whether a concept is there at all, keep their weights. Checkpoints then hold SAM 3 as well."""
    text_weight: float = Field(default=1.0, ge=0)
    """Weight of the same loss (Eq. 5) with SAM 3 told the concept alone, so that the shortcut of Eq. 9 learns too."""


class WarmupConfig(_RunConfig):
    """Stage I (§3.4, Table 7a): the concept translation learns between frozen models."""

    stage: Literal["warmup"] = "warmup"
    trains: Literal["translation", "responses"] = "translation"
    """"translation" is the paper's stage I. "responses" teaches the MLLM the responses themselves, boxes and all, by
    cross-entropy, and no CTM: row "+ MLLM (SFT)" of Table 4(a)."""
    epochs: float = Field(default=20, gt=0, le=1e6)
    batch_size: int = Field(default=128, gt=0)
    per_device_batch_size: int = Field(default=16, gt=0)
    learning_rate: float = Field(default=3e-5, gt=0)
    responses: ResponseSection = ResponseSection()
    segmenter: SegmenterSection = SegmenterSection()
    pixel_loss: Literal["focal", "bce"] = "focal"
    """Beside dice (Eq. 5); "bce" is the released code's."""

    @property
    def trains_whole_mllm(self) -> bool:
        """Whether all of the MLLM's weights learn."""
        return self.trains == "responses"

    @model_validator(mode="after")
    def _responses_have_no_masks(self) -> WarmupConfig:
        if self.trains == "responses" and self.segmenter.learns:
            raise ValueError("with trains=responses there are no masks to learn from: set segmenter.learns=false")
        return self


class RewardSection(_Section):
    """Weights of the reward's terms (Eq. 6); 0 leaves a term out."""

    format: float = Field(default=1.0, ge=0)
    mask: float = Field(default=1.0, ge=0)
    meta: float = Field(default=1.0, ge=0)
    box: float = Field(default=0.0, ge=0)
    """IoU of the target's box alone; stands in for `meta` in the ablation without meta reward."""
    check: float = Field(default=0.0, ge=0)
    without_proxy: WithoutProxy = "box"
    """R_meta where no box was withheld; "box_squared" is the released code's."""
    inclusive_boxes: bool = False
    """Count both corners of a box as covered, as the released code does."""

    @property
    def weights(self) -> dict[str, float]:
        """The terms in use, by name."""
        parts = {"format": self.format, "mask": self.mask, "meta": self.meta, "box": self.box, "check": self.check}
        return {name: weight for name, weight in parts.items() if weight > 0}

    @model_validator(mode="after")
    def _not_empty(self) -> RewardSection:
        if not self.weights:
            raise ValueError("at least one term of the reward needs a weight above 0")
        return self


class SegmentationSection(_Section):
    """L_seg in the objective of stage II (Eq. 8)."""

    weight: float = Field(default=1.0, ge=0)
    """1 is Eq. 8; the released code has 0.01."""
    detach_states: bool = False
    """Keep the loss from reaching the MLLM, as the released code does; Eq. 8 optimises both jointly."""
    pixel_loss: Literal["focal", "bce"] = "focal"


class LoraSection(_Section):
    """Adapters instead of all of the MLLM's weights."""

    rank: int = Field(default=64, gt=0)
    alpha: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the language model."""


class PolicySection(_Section):
    """Which parameters learn; the paper's are all of the MLLM and the CTM (Table 7b)."""

    mllm: Literal["full", "lora"] = "full"
    vision: bool = True
    """Whether the vision tower learns too; never with LoRA."""
    translation: bool = True
    """Whether the concept translation learns; False freezes it."""
    lora: LoraSection = LoraSection()
    gradient_checkpointing: bool = False
    """Trade time for memory; needed at 7B."""


class VllmSection(_Section):
    """Roll out with vLLM; limits are in docs/training.md."""

    use: bool = False
    mode: Literal["colocate", "server"] = "colocate"
    memory_share: float = Field(default=0.3, gt=0, lt=1)
    """Of a GPU, when colocated."""
    tensor_parallel: int = Field(default=1, gt=0)
    """GPUs that hold one copy of vLLM's weights together, when colocated; divides the number of processes."""
    sleep: bool = False
    """Give the memory of vLLM's weights and cache back during the update, when colocated."""
    host: str = "localhost"
    port: int = 8000

    @model_validator(mode="after")
    def _server_has_its_own(self) -> VllmSection:
        if self.mode == "server" and (self.tensor_parallel > 1 or self.sleep):
            raise ValueError("tensor_parallel and sleep are for mode=colocate: a server is told when it is started")
        return self


class MetaGRPOConfig(_RunConfig):
    """Stage II (§3.2, §3.4, Table 7b): the MLLM learns to induce, verify and apply rules; the CTM learns on."""

    stage: Literal["meta-grpo"] = "meta-grpo"
    epochs: float = Field(default=2, gt=0, le=1e6)
    batch_size: int = Field(default=64, gt=0)
    """Responses of one update (64 are 8 prompts with groups of 8); the paper does not say which of the two it counts,
    TRL counts responses."""
    per_device_batch_size: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=1e-6, gt=0)
    group_size: int = Field(default=8, gt=1)
    """G, responses to one prompt."""
    beta: float = Field(default=0.04, ge=0)
    """Weight of the KL term."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the rollouts; the paper gives none."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_tokens: int = Field(default=768, gt=0)
    reward: RewardSection = RewardSection()
    segmentation: SegmentationSection = SegmentationSection()
    sam_prompt: Literal["translation", "box"] = "translation"
    """What SAM 3 is prompted with: concept tokens (the method), or the response's box and answer, row "+ GRPO" of Table
    4(a), where no loss can flow back."""
    policy: PolicySection = PolicySection()
    vllm: VllmSection = VllmSection()

    def _samples_per_update(self) -> int:
        return self.batch_size // self.group_size

    @property
    def trains_whole_mllm(self) -> bool:
        """Whether all of the MLLM's weights learn."""
        return self.policy.mllm == "full"

    @property
    def needs_masks(self) -> bool:
        """Whether SAM 3 and the CTM take part: for the mask reward or the segmentation loss."""
        return self.reward.mask > 0 or self.segmentation.weight > 0

    @property
    def trains_translation(self) -> bool:
        """Whether the concept translation learns: it may, and a loss reaches it."""
        return self.policy.translation and self.segmentation.weight > 0

    @model_validator(mode="after")
    def _groups_fill_batches(self) -> MetaGRPOConfig:
        if self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size counts responses and must be a multiple of group_size {self.group_size}, "
                f"got {self.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _boxes_carry_no_gradient(self) -> MetaGRPOConfig:
        if self.sam_prompt == "box" and self.segmentation.weight > 0:
            raise ValueError("with sam_prompt=box nothing can learn from the masks: set segmentation.weight=0")
        return self


TrainingConfig: TypeAlias = WarmupConfig | MetaGRPOConfig
"""Either stage's configuration."""
