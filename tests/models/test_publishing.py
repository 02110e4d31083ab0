"""Checkpoints to the hub and back, against a hub made of folders; what it refuses is told in a sentence."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import errors

from conceptseg.errors import HubAccessError, InputError
from conceptseg.models.conceptseg import ConceptSegModel, load_model

from .test_hub import FakeHub


class FakeApi:
    """The hub's side of uploading: a folder a repository; `refuses` is raised by the first call."""

    def __init__(self, root: Path, refuses: Exception | None = None, fails: Exception | None = None) -> None:
        self.root, self.refuses, self.fails = root, refuses, fails
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", options))
        if self.refuses:
            raise self.refuses
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_branch", options))

    def file_exists(self, repo_id: str, filename: str) -> bool:
        return (self.root / repo_id / filename).is_file()

    def upload_folder(self, *, repo_id: str, folder_path: Path, delete_patterns: list[str], **options: Any) -> Any:
        self.calls.append(("upload_folder", options))
        if self.fails:
            raise self.fails
        target = self.root / repo_id
        for path in [path for path in target.rglob("*") if path.is_file()]:
            if any(fnmatch(path.relative_to(target).as_posix(), pattern) for pattern in delete_patterns):
                path.unlink()
        shutil.copytree(folder_path, target, dirs_exist_ok=True)
        is_request = options["create_pr"]
        return SimpleNamespace(
            commit_url=f"https://hub/{repo_id}/commit/1", pr_url="https://hub/pr" if is_request else None
        )


@pytest.fixture(scope="module")
def model(released_folder: Path, sam_folder: Path) -> ConceptSegModel:
    return load_model(released_folder, sam=sam_folder)


@pytest.fixture
def api(tmp_path: Path) -> FakeApi:
    return FakeApi(tmp_path)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}


def test_there_and_back_gives_the_same_model(model: ConceptSegModel, api: FakeApi, sam_folder: Path) -> None:
    address = model.push_to_hub("me/mine", sam="facebook/sam3", api=api, private=True)
    assert address == "https://hub/me/mine/commit/1"
    assert files(api.root / "me/mine") == {"README.md", "config.json", "ctm.safetensors", "mllm"}
    assert api.calls[0] == ("create_repo", {"private": True, "exist_ok": True})
    hub = FakeHub({"me/mine": api.root / "me/mine", "facebook/sam3": sam_folder})
    again = ConceptSegModel.from_pretrained("me/mine", hub=hub)
    assert again.config.sam == "facebook/sam3"
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in mine.items())


def test_a_sam_3_of_its_own_goes_along(model: ConceptSegModel, api: FakeApi, tmp_path: Path) -> None:
    whole = load_model(model.save_pretrained(tmp_path / "whole"))
    whole.push_to_hub("me/whole", api=api)
    assert files(api.root / "me/whole") == {"README.md", "config.json", "ctm.safetensors", "mllm", "sam"}
    bare = load_model(tmp_path / "whole", with_sam=False)
    with pytest.raises(InputError, match=r"from its folder, and was loaded without: .*sam='facebook/sam3'"):
        bare.push_to_hub("me/bare", api=api)
    bare.push_to_hub("me/whole", sam="facebook/sam3", api=api)  # replaces the whole one, SAM 3 and all
    assert files(api.root / "me/whole") == {"README.md", "config.json", "ctm.safetensors", "mllm"}


def test_a_path_that_nobody_else_has_is_refused_before_anything_is_made(model: ConceptSegModel, api: FakeApi) -> None:
    with pytest.raises(InputError, match=r"takes SAM 3 from .*, which nobody else has: .*sam='facebook/sam3'"):
        model.push_to_hub("me/mine", api=api)
    assert api.calls == []


def test_the_card_says_how_to_load_it_and_is_not_overwritten(model: ConceptSegModel, api: FakeApi) -> None:
    model.push_to_hub("me/mine", sam="facebook/sam3", api=api)
    card = api.root / "me/mine/README.md"
    text = card.read_text()
    assert text.startswith("---\nlicense: unknown\nlibrary_name: conceptseg\n")
    assert 'from_pretrained("me/mine")' in text and "`facebook/sam3`" in text
    card.write_text("written by a person")
    model.push_to_hub("me/mine", sam="facebook/sam3", api=api)
    assert card.read_text() == "written by a person"


def test_other_licences_are_named(model: ConceptSegModel, api: FakeApi) -> None:
    config = model.config.model_copy(update={"license": "Qwen Research"})
    licensed = ConceptSegModel(config, model.reasoner, model.translation, None)
    licensed.push_to_hub("me/mine", sam="facebook/sam3", api=api)
    assert "license: other\nlicense_name: Qwen Research\n" in (api.root / "me/mine/README.md").read_text()


def test_a_branch_is_made_and_a_request_opened(model: ConceptSegModel, api: FakeApi) -> None:
    model.push_to_hub("me/mine", sam="facebook/sam3", revision="v2", commit_message="Better", api=api)
    assert ("create_branch", {"branch": "v2", "exist_ok": True}) in api.calls
    assert api.calls[-1][1] == {"commit_message": "Better", "revision": "v2", "create_pr": False}
    assert model.push_to_hub("me/mine", sam="facebook/sam3", create_pr=True, api=api) == "https://hub/pr"


def answered(status: int) -> errors.HfHubHTTPError:
    return errors.HfHubHTTPError(f"{status}", response=Mock(status_code=status))


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            errors.LocalTokenNotFoundError("no token"),
            r"Uploading to me/mine needs a login\. Log in with `hf auth login`",
        ),
        (answered(401), "The hub does not accept this login, or there is none. Log in with"),
        (answered(403), "This login may not write to me/mine: its owner must be you"),
        (errors.RepositoryNotFoundError("404", response=Mock(status_code=404)), "may not write to me/mine"),
        (answered(503), "Uploading to me/mine failed: 503"),
        (errors.OfflineModeIsEnabled("offline"), "The hub cannot be reached to upload me/mine"),
        (ConnectionError("no route"), "The hub cannot be reached to upload me/mine: no route"),
    ],
)
def test_refusals_are_told_before_anything_is_written(
    model: ConceptSegModel, tmp_path: Path, refusal: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConceptSegModel, "save_pretrained", Mock(side_effect=AssertionError("written too early")))
    with pytest.raises(HubAccessError, match=told):
        model.push_to_hub("me/mine", sam="facebook/sam3", api=FakeApi(tmp_path, refusal))


def test_a_failure_while_uploading_is_told_too(model: ConceptSegModel, tmp_path: Path) -> None:
    with pytest.raises(HubAccessError, match="may not write to me/mine"):
        model.push_to_hub("me/mine", sam="facebook/sam3", api=FakeApi(tmp_path, fails=answered(403)))


def test_a_name_that_is_none_is_told(model: ConceptSegModel) -> None:
    with pytest.raises(InputError, match=r"'a/b/c' is no name of a hub repository \(owner/name\)"):
        model.push_to_hub("a/b/c", sam="facebook/sam3")  # huggingface_hub looks at the name before it asks anybody
