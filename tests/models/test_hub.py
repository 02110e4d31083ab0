"""Gates, networks and half downloads: each failure is one clear message, before anything large is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import HfApi, constants, errors
from safetensors.torch import save_file

from conceptseg.errors import CheckpointError, HubAccessError, InputError
from conceptseg.models import checkpoints
from conceptseg.models.checkpoints import Layout, open_checkpoint
from conceptseg.models.full_size import qwen2_5_vl_config
from conceptseg.models.hub import HubAccess, HubStatus, Source, hub_access, hub_settings, require_access, resolve
from conceptseg.models.loading import load_parts
from conceptseg.models.needs import estimate_memory
from conceptseg.models.released import import_checkpoint

RELEASED = "zhaoyuan666/ConceptSeg-R1-7B"
GATED = errors.GatedRepoError("403", response=Mock())
UNKNOWN = errors.RepositoryNotFoundError("404", response=Mock())


class FakeHub:
    """A hub with some folders, some of them already downloaded, and some errors."""

    def __init__(
        self,
        folders: dict[str, Path] | None = None,
        refusals: dict[str, Exception] | None = None,
        here: tuple[str, ...] = (),
        breaks: Exception | None = None,
    ) -> None:
        self.folders, self.refusals, self.here, self.breaks = folders or {}, refusals or {}, here, breaks
        self.downloaded: list[tuple[str, str | None]] = []

    def cached(self, repo_id: str) -> Path | None:
        return self.folders[repo_id] if repo_id in self.here else None

    def check(self, repo_id: str) -> None:
        if repo_id in self.refusals:
            raise self.refusals[repo_id]
        if repo_id not in self.folders:
            raise UNKNOWN

    def download(self, repo_id: str, only: str | None = None) -> Path:
        self.downloaded.append((repo_id, only))
        if self.breaks is not None:
            raise self.breaks
        return self.folders[repo_id]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GATED, HubStatus.GATED),
        (UNKNOWN, HubStatus.MISSING),
        (ConnectionError("no route"), HubStatus.OFFLINE),
        (errors.HTTPError("[Errno -2] Name or service not known"), HubStatus.OFFLINE),
        (errors.OfflineModeIsEnabled("offline"), HubStatus.OFFLINE),
        (errors.HfHubHTTPError("503", response=Mock()), HubStatus.OFFLINE),
    ],
)
def test_what_the_hub_says_becomes_a_status(error: Exception, status: HubStatus):
    access = hub_access("facebook/sam3", hub=FakeHub(refusals={"facebook/sam3": error}))
    assert access.status is status and not status.is_usable


def test_what_is_here_needs_no_hub(tmp_path: Path):
    hub = FakeHub({"a/b": tmp_path}, {"a/b": ConnectionError()}, here=("a/b",))
    access = hub_access("a/b", hub=hub)
    assert (access.status, access.folder) == (HubStatus.CACHED, tmp_path)
    assert hub_access("a/c", hub=FakeHub({"a/c": tmp_path})).status is HubStatus.OPEN


def test_a_gate_is_explained_with_page_command_and_flag():
    hub = FakeHub(refusals={"facebook/sam3": GATED})
    with pytest.raises(HubAccessError) as caught:
        require_access([Source("facebook/sam3", "SAM 3", "--sam")], hub=hub)
    for part in ("https://huggingface.co/facebook/sam3", "`hf auth login`", "--sam PATH", "CONCEPTSEG_SAM"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_parts_are_asked_about_at_once():
    hub = FakeHub(refusals={"facebook/sam3": GATED})
    with pytest.raises(HubAccessError, match=r"no repository me/mine.*facebook/sam3 is gated"):
        require_access([Source("me/mine"), Source("facebook/sam3", "SAM 3", "--sam")], hub=hub)


def test_the_gate_of_sam_3_stops_before_the_large_download(released_folder: Path):
    hub = FakeHub({RELEASED: released_folder}, {"facebook/sam3": GATED})
    with pytest.raises(HubAccessError, match="facebook/sam3 is gated"):
        load_parts(RELEASED, hub=hub)
    assert hub.downloaded == [(RELEASED, "config.json")]


def test_a_cut_off_download_says_so_or_uses_what_is_here(tmp_path: Path):
    cut = FakeHub({"a/b": tmp_path}, breaks=ConnectionError("reset"))
    with pytest.raises(HubAccessError, match=r"Downloading a/b was cut off \(reset\)"):
        resolve(Source("a/b"), hub=cut)
    full = FakeHub({"a/b": tmp_path}, breaks=OSError(28, "No space left on device"))
    with pytest.raises(HubAccessError, match=r"Downloading a/b failed: .*No space left"):
        resolve(Source("a/b"), hub=full)
    here = FakeHub({"a/b": tmp_path}, here=("a/b",), breaks=ConnectionError("reset"))
    assert resolve(Source("a/b"), hub=here) == tmp_path


@pytest.mark.parametrize("name", ["nonsense", "./no/such", "/no/such", "~/no/such", "a/b/c", "a/", "", "a/b@", "@a/b"])
def test_a_name_that_can_be_neither_folder_nor_repository(name: str):
    with pytest.raises(InputError, match=r"there is no folder .* and it is no hub id"):
        resolve(Source(name), hub=FakeHub())


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "sam3.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"should be a checkpoint folder, but .*sam3\.pt' is a file"):
        resolve(Source(str(tmp_path / "sam3.pt")), hub=FakeHub())


def test_offline_mode_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert (hub_settings().offline, hub_settings().cache_folder) == (True, tmp_path)
    with pytest.raises(HubAccessError, match=r"HF_HUB_OFFLINE is set.*`hf download facebook/sam3`.*--model PATH"):
        resolve(Source("facebook/sam3"))


def test_the_hubs_cache_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sam_folder: Path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--sam3"
    shutil.copytree(sam_folder, repository / "snapshots" / "0" / ".")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    assert resolve(Source("facebook/sam3")) == repository / "snapshots" / "0"


def test_a_revision_reaches_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[tuple[str, str | None]] = []

    def snapshot(repo_id: str, *, revision: str | None, local_files_only: bool = False, **_options: object) -> str:
        asked.append((repo_id, revision))
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        if revision == "absent":
            raise errors.RevisionNotFoundError("404", response=Mock())
        return str(tmp_path)

    monkeypatch.setattr("conceptseg.models.hub.snapshot_download", snapshot)
    monkeypatch.setattr(HfApi, "auth_check", lambda self, repo_id: asked.append((repo_id, None)))
    assert resolve(Source("me/mine@refs/pr/1")) == tmp_path
    assert asked == [("me/mine", "refs/pr/1"), ("me/mine", None), ("me/mine", "refs/pr/1")]
    with pytest.raises(HubAccessError, match=r"me/mine has no revision 'absent': see https://huggingface\.co/me/mine/"):
        resolve(Source("me/mine@absent"))


def test_advice_tells_a_revision_from_its_repository():
    gated = HubAccess("facebook/sam3@v1", HubStatus.GATED).advice("--sam")
    assert "https://huggingface.co/facebook/sam3, log in" in gated
    offline = HubAccess("facebook/sam3@v1", HubStatus.OFFLINE).advice("--sam")
    assert "`hf download facebook/sam3 --revision v1`" in offline


def test_a_revision_of_a_published_model_is_that_model(released_folder: Path, sam_folder: Path, tmp_path: Path):
    hub = FakeHub({f"{RELEASED}@v1": released_folder, "facebook/sam3@v2": sam_folder})
    checkpoint = open_checkpoint(f"{RELEASED}@v1", sam="facebook/sam3@v2", hub=hub)
    assert (checkpoint.config.name, checkpoint.config.license) == ("ConceptSeg-R1-7B", "Apache-2.0")
    assert checkpoint.config.mllm == f"{RELEASED}@v1"
    ours = import_checkpoint(f"{RELEASED}@v1", tmp_path / "a@b", sam="facebook/sam3@v2", hub=hub)
    assert open_checkpoint(str(ours), hub=hub).sam_folder == sam_folder  # an "@" in a folder's name means nothing


class TestNeeds:
    """What `conceptseg doctor --model` estimates from: configs, and nothing larger."""

    def test_of_an_unknown_repository_only_configs_are_fetched(self, released_folder: Path, sam_folder: Path):
        hub = FakeHub({"me/mine": released_folder, "me/sam": sam_folder})
        here = estimate_memory(str(released_folder), sam=str(sam_folder))
        assert estimate_memory("me/mine", sam="me/sam", hub=hub) == here
        assert hub.downloaded == [("me/mine", "config.json")] * 2 + [("me/sam", "config.json")]

    def test_of_our_own_format_too(self, released_folder: Path, sam_folder: Path, tmp_path: Path):
        ours = import_checkpoint(released_folder, tmp_path / "ours", sam="me/sam")
        hub = FakeHub({"me/ours": ours, "me/sam": sam_folder})
        assert estimate_memory("me/ours", hub=hub) == estimate_memory(str(released_folder), sam=str(sam_folder))
        assert {only for _, only in hub.downloaded} == {"config.json", "mllm/config.json"}

    @pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
    def test_a_config_alone_tells_nearly_the_same_as_the_tensors(self, tmp_path: Path, sam_folder: Path, kind: str):
        raw = qwen2_5_vl_config("7B").to_dict() | {"model_type": kind, "num_of_query": 8}
        (tmp_path / "config.json").write_text(json.dumps(raw))
        told = estimate_memory("me/mine", sam="facebook/sam3", hub=FakeHub({"me/mine": tmp_path}))
        assert told == estimate_memory(RELEASED)

    def test_a_published_model_needs_no_hub_in_any_revision(self):
        assert estimate_memory(f"{RELEASED}@v1", hub=FakeHub()) == estimate_memory(RELEASED, hub=FakeHub())


class TestWhereSam3ComesFrom:
    """The flag, then `CONCEPTSEG_SAM`, then what the checkpoint names."""

    @pytest.fixture
    def hub(self, released_folder: Path, sam_folder: Path) -> FakeHub:
        return FakeHub({RELEASED: released_folder, "facebook/sam3": sam_folder})

    def test_the_checkpoint_names_the_hub(self, hub: FakeHub, sam_folder: Path):
        assert open_checkpoint(RELEASED, hub=hub).sam_folder == sam_folder

    def test_the_environment_names_a_copy(self, hub: FakeHub, sam_folder: Path, tmp_path: Path, monkeypatch):
        shutil.copytree(sam_folder, tmp_path / "copy")
        monkeypatch.setenv("CONCEPTSEG_SAM", str(tmp_path / "copy"))
        assert hub_settings().sam == str(tmp_path / "copy")
        assert open_checkpoint(RELEASED, hub=hub).sam_folder == tmp_path / "copy"

    def test_the_flag_wins(self, hub: FakeHub, sam_folder: Path, tmp_path: Path, monkeypatch):
        shutil.copytree(sam_folder, tmp_path / "copy")
        monkeypatch.setenv("CONCEPTSEG_SAM", "/nowhere/at/all")
        assert open_checkpoint(RELEASED, sam=str(tmp_path / "copy"), hub=hub).sam_folder == tmp_path / "copy"

    def test_an_imported_checkpoint_asks_the_environment_too(
        self, hub: FakeHub, released_folder: Path, sam_folder: Path, tmp_path: Path, monkeypatch
    ):
        ours = import_checkpoint(released_folder, tmp_path / "ours")
        assert open_checkpoint(str(ours), hub=hub).sam_folder == sam_folder
        shutil.copytree(sam_folder, tmp_path / "copy")
        monkeypatch.setenv("CONCEPTSEG_SAM", str(tmp_path / "copy"))
        assert open_checkpoint(str(ours), hub=hub).sam_folder == tmp_path / "copy"

    def test_a_checkpoint_with_its_own_sam_3_keeps_it(
        self, hub: FakeHub, released_folder: Path, sam_folder: Path, tmp_path: Path, monkeypatch
    ):
        ours = import_checkpoint(released_folder, tmp_path / "ours", sam="sam")
        shutil.copytree(sam_folder, ours / "sam")
        monkeypatch.setenv("CONCEPTSEG_SAM", "/nowhere/at/all")
        assert open_checkpoint(str(ours), hub=hub).sam_folder == ours / "sam"


class TestPairs:
    """`MLLM+SAM`: two names, no concept translation."""

    @pytest.fixture
    def mllm_folder(self, released_folder: Path, tmp_path: Path) -> Path:
        return import_checkpoint(released_folder, tmp_path / "ours") / "mllm"

    def test_two_hub_ids(self, mllm_folder: Path, sam_folder: Path):
        hub = FakeHub({"Qwen/Qwen2.5-VL-7B-Instruct": mllm_folder, "facebook/sam3": sam_folder})
        checkpoint = open_checkpoint("Qwen/Qwen2.5-VL-7B-Instruct+facebook/sam3", hub=hub)
        assert checkpoint.layout is Layout.PAIR
        assert checkpoint.config.translation is None
        assert (checkpoint.config.license, checkpoint.config.protocol.frame_px) == ("Apache-2.0", 588)

    def test_two_folders_even_with_a_plus_in_a_name(self, mllm_folder: Path, sam_folder: Path, tmp_path: Path):
        assert open_checkpoint(f"{mllm_folder}+{sam_folder}").sam_folder == sam_folder
        shutil.copytree(mllm_folder.parent, tmp_path / "a+b")
        assert open_checkpoint(str(tmp_path / "a+b"), sam=str(sam_folder)).layout is Layout.OWN

    def test_an_mllm_alone_is_told_to_bring_sam_3(self, mllm_folder: Path, sam_folder: Path):
        with pytest.raises(CheckpointError, match=r"without a concept translation.*\+facebook/sam3"):
            open_checkpoint(str(mllm_folder), sam=str(sam_folder))

    def test_a_released_checkpoint_in_a_pair_keeps_its_translation(self, released_folder: Path, sam_folder: Path):
        checkpoint = open_checkpoint(f"{released_folder}+{sam_folder}")
        assert checkpoint.layout is Layout.RELEASED and checkpoint.config.translation is not None


class TestWrongSam3:
    """Everything that is not SAM 3 is refused plainly."""

    @pytest.fixture
    def copy(self, sam_folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(sam_folder, tmp_path / "copy"))

    @pytest.mark.parametrize("name", ["facebook/sam3.1", "facebook/SAM3.1@main"])
    def test_sam_3_1_by_its_name_before_any_download(self, released_folder: Path, name: str):
        hub = FakeHub()
        with pytest.raises(CheckpointError, match=r"is SAM 3\.1 as a pickle file"):
            open_checkpoint(str(released_folder), sam=name, hub=hub)
        assert hub.downloaded == []

    def test_sam_3_1_by_its_files(self, released_folder: Path, tmp_path: Path):
        (tmp_path / "sam3.1_multiplex.pt").write_bytes(b"x")
        with pytest.raises(CheckpointError, match=r"only as pickle files \(sam3\.1_multiplex\.pt\)"):
            open_checkpoint(str(released_folder), sam=str(tmp_path))

    def test_another_architecture(self, released_folder: Path, copy: Path):
        (copy / "config.json").write_text(json.dumps({"model_type": "sam2"}))
        with pytest.raises(CheckpointError, match="is not SAM 3 but 'sam2'"):
            open_checkpoint(str(released_folder), sam=str(copy))

    def test_metas_own_file(self, released_folder: Path, tmp_path: Path):
        (tmp_path / "sam3.pt").write_bytes(b"x")
        with pytest.raises(CheckpointError, match=r"only as pickle files \(sam3.pt\)"):
            open_checkpoint(str(released_folder), sam=str(tmp_path))

    def test_metas_own_names(self, released_folder: Path, copy: Path):
        save_file({"detector.backbone.weight": torch.zeros(1)}, copy / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"holds SAM 3 under the names of Meta's own package.*models import"):
            open_checkpoint(str(released_folder), sam=str(copy))

    def test_another_width(self, released_folder: Path, copy: Path):
        config = json.loads((copy / "config.json").read_text())
        config["detector_config"]["detr_encoder_config"]["hidden_size"] = 64
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match="writes tokens 16 wide, SAM 3's prompt space is 64 wide"):
            open_checkpoint(str(released_folder), sam=str(copy))


def test_an_unknown_checkpoint_is_exit_2_and_one_line(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"not read before the model is there")
    command = [sys.executable, "-m", "conceptseg.interfaces.cli", "segment", "a.png", "--concept", "cat"]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--model", RELEASED], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"{RELEASED} is not downloaded yet and the hub cannot be reached (HF_HUB_OFFLINE is set)" in done.stderr


def test_the_bundled_checkpoint_is_inside_the_package():
    folder = checkpoints.bundled_folder()
    assert folder.parts[-3:] == ("conceptseg", "weights", "nano")
