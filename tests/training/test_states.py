from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from conceptseg.data.references import ReferenceDrawer
from conceptseg.errors import InputError
from conceptseg.protocol import parse_response
from conceptseg.training.config import ResponseSection
from conceptseg.training.drawing import Turn
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.responses import fill_store, read_episodes, template_response, with_true_boxes
from conceptseg.training.rewards import Truth
from conceptseg.training.states import StateRecord, StateStore, address_of, fingerprint_of, pad_states
from tests.training.tiny import square_sample, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def episodes(model):
    return [EpisodeBuilder(model)(square_sample(k)) for k in range(3)]


def record(value, length=3):
    return StateRecord(f"said {value}", f"answer {value}", torch.full((length, 4), float(value)))


def test_records_come_back_from_disk(tmp_path):
    store = StateStore(tmp_path)
    store.add("a", record(1))
    store.add("b", record(2, length=5))
    store.flush()
    again = StateStore(tmp_path)
    assert len(again) == 2
    assert "a" in again and "c" not in again
    assert (again["b"].response, again["b"].answer) == ("said 2", "answer 2")
    assert torch.equal(again["b"].states, torch.full((5, 4), 2.0))
    with pytest.raises(KeyError, match="c"):
        again["c"]


def test_shards_are_written_when_they_are_full(tmp_path):
    store = StateStore(tmp_path, shard_bytes=2 * 3 * 4 * 4)
    for number in range(5):
        store.add(str(number), record(number))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert torch.equal(store["4"].states, record(4).states)  # pending ones are there too
    assert len(StateStore(tmp_path)) == 4


def test_several_processes_share_a_folder(tmp_path):
    first, second = StateStore(tmp_path), StateStore(tmp_path)
    first.add("a", record(1))
    first.flush()
    second.add("b", record(2))
    second.flush()
    assert "a" not in second
    second.refresh()
    assert torch.equal(second["a"].states, record(1).states)


def test_a_damaged_shard_is_left_aside(tmp_path, caplog):
    store = StateStore(tmp_path)
    store.add("a", record(1))
    store.flush()
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        again = StateStore(tmp_path)
    assert len(again) == 0
    assert "is damaged" in caplog.text
    again.add("a", record(1))
    again.flush()
    assert "a" in StateStore(tmp_path)


