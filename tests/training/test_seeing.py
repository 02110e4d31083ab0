"""Training sees what inference sees: where a checkpoint has a reference prior, it is told of the references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conceptseg.data import Reference
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.config import PRIOR_FILE, ConceptSegConfig
from conceptseg.models.prior import PriorConfig, ReferencePrior
from conceptseg.training import meta_grpo, warmup
from conceptseg.training.config_reading import load_config
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.meta_grpo import MetaGRPOTrainer
from conceptseg.training.run import train
from conceptseg.training.seeing import encode_beside, encode_episodes
from tests.training.tiny import square_sample, tiny_model

SHORT = {
    "warmup": ["max_steps=1", "batch_size=2", "per_device_batch_size=2"],
    "meta-grpo": ["max_steps=1", "batch_size=4", "per_device_batch_size=4", "group_size=2", "max_completion_tokens=6"],
}


@pytest.fixture(scope="module")
def model():
    """The tiny model with a prior that says something."""
    model = tiny_model()
    pixels = torch.zeros(1, 3, model.segmenter.image_px, model.segmenter.image_px)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        prior = ReferencePrior(PriorConfig(width=model.segmenter.glance(pixels).tokens.shape[-1], hidden=4))
        torch.nn.init.normal_(prior.say.weight)
        torch.nn.init.normal_(prior.vote.weight)
    model.segmenter.prior = prior.eval()
    return model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    return model.save_pretrained(tmp_path_factory.mktemp("prior") / "checkpoint")


def levels(features):
    return torch.cat([level.flatten() for level in features.vision.fpn_hidden_states])


def elsewhere(sample):
    """The sample, its references marked where they were not."""
    moved = [Reference(one.image, mask=~np.asarray(one.mask, dtype=bool)) for one in sample.references]
    return replace(sample, references=tuple(moved))


def test_features_depend_on_what_references_mark(model):
    build, sample = EpisodeBuilder(model), square_sample(0)
    seen, other, bare = (
        levels(encode_episodes(model, [build(s)])) for s in (sample, elsewhere(sample), replace(sample, references=()))
    )
    assert not torch.allclose(seen, other) and not torch.allclose(seen, bare)
    episode = build(sample)
    together = encode_beside(model, [episode.image] * 2, [sample.references, ()])
    assert torch.allclose(levels(together.select([0])), seen, atol=1e-5)
    assert torch.allclose(levels(together.select([1])), bare, atol=1e-5)


def test_references_are_not_read_where_no_prior_hears_of_them(model):
    unreadable = (Reference("nowhere.png", mask="nowhere.png"),)
    plain = tiny_model()
    image = EpisodeBuilder(plain)(square_sample(0)).image
    expected = levels(plain.segmenter.encode(plain.segmenter.preprocess([image])))
    assert torch.equal(levels(encode_beside(plain, [image], [unreadable])), expected)
    silent = model.config.model_copy(
        update={"protocol": model.config.protocol.model_copy(update={"reference_prior": False})}
    )
    held = ConceptSegModel(silent, model.reasoner, model.translation, model.segmenter)
    assert torch.equal(levels(encode_beside(held, [image], [unreadable])), expected)


def test_a_group_looks_at_its_references_once_and_draws_stay_apart(model, monkeypatch):
    sample = square_sample(0)
    build = EpisodeBuilder(model, lambda shown, draw: shown.references[draw : draw + 1])
    first, second = build(sample, 0), build(sample, 1)
    looked = []
    see = ConceptSegModel.see_references
    monkeypatch.setattr(
        ConceptSegModel, "see_references", lambda self, given: looked.append(len(given)) or see(self, given)
    )
    trainer = MetaGRPOTrainer.__new__(MetaGRPOTrainer)
    trainer._model, trainer._segmenter, trainer._seen = model, model.segmenter, None
    group = [first, first, second, second]
    features = trainer._features_of(group[:2], everyone=group)
    again = trainer._features_of(group[2:])
    assert looked == [1, 1]
    assert not torch.allclose(levels(features.select([0])), levels(again.select([0])))
    assert torch.allclose(levels(again.select([0])), levels(encode_episodes(model, [second])), atol=1e-5)


@pytest.mark.parametrize("stage", SHORT)
def test_a_run_from_a_checkpoint_with_a_prior_sees_references_and_keeps_the_prior(
    stage, checkpoint, squares, tmp_path, monkeypatch
):
    shown = []
    beside, episodes = warmup.encode_beside, meta_grpo.encode_episodes
    monkeypatch.setattr(warmup, "encode_beside", lambda *given: shown.extend(given[2]) or beside(*given))
    monkeypatch.setattr(
        meta_grpo, "encode_episodes", lambda *given: shown.extend(e.references for e in given[1]) or episodes(*given)
    )
    words = [f"model.checkpoint={checkpoint}", f"data.folders=[{squares}]", "data.world=null", "data.held_out=2"]
    words += ["model.device=cpu", "log.to=[]", "log.watched=1", "responses.max_new_tokens=6"][
        : 4 if stage == "warmup" else 3
    ]
    config = load_config(stage, None, [f"out={tmp_path / 'run'}", *words, *SHORT[stage]])
    train(config)
    assert len(shown) >= 2 and all(len(references) == 2 for references in shown)
    start = ConceptSegModel.from_pretrained(checkpoint).segmenter.prior.state_dict()
    for name in ("checkpoint-1", "model", *(["best"] if (config.out / "best").is_dir() else [])):
        prior = ConceptSegModel.from_pretrained(config.out / name).segmenter.prior
        assert all(torch.equal(value, start[key]) for key, value in prior.state_dict().items())


def test_a_prior_means_nothing_to_another_sam_and_is_left_behind(checkpoint, tmp_path):
    other = tiny_model(seed=1).save_pretrained(tmp_path / "other")
    mixed = ConceptSegModel.from_pretrained(checkpoint, sam=str(other / "sam"))
    assert mixed.segmenter.prior is None and not mixed.has_prior
    saved = mixed.save_pretrained(tmp_path / "mixed")
    assert ConceptSegConfig.read(saved).prior is None and not (saved / PRIOR_FILE).exists()
    assert ConceptSegModel.from_pretrained(saved).segmenter.prior is None
