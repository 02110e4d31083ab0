from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl import GRPOConfig

from conceptseg.errors import CheckpointError, TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.adapters import merge_adapter
from conceptseg.training.arguments import grpo_arguments
from conceptseg.training.checkpoints import CheckpointWriter
from conceptseg.training.config_reading import load_config
from conceptseg.training.drawing import SampleOrder
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.meta_grpo import MetaGRPOTrainer
from conceptseg.training.objective import MaskTruth, decode_tokens, mask_losses, mask_scores
from conceptseg.training.rollouts import episode_dataset, prompt_length
from tests.training.tiny import square_sample


@pytest.fixture
def make(tiny_checkpoint, tmp_path):
    """A trainer on a tiny model, with overrides of the configuration."""

    def build(*overrides, translation=True, max_prompt_tokens=2048):
        config = load_config(
            "meta-grpo",
            None,
            [
                f"out={tmp_path}",
                "data.world.count=1",
                f"model.checkpoint={tiny_checkpoint}",
                "model.device=cpu",
                "batch_size=8",
                "per_device_batch_size=8",
                "group_size=4",
                "max_completion_tokens=6",
                "log.to=[]",
                "learning_rate=1e-2",
                *overrides,
            ],
        )
        model = ConceptSegModel.from_pretrained(tiny_checkpoint)
        if not translation:
            model = ConceptSegModel(model.config, model.reasoner, None, model.segmenter)
        samples = [square_sample(k) for k in range(3)]
        steps = config.max_steps or 2
        order = SampleOrder(3, steps * config.batch_size // config.group_size, seed=0)
        data = episode_dataset(samples, order, EpisodeBuilder(model), model.reasoner, max_prompt_tokens)
        writer = CheckpointWriter(
            model.config, f"{tiny_checkpoint}/mllm", f"{tiny_checkpoint}/sam", model.reasoner.processor
        )
        arguments = GRPOConfig(**grpo_arguments(config, steps))
        return MetaGRPOTrainer(config, model, data, writer, arguments)

    return build


def rows_of(trainer, prompts=2):
    """A batch of rollouts as TRL's sampler makes it: each prompt once for every response."""
    group = trainer.config.group_size
    return [trainer.train_dataset[k] for k in range(prompts) for _ in range(group)]


def roll_out(trainer):
    torch.manual_seed(0)
    trainer.model.train()
    return trainer._generate_and_score_completions(rows_of(trainer))


def test_advantages_are_those_of_the_unified_reward(make, monkeypatch):
    trainer = make("beta=0")
    given = []

    def unified(**columns):
        given.extend(np.linspace(0.0, 2.0, len(columns["completions"])) ** 2)
        return list(given)

    trainer.reward_funcs[0] = unified
    batch = roll_out(trainer)
    groups = np.array(given).reshape(2, 4)
    deviation = groups.std(axis=1, ddof=1, keepdims=True)  # GRPO, reference 30 of the paper
    expected = (groups - groups.mean(axis=1, keepdims=True)) / (deviation + 1e-4)
    assert batch["advantages"].numpy() == pytest.approx(expected.ravel(), abs=1e-4)


@pytest.mark.parametrize("overrides", [(), ("policy.mllm=lora",)])
def test_the_pictures_of_a_group_are_encoded_once(make, overrides):
    trainer = make(*overrides)
    passes: list[int] = []
    policy = trainer._reasoner.mllm
    for mllm in (policy, trainer.ref_model):
        if mllm is not None:
            mllm.model.visual.patch_embed.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
    batch = roll_out(trainer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch)
    different = len(batch["pixel_values"]) // trainer.config.group_size
    assert len(passes) >= 3 and set(passes) == {different}


def test_rollouts_see_the_prompts_of_inference(make):
    trainer = make()
    batch = roll_out(trainer)
    prompts = [episode.prompt for episode in batch["episode"]]
    assert torch.equal(batch["prompt_ids"], trainer._reasoner.encode(prompts).input_ids)
    assert torch.equal(batch["pixel_values"], trainer._reasoner.encode(prompts).pixel_values)


def test_a_constant_reward_without_kl_moves_nothing(make):
    trainer = make("beta=0", "segmentation.weight=0", "reward.mask=0")
    trainer.reward_funcs[0] = lambda **columns: [1.0] * len(columns["completions"])
    batch = roll_out(trainer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch).backward()
    assert max(p.grad.abs().max() for p in trainer.model.parameters() if p.grad is not None) == 0


def test_what_is_rewarded_becomes_likelier(make):
    """A response is rewarded if its only token has an even number: half of them at first, most after thirty updates."""
    learning = ["learning_rate=0.02", "scheduler=constant", "max_steps=30"]
    trainer = make("beta=0", "segmentation.weight=0", "reward.mask=0", "max_completion_tokens=1", *learning)
    trainer.reward_funcs[0] = lambda **columns: [float(ids[0] % 2 == 0) for ids in columns["completion_ids"]]
    prompts = [trainer.train_dataset[k]["episode"].prompt for k in range(3)]

    def chance_of_reward():
        with torch.no_grad():
            logits = trainer.model(**trainer._reasoner.encode(prompts), logits_to_keep=1).logits[:, -1]
        return logits.softmax(dim=-1)[:, 0::2].sum(dim=-1).mean().item()

    before = chance_of_reward()
    trainer.train()
    assert before == pytest.approx(0.5, abs=0.1)
    assert chance_of_reward() > 0.9


def test_a_batch_in_parts_moves_what_the_whole_moves(make):
    """Both losses are means over the batch, however many forward passes it takes."""
    likeliest = ["max_steps=1", "top_p=1e-6", "log.every=1"]
    norms = []
    for size in (8, 2):
        trainer = make(f"per_device_batch_size={size}", *likeliest)
        trainer.reward_funcs[0] = lambda **columns: [float(k % 3) for k in range(len(columns["completions"]))]
        trainer.train()
        norms.append(next(line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line))
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_the_policy_is_held_to_where_the_run_started(make):
    """KL(policy ‖ reference): 0 before the first update, positive after it; the reference never moves."""
    trainer = make("max_steps=3", "log.every=1", "segmentation.weight=0", "reward.mask=0")
    start = {name: p.detach().clone() for name, p in trainer._reasoner.mllm.named_parameters()}
    reference = trainer.accelerator.unwrap_model(trainer.ref_model)
    assert all(torch.equal(p, start[name]) for name, p in reference.named_parameters())
    trainer.reward_funcs[0] = lambda **columns: [float(k % 2) for k in range(len(columns["completions"]))]
    trainer.train()
    first, *later = [line["kl"] for line in trainer.state.log_history if "kl" in line]
    assert first == pytest.approx(0, abs=1e-7)
    assert min(later) > 1e-5
    assert all(torch.equal(p, start[name]) for name, p in reference.named_parameters())


def test_the_loss_is_the_sum_of_eq_8(make):
    trainer = make("beta=0", "segmentation.weight=0.5")
    batch = roll_out(trainer)
    trainer.current_gradient_accumulation_steps = 1
    whole = trainer.compute_loss(trainer.model, batch)
    object.__setattr__(trainer.config, "segmentation", trainer.config.segmentation.model_copy(update={"weight": 0.0}))
    grpo = trainer.compute_loss(trainer.model, batch)
    model = trainer.as_model()
    rows = zip(batch["episode"], batch["completion_ids"], batch["completion_mask"].bool(), batch["answer"], strict=True)
    expected = torch.stack([segmentation_by_hand(model, e, ids[mask], answer) for e, ids, mask, answer in rows]).mean()
    assert (whole - grpo).item() == pytest.approx(0.5 * expected.item(), rel=1e-4)


def semantic_by_hand(model, episode, ids, answer):
    """The plain way: prompt and response through the MLLM, its states through the CTM, its tokens through SAM 3."""
    inputs = model.reasoner.encode([episode.prompt])
    inputs["input_ids"] = torch.cat([inputs.input_ids, ids[None]], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs.input_ids)
    inputs["mm_token_type_ids"] = (inputs.input_ids == model.reasoner.processor.image_token_id).long()
    with torch.no_grad():
        states = model.reasoner.mllm.model(**inputs).last_hidden_state[:, -len(ids) :]
        tokens = model.translation(states, torch.ones(1, len(ids), dtype=torch.bool))
        features = model.segmenter.encode(model.segmenter.preprocess([episode.image]))
        return decode_tokens(model.segmenter, features, tokens, [answer])


def segmentation_by_hand(model, episode, ids, answer):
    semantic = semantic_by_hand(model, episode, ids, answer)
    return mask_losses(semantic, [MaskTruth(episode.mask, episode.ignore)], pixel_loss="focal")[0]


def test_the_mask_reward_is_that_of_the_plain_way(make):
    trainer = make()
    episodes = [row["episode"] for row in rows_of(trainer, prompts=2)[::4]]
    ids = trainer._tokenizer(["find target", "small upper left find find"]).input_ids
    responses = [episode.read("") for episode in episodes]
    # Thresholds of an untrained head hardly ever fall inside a picture: compare the logits, then the scores.
    tokens = trainer._tokens_of(episodes, ids)
    features = trainer._features_of(episodes)
    together = decode_tokens(trainer._segmenter, features, tokens, ["bright square"] * 2)
    for row, (episode, said) in enumerate(zip(episodes, ids, strict=True)):
        alone = semantic_by_hand(trainer.as_model(), episode, torch.tensor(said), "bright square")
        assert torch.allclose(together[row], alone[0], atol=1e-4)
    scores = trainer._mask_scores(episodes, responses, ids)
    assert scores == mask_scores(together, [MaskTruth(e.mask, e.ignore) for e in episodes])


def test_each_picture_is_encoded_once_for_its_group(make, monkeypatch):
    trainer = make()
    encoded = []
    encode = trainer._segmenter.encode
    monkeypatch.setattr(trainer._segmenter, "encode", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    batch = roll_out(trainer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch)
    assert encoded == [2]  # two prompts, eight responses, reward and loss


def test_one_forward_pass_an_update(make):
    trainer = make()
    batch = roll_out(trainer)
    passes = []
    trainer.model.model.language_model.register_forward_hook(lambda *_: passes.append(1))
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch).backward()
    assert len(passes) == 1


def trained_names(trainer):
    before = {
        name: p.detach().clone() for name, p in trainer.accelerator.unwrap_model(trainer.model).named_parameters()
    }
    trainer.train()
    after = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    return {name for name in before if not torch.equal(before[name], after[name].detach())}


def test_what_learns_and_what_stays_bit_for_bit(make):
    trainer = make("max_steps=1")
    frozen = {name: value.clone() for name, value in trainer._segmenter.state_dict().items()}
    changed = trained_names(trainer)
    assert any("concept_translation" in name for name in changed)
    assert any("language_model" in name for name in changed)
    assert any("visual" in name for name in changed)
    assert all(torch.equal(frozen[name], value) for name, value in trainer._segmenter.state_dict().items())


def test_a_frozen_translation_stays(make):
    changed = trained_names(make("max_steps=1", "policy.translation=false", "policy.vision=false"))
    assert changed
    assert not any("concept_translation" in name or "visual" in name for name in changed)


def test_adapters_learn_beside_the_translation_and_merge(make, tiny_checkpoint):
    trainer = make("max_steps=1", "policy.mllm=lora", "policy.lora.rank=2")
    changed = trained_names(trainer)
    assert changed
    assert all("lora_" in name or "modules_to_save" in name for name in changed)
    trainer.save_model(str(trainer.config.out / "checkpoint-1"))
    kept = dict(trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().named_parameters())
    merged = merge_adapter(ConceptSegModel.from_pretrained(tiny_checkpoint), trainer.config.out / "checkpoint-1")
    assert not any("lora" in name for name in merged.reasoner.mllm.state_dict())
    for name, tensor in merged.reasoner.mllm.named_parameters():
        assert torch.allclose(tensor, kept[name], atol=1e-6), name
    for name, tensor in merged.translation.named_parameters():
        assert torch.allclose(tensor, kept[f"concept_translation.{name}"], atol=1e-6), name


def test_an_adapter_that_is_not_there_cannot_be_merged(tiny_checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="adapter cannot be merged"):
        merge_adapter(ConceptSegModel.from_pretrained(tiny_checkpoint), tmp_path)


def test_masks_from_boxes_need_no_translation(make):
    weights = ["segmentation.weight=0", "reward.meta=0", "reward.box=1"]
    trainer = make("max_steps=1", "sam_prompt=box", *weights, translation=False)
    trainer.train()
    logged = {name for line in trainer.state.log_history for name in line}
    assert {"reward/box", "reward/mask"} <= logged
    episode = trainer.train_dataset[0]["episode"]
    box = [round(value) for value in episode.truth.box]
    response = episode.read(f"<bbox>{box}</bbox><answer>disc</answer>")
    model = trainer.as_model()
    features = model.segmenter.encode(model.segmenter.preprocess([episode.image]))
    fractions = tuple(value / 56 for value in box)
    semantic = model.segmenter.decode_box(features, [fractions], ["disc"]).semantic
    expected = mask_scores(semantic, [MaskTruth(episode.mask, episode.ignore)])
    assert trainer._mask_scores([episode], [response], [[5]]) == expected


def test_masks_from_tokens_do(make):
    with pytest.raises(TrainingError, match="Model 'tiny' has no concept translation: warm one up first"):
        make(translation=False)


def test_a_loss_that_is_no_number_stops_the_run(make):
    trainer = make()
    batch = roll_out(trainer)
    trainer.current_gradient_accumulation_steps = 1
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"The loss is nan at update 1; samples of the batch: square/00"):
        trainer.compute_loss(trainer.model, batch)


def test_a_prompt_that_is_too_long_is_named(make):
    trainer = make(max_prompt_tokens=10)
    with pytest.raises(TrainingError, match=r"'square/00\d': its prompt is \d+ tokens long, max_prompt_tokens is 10"):
        trainer.train_dataset[0]


def test_the_length_of_a_prompt_counts_its_pictures(make):
    trainer = make()
    episode = trainer.train_dataset[0]["episode"]
    assert prompt_length(trainer._reasoner, episode) == trainer._reasoner.encode([episode.prompt]).input_ids.shape[1]


def test_vllm_is_not_sent_the_translation(make):
    trainer = make()
    sent = []
    policy = trainer.accelerator.unwrap_model(trainer.model)
    trainer.vllm_generation = SimpleNamespace(
        sync_weights=lambda: sent.extend(name for name, _ in policy.named_parameters())
    )
    trainer._hide_translation_from_vllm(policy)
    trainer.vllm_generation.sync_weights()
    assert sent and not any("concept_translation" in name for name in sent)
