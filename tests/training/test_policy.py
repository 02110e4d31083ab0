from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch.utils._pytree import tree_map
from transformers.utils import ModelOutput
from trl.trainer.utils import add_fused_lm_head

from conceptseg.training.config import PolicySection
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.policy import TokenReader, hidden_translation, join_translation, set_trainable, split_state
from tests.training.tiny import square_sample, tiny_model

RESPONSES = ["find target", "small upper left target find find"]


@pytest.fixture
def joined():
    model = tiny_model()
    policy = model.reasoner.mllm
    join_translation(policy, model.translation)
    add_fused_lm_head(policy)
    return model, policy, TokenReader(policy)


def batch_of(model):
    episodes = [EpisodeBuilder(model)(square_sample(k)) for k in range(2)]
    prompts = [episode.prompt for episode in episodes]
    encoded = model.reasoner.encode(prompts, RESPONSES)
    read = model.reasoner.hidden_states_of(prompts, RESPONSES)
    width = read.mask.shape[1]
    labels = encoded.input_ids.clone()
    labels[:, :-width] = -100
    labels[:, -width:][~read.mask] = -100
    return encoded, labels, read


def test_one_pass_gives_log_probabilities_and_tokens(joined, monkeypatch):
    model, policy, reader = joined
    encoded, labels, read = batch_of(model)
    plain = policy(**encoded, labels=labels, fused_lm_head=True)
    passes = []
    hook = policy.model.language_model.register_forward_hook(lambda *_: passes.append(1))
    with reader.reading(policy, read.mask) as tokens:
        both = policy(**encoded, labels=labels, fused_lm_head=True)
    hook.remove()
    assert len(passes) == 1
    assert torch.equal(both.log_probs, plain.log_probs)
    assert torch.allclose(tokens[-1], model.translation(read.hidden_states, read.mask), atol=1e-5)


def test_gradients_of_the_tokens_reach_the_mllm_unless_detached(joined):
    model, policy, reader = joined
    encoded, _, read = batch_of(model)
    for detach in (False, True):
        policy.zero_grad()
        with reader.reading(policy, read.mask, detach=detach) as tokens:
            policy(**encoded, logits_to_keep=1)
        tokens[-1].sum().backward()
        embedding = policy.get_input_embeddings().weight.grad
        assert (embedding is None or embedding.abs().max() == 0) == detach
        assert model.translation.learnable_query.weight.grad.abs().max() > 0


def test_nobody_reading_changes_nothing(joined):
    model, policy, reader = joined
    encoded, _, read = batch_of(model)
    assert "concept_tokens" not in policy(**encoded, logits_to_keep=1)
    with reader.reading(policy, read.mask) as tokens:
        policy(**encoded, logits_to_keep=1)
    assert "concept_tokens" not in policy(**encoded, logits_to_keep=1)
    assert len(tokens) == 1
    generated = model.reasoner.generate([EpisodeBuilder(model)(square_sample(0)).prompt], max_new_tokens=3)
    assert generated.token_ids.shape == (1, 3)


def test_wrappers_can_take_the_output_apart(joined):
    """DDP rebuilds a policy's output from its tensors."""
    model, policy, reader = joined
    encoded, _, read = batch_of(model)
    outputs = []
    hook = policy.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    with reader.reading(policy, read.mask):
        policy(**encoded, logits_to_keep=1)
    hook.remove()
    rebuilt = tree_map(lambda value: value, outputs[0])
    assert isinstance(rebuilt, ModelOutput)
    assert {field.name for field in fields(rebuilt)} >= {"logits", "concept_tokens"}
    assert torch.equal(rebuilt.concept_tokens, outputs[0].concept_tokens)


def test_a_joined_state_splits_into_its_parts(joined):
    model, policy, _ = joined
    mllm, translation = split_state(policy.state_dict())
    assert mllm.keys() == tiny_model().reasoner.mllm.state_dict().keys()
    assert translation.keys() == model.translation.state_dict().keys()


def test_the_translation_can_be_hidden(joined):
    _, policy, _ = joined
    with hidden_translation(policy):
        assert not any("concept_translation" in name for name, _ in policy.named_parameters())
    assert any("concept_translation" in name for name, _ in policy.named_parameters())


@pytest.mark.parametrize(
    ("section", "translation", "expected"),
    [
        (PolicySection(), True, {"visual", "language_model", "concept_translation"}),
        (PolicySection(vision=False), True, {"language_model", "concept_translation"}),
        (PolicySection(), False, {"visual", "language_model"}),
        (PolicySection(mllm="lora"), False, set()),
    ],
)
def test_who_learns(joined, section, translation, expected):
    _, policy, _ = joined
    set_trainable(policy, section, translation=translation)
    learning = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    parts = {"visual", "language_model", "concept_translation"}
    assert {part for part in parts if any(part in name for name in learning)} == expected
