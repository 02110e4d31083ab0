"""From a name to a local folder: the Hugging Face hub, its gates, its cache, and the environment's say in it.

Of the environment's variables it is `CONCEPTSEG_SAM` (a local copy or another hub id of SAM 3) that is read here, and
those of huggingface_hub (`HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN`, …) in that library.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from huggingface_hub import HfApi, constants, errors, get_token, is_offline_mode, snapshot_download

from conceptseg.errors import CheckpointError, HubAccessError, InputError

__all__ = [
    "Hub",
    "HubAccess",
    "HubSettings",
    "HubStatus",
    "HuggingFaceHub",
    "Source",
    "hub_access",
    "hub_settings",
    "require_access",
    "resolve",
    "split_revision",
]

# Of huggingface_hub's HTTP library (httpx, once requests), of the socket, and the answers that say "not now".
_NETWORK_ERRORS = (errors.HTTPError, errors.HfHubHTTPError, OSError)

_WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")


class HubStatus(str, Enum):
    """Whether a hub repository can be had; the value is a phrase for people."""

    CACHED = "already downloaded"
    OPEN = "can be downloaded"
    GATED = "gated, and not granted to this login"
    MISSING = "there is no such repository, or it is private"
    OFFLINE = "the hub cannot be reached"

    @property
    def is_usable(self) -> bool:
        """Whether loading from it can work."""
        return self in (HubStatus.CACHED, HubStatus.OPEN)


@dataclass(frozen=True)
class HubAccess:
    """What is known of a hub repository without downloading it."""

    repo_id: str
    """With "@" and a revision, where one was named."""
    status: HubStatus
    folder: Path | None = None
    """Where it lies, if it is already here."""

    def advice(self, flag: str = "--model") -> str:
        """What to do where it is not usable: which page, which command, which flag for a local copy."""
        repository, revision = split_revision(self.repo_id)
        local = f"pass a local copy with {flag} PATH" + (" (or set CONCEPTSEG_SAM)" if flag == "--sam" else "")
        if self.status is HubStatus.GATED:
            return (
                f"{repository} is gated. Request access at https://huggingface.co/{repository}, log in with "
                f"`hf auth login`, then try again; or {local}."
            )
        if self.status is HubStatus.MISSING:
            return (
                f"The hub has no repository {repository}, or it is private. Check the spelling at "
                f"https://huggingface.co/{repository}, log in with `hf auth login` if it is yours, or {local}."
            )
        if self.status is HubStatus.OFFLINE:
            switched = " (HF_HUB_OFFLINE is set)" if is_offline_mode() else ""
            wanted = repository + (f" --revision {revision}" if revision else "")
            return (
                f"{self.repo_id} is not downloaded yet and the hub cannot be reached{switched}. Where there is a "
                f"network, run `hf download {wanted}`, or {local}."
            )
        return f"{self.repo_id}: {self.status.value}."


@dataclass(frozen=True)
class HubSettings:
    """What the environment says about the hub."""

    cache_folder: Path
    offline: bool
    logged_in: bool
    sam: str | None
    """`CONCEPTSEG_SAM`: where SAM 3 is to be taken from instead of the hub."""


def hub_settings() -> HubSettings:
    """The environment's settings as they are now."""
    return HubSettings(
        cache_folder=Path(constants.HF_HUB_CACHE),
        offline=is_offline_mode(),
        logged_in=get_token() is not None,
        sam=os.environ.get("CONCEPTSEG_SAM", "").strip() or None,
    )


@runtime_checkable
class Hub(Protocol):
    """What is asked of a hub; the tests have their own. A `repo_id` may name a revision: see `split_revision`."""

    def cached(self, repo_id: str) -> Path | None:
        """The folder of a repository that is already here."""

    def check(self, repo_id: str) -> None:
        """Ask whether it may be downloaded; raises huggingface_hub's errors, or `OSError` without a network."""

    def download(self, repo_id: str, only: str | None = None) -> Path:
        """Fetch it (safetensors, configs, tokenizer; never pickles), or one file of it, and return its folder."""


class HuggingFaceHub:
    """The real hub."""

    def cached(self, repo_id: str) -> Path | None:
        """The folder of a repository that is already here, whole or in part."""
        name, revision = split_revision(repo_id)
        wanted = list(_WANTED_FILES)
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True))
        except (errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError):
            return None

    def check(self, repo_id: str) -> None:
        """Ask the hub whether this login may download the repository."""
        if is_offline_mode():
            raise ConnectionError("HF_HUB_OFFLINE is set")
        HfApi().auth_check(split_revision(repo_id)[0])

    def download(self, repo_id: str, only: str | None = None) -> Path:
        """Fetch what is not here yet and return the folder."""
        name, revision = split_revision(repo_id)
        return Path(snapshot_download(name, revision=revision, allow_patterns=[only] if only else list(_WANTED_FILES)))