def test_the_address_depends_on_all_that_the_states_depend_on(model, episodes):
    first = episodes[0]
    base = address_of(first, "model", "true_boxes", 12)
    assert base == address_of(EpisodeBuilder(model)(square_sample(0)), "model", "true_boxes", 12)
    darker = first.prompt.images[-1].point(lambda value: value // 2)
    others = [
        address_of(episodes[1], "model", "true_boxes", 12),
        address_of(first, "another model", "true_boxes", 12),
        address_of(first, "model", "generated", 12),
        address_of(first, "model", "true_boxes", 13),
        address_of(replace(first, prompt=replace(first.prompt, text="other words")), "model", "true_boxes", 12),
        address_of(replace(first, prompt=replace(first.prompt, images=(darker,))), "model", "true_boxes", 12),
        address_of(replace(first, truth=Truth((1.0, 1.0, 2.0, 2.0))), "model", "true_boxes", 12),
    ]
    assert len({base, *others}) == 8


def test_the_fingerprint_follows_the_weights(model):
    before = fingerprint_of(model.reasoner.mllm)
    assert before == fingerprint_of(tiny_model().reasoner.mllm)
    assert before != fingerprint_of(tiny_model(seed=1).reasoner.mllm)


def test_padding_is_masked():
    states, mask = pad_states([record(1, length=2), record(2, length=4)])
    assert states.shape == (2, 4, 4)
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert states[0, 2:].abs().max() == 0


SAID = (
    "<think>it is bright</think><rule>bright</rule><check>[1, 1, 2, 2]</check>"
    "<bbox>[3, 3, 4, 4]</bbox><answer>disc</answer>"
)


def test_true_boxes_replace_the_said_ones(episodes):
    text, answer = with_true_boxes(episodes[0], episodes[0].read(SAID))
    assert answer == "disc"
    read = parse_response(text)
    assert read.is_strict
    assert (read.think, read.rule) == ("it is bright", "bright")
    for said, true in ((read.box, episodes[0].truth.box), (read.check, episodes[0].truth.check)):
        assert said == pytest.approx(true, abs=0.5)  # whole pixels


def test_what_was_not_said_stays_unsaid(episodes):
    text, answer = with_true_boxes(episodes[0], episodes[0].read("nonsense"))
    assert answer == "bright square"
    read = parse_response(text)
    assert (read.think, read.rule) == (None, None)
    assert read.box is not None and read.check is not None


def test_tags_inside_a_thought_are_not_fed_back(episodes):
    text, answer = with_true_boxes(episodes[0], episodes[0].read("<think>a <answer> b</think><answer>x"))
    assert "<think>" not in text
    assert parse_response(text).box is not None
    assert answer == "bright square"


def test_the_bare_template_has_the_true_box_alone(episodes):
    said = [template_response(episode) for episode in episodes]
    assert {answer for _, answer in said} <= {"visual", "object"}
    assert said[0] == template_response(episodes[0])
    assert said[0][0].startswith("<bbox>[") and said[0][0].endswith("]</bbox>")


@pytest.mark.parametrize("source", ["true_boxes", "generated", "template"])
def test_states_are_those_of_the_response(model, episodes, source):
    section = ResponseSection(source=source, max_new_tokens=8)
    for episode, found in zip(episodes, read_episodes(model, episodes, section), strict=True):
        if source == "generated":
            generated = model.reasoner.generate([episode.prompt], max_new_tokens=8)
            alone = states_by_one_pass(model, episode.prompt, generated.token_ids[generated.mask])
            assert found.response == generated.texts[0]
        else:
            read = model.reasoner.hidden_states_of([episode.prompt], [found.response])
            alone = read.hidden_states[0][read.mask[0]]
        assert torch.allclose(found.states, alone, atol=1e-4)


def states_by_one_pass(model, prompt, ids):
    """What the plain model says of a prompt and the tokens after it; words that came out once may be cut otherwise."""
    inputs = model.reasoner.encode([prompt])
    inputs["input_ids"] = torch.cat([inputs.input_ids, ids[None]], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs.input_ids)
    inputs["mm_token_type_ids"] = (inputs.input_ids == model.reasoner.processor.image_token_id).long()
    with torch.no_grad():
        return model.reasoner.mllm.model(**inputs).last_hidden_state[0, -len(ids) :]


def test_generated_states_cost_no_second_pass(model, episodes, monkeypatch):
    def refuse(*_args):
        raise InputError("a second pass")

    monkeypatch.setattr(type(model.reasoner), "hidden_states_of", refuse)
    read_episodes(model, episodes, ResponseSection(source="generated", max_new_tokens=4))
    with pytest.raises(InputError, match="a second pass"):
        read_episodes(model, episodes, ResponseSection(source="true_boxes", max_new_tokens=4))


TURNS = [Turn(place) for place in range(5)]


def test_a_second_filling_finds_everything(model, tmp_path, monkeypatch):
    samples = [square_sample(k) for k in range(5)]
    section = ResponseSection(source="template", batch_size=2)
    fill = lambda: fill_store(model, EpisodeBuilder(model), samples, TURNS, section, StateStore(tmp_path), "f")  # noqa: E731
    first = fill()
    assert sorted(first) == TURNS
    monkeypatch.setattr("conceptseg.training.responses.read_episodes", None)
    assert fill() == first


def test_shares_of_processes_cover_all_samples(model, tmp_path):
    samples = [square_sample(k) for k in range(5)]
    section = ResponseSection(source="template", batch_size=2)
    shares = [
        fill_store(model, EpisodeBuilder(model), samples, TURNS, section, StateStore(tmp_path), "f", share=(rank, 2))
        for rank in (0, 1)
    ]
    assert [sorted(turn.place for turn in share) for share in shares] == [[0, 1, 4], [2, 3]]
    assert len(StateStore(tmp_path)) == 5


def test_each_draw_of_references_has_states_of_its_own(model, tmp_path):
    """The last sample has no other references to be shown with, so that its states are the same in every draw."""
    samples = [square_sample(k, references=0) for k in range(5)] + [square_sample(9, references=2)]
    drawer = ReferenceDrawer(samples[:5], seed=0, count=2)
    build = EpisodeBuilder(model, drawer.references_of)
    store, section = StateStore(tmp_path), ResponseSection(source="template", batch_size=4)
    turns = [Turn(place, draw) for draw in range(2) for place in (0, 1, 5)]
    found = fill_store(model, build, samples, [*turns, *turns], section, store, "f")
    assert sorted(found) == sorted(turns)
    assert len(set(found.values())) == len(store) == 5
    assert found[Turn(5, 0)] == found[Turn(5, 1)]
    for turn in turns:
        read = model.reasoner.hidden_states_of(
            [build(samples[turn.place], turn.draw).prompt], [store[found[turn]].response]
        )
        assert torch.allclose(store[found[turn]].states, read.hidden_states[0][read.mask[0]], atol=1e-4)
