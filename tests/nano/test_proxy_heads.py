"""What the target's image tokens learn of the proxy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conceptseg.data.world import ConceptWorld
from nano.architecture import FRAME_PX
from nano.episodes import make_episode
from nano.proxy_heads import ProxyHeads
from nano.tokens import tokens_of


def heads_without_boxes() -> ProxyHeads:
    """Heads whose boxes are always right, so that what remains is the change's loss."""
    heads = ProxyHeads(8)
    for parameter in heads.parameters():
        torch.nn.init.zeros_(parameter)
    return heads


def test_tokens_learn_the_proxys_box_where_they_can_know_it(differences, alike):
    for episode, knows in ((differences[0], tokens_of(differences[0]).proxy_here), (alike, tokens_of(alike).target)):
        states = torch.zeros(72, 8, requires_grad=True)
        heads = ProxyHeads(8)
        torch.nn.init.zeros_(heads.change_head.weight)
        loss, numbers = heads.loss([states], [episode])
        loss.backward()
        assert states.grad is not None and not states.grad[:36].any()
        assert torch.equal(states.grad[36:].abs().sum(dim=1) > 0, torch.from_numpy(knows > 0.1))
        off = np.abs(heads.box_head.bias.detach().numpy() - episode.boxes[1]).mean()
        assert numbers["check_off"] == pytest.approx(float(off), rel=1e-4)


def test_a_change_in_the_proxy_costs_by_hand(differences):
    """Scores of 0 are even odds: ln 2 a token, five times as much where the proxy shows the target."""
    heads = heads_without_boxes()
    heads.box_head.bias.data = torch.from_numpy(differences[0].boxes[1])
    loss, numbers = heads.loss([torch.zeros(72, 8)], [differences[0]])
    expected = np.log(2) * (1 + 4 * tokens_of(differences[0]).proxy_here).mean()
    assert numbers["check_off"] == 0
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_only_a_scene_that_stands_still_tells_changes_by_place(alike):
    heads = ProxyHeads(8)
    loss, _ = heads.loss([torch.randn(72, 8, generator=torch.Generator().manual_seed(0))], [alike])
    loss.backward()
    assert heads.box_head.weight.grad.any() and not heads.change_head.weight.grad.any()


def test_where_nothing_looks_like_the_target_nothing_is_taught(alike):
    """In view_difference the camera moves as well: neither looks nor places lead to the proxy's box."""
    moved = replace(alike, sample=replace(alike.sample, task="view_difference"))
    loss, numbers = ProxyHeads(8).loss([torch.zeros(72, 8)], [moved])
    assert float(loss.detach()) == 0 and numbers == {}


def test_episodes_with_and_without_references_learn_in_one_batch(learner_and_data, differences):
    """A bug once: an episode without references has fewer image tokens."""
    learner, data = learner_and_data
    world = ConceptWorld(tasks=["living"], split="train", seed=0, size_px=FRAME_PX)
    loss, numbers, count = learner.loss([make_episode(data, world[0], 0), differences[0]])
    assert torch.isfinite(loss) and numbers["check_off"] > 0 and count == 2


def test_without_a_proxy_its_heads_learn_nothing(differences):
    states = torch.zeros(72, 8, requires_grad=True)
    loss, numbers = ProxyHeads(8).loss([states], [differences[1]])
    loss.backward()
    assert float(loss.detach()) == 0 and numbers == {}