@dataclass(frozen=True)
class Source:
    """Where one part of a model comes from, and how the user can name another place."""

    name: str
    """A folder, or a hub id with or without a revision: `owner/name@v1`."""
    role: str = "the model"
    """What it is, for messages."""
    flag: str = "--model"
    """The command line's flag for it."""

    @property
    def folder(self) -> Path | None:
        """The local folder that the name stands for; None if it can only be a hub id."""
        path = Path(self.name).expanduser()
        return path if self.name.strip() and path.is_dir() else None

    @property
    def repo_id(self) -> str:
        """The name without its revision; of a folder the name as it is."""
        return self.name if self.folder else split_revision(self.name)[0]


def split_revision(name: str) -> tuple[str, str | None]:
    """A hub id and its revision, a branch, tag or commit: `owner/name@v1` → (`owner/name`, `v1`)."""
    repo_id, _, revision = name.partition("@")
    return repo_id, revision or None


def hub_access(repo_id: str, *, hub: Hub | None = None) -> HubAccess:
    """Whether a hub repository can be had, without downloading anything. Used by `conceptseg doctor`."""
    hub = hub or HuggingFaceHub()
    cached = hub.cached(repo_id)
    if cached is not None:
        return HubAccess(repo_id, HubStatus.CACHED, cached)
    try:
        hub.check(repo_id)
    except errors.GatedRepoError:
        return HubAccess(repo_id, HubStatus.GATED)
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return HubAccess(repo_id, HubStatus.MISSING)
    except _NETWORK_ERRORS:
        return HubAccess(repo_id, HubStatus.OFFLINE)
    return HubAccess(repo_id, HubStatus.OPEN)


def require_access(sources: Sequence[Source], *, hub: Hub | None = None) -> None:
    """Make sure that every part can be had, before the first large file is touched.

    Raises:
        InputError: a name is neither a folder nor a hub id.
        HubAccessError: a repository is gated, unknown or out of reach; the messages of all of them.
    """
    problems = []
    for source in sources:
        if source.folder is None:
            access = hub_access(_hub_id(source), hub=hub)
            if not access.status.is_usable:
                problems.append(access.advice(source.flag))
    if problems:
        raise HubAccessError(" ".join(problems))


def resolve(source: Source, *, hub: Hub | None = None, only: str | None = None) -> Path:
    """The local folder of a source, downloaded if needed; the cache serves where the hub cannot be reached.

    Args:
        source: what to find.
        hub: where to ask; the Hugging Face hub by default.
        only: fetch no more than this file.

    Raises:
        InputError: the name is neither a folder nor a hub id.
        HubAccessError: the repository cannot be had.
    """
    if source.folder is not None:
        return source.folder
    hub = hub or HuggingFaceHub()
    repo_id = _hub_id(source)
    access = hub_access(repo_id, hub=hub)
    if not access.status.is_usable:
        raise HubAccessError(access.advice(source.flag))
    try:
        return hub.download(repo_id, only)
    except errors.RevisionNotFoundError as error:
        name, revision = split_revision(repo_id)
        raise HubAccessError(
            f"{name} has no revision {revision!r}: see https://huggingface.co/{name}/commits ({source.flag})."
        ) from error
    except (errors.LocalEntryNotFoundError, ConnectionError) as error:
        if access.folder is not None:
            return access.folder
        raise HubAccessError(
            f"Downloading {repo_id} was cut off ({error}). Try again; finished files are kept."
        ) from error
    except _NETWORK_ERRORS as error:
        raise HubAccessError(f"Downloading {repo_id} failed: {error}.") from error


def _hub_id(source: Source) -> str:
    """The name as a hub id.

    Raises:
        InputError: it has not the form of one.
        CheckpointError: it is a file, where a folder is expected.
    """
    name = source.name
    if Path(name).expanduser().is_file():
        raise CheckpointError(f"{source.role} should be a checkpoint folder, but {name!r} is a file ({source.flag}).")
    owner, _, repository = split_revision(name)[0].partition("/")
    starts_well = owner and not name.startswith((".", "/", "~"))
    if not (starts_well and repository and "/" not in repository and not name.endswith("@")):
        raise InputError(
            f"{source.role}: there is no folder {name!r}, and it is no hub id (owner/name, or owner/name@revision) "
            f"either ({source.flag})."
        )
    return name
