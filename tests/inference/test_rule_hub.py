"""Rules to the hub and back, against a hub made of folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conceptseg.errors import HubAccessError, InputError
from conceptseg.inference import Rule
from tests.inference.test_learning import Oracle, _references, learn
from tests.models.test_hub import FakeHub
from tests.models.test_publishing import FakeApi


@pytest.fixture(scope="module")
def rule() -> Rule:
    return replace(learn(Oracle(), _references(4)), concept="surface\ndefect")


def test_there_and_back(rule: Rule, tmp_path: Path) -> None:
    api = FakeApi(tmp_path)
    told = rule.push_to_hub("me/defect", private=True, api=api)
    assert told == "https://hub/me/defect/commit/1" and api.calls[0] == (
        "create_repo",
        {"private": True, "exist_ok": True},
    )
    again = Rule.from_pretrained("me/defect", hub=FakeHub({"me/defect": tmp_path / "me/defect"}))
    assert again.begun == rule.begun and again.expected_iou == rule.expected_iou
    card = (tmp_path / "me/defect/README.md").read_text()
    assert "# surface defect\n" in card and 'Rule.from_pretrained("me/defect")' in card and rule.describe() in card


def test_another_rule_replaces_it_and_the_card_stays(rule: Rule, tmp_path: Path) -> None:
    api, folder = FakeApi(tmp_path), tmp_path / "me/defect"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("mine")
    (folder / "old.rule").write_bytes(b"")
    assert rule.push_to_hub("me/defect", create_pr=True, api=api) == "https://hub/pr"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "concept.rule"]
    assert (folder / "README.md").read_text() == "mine"


def test_a_file_or_a_folder_will_do(rule: Rule, tmp_path: Path) -> None:
    path = rule.save(tmp_path / "a.rule")
    assert Rule.from_pretrained(path).calls == Rule.from_pretrained(tmp_path).calls == rule.calls
    rule.save(tmp_path / "b.rule")
    with pytest.raises(InputError, match=r"should hold one rule .* but holds 2: a.rule, b.rule"):
        Rule.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="the rule: there is no folder 'nowhere'"):
        Rule.from_pretrained("nowhere")


def test_what_cannot_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(HubAccessError, match="me/none"):
        Rule.from_pretrained("me/none", hub=FakeHub({}))
