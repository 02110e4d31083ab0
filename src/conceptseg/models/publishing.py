"""From a checkpoint's folder to the Hugging Face hub: what may go there, under which card, and why it could not.

SAM 3 is not ours to pass on: a checkpoint that takes it from a hub id goes on naming that id. A SAM 3 that belongs to
the checkpoint, such as nano's, goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from huggingface_hub import HfApi, errors

from conceptseg.errors import HubAccessError, InputError
from conceptseg.models.calibrated_router import ROUTER_FILE
from conceptseg.models.calibration import CALIBRATION_FILE
from conceptseg.models.config import CTM_FILE, PRIOR_FILE, ConceptSegConfig

__all__ = ["HubWriter", "commit_folder", "is_hub_id", "push_folder", "repository_for"]

_CARD = "README.md"
_REPLACED = (CTM_FILE, PRIOR_FILE, CALIBRATION_FILE, ROUTER_FILE, "mllm/*", "sam/*")
"""What an earlier checkpoint in the repository must not leave behind."""

_LICENCES = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "unknown"})


@runtime_checkable
class HubWriter(Protocol):
    """What is asked of the hub: a part of `huggingface_hub.HfApi`; the tests have their own."""

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        """Make the repository, unless it is there."""

    def create_branch(self, repo_id: str, *, branch: str, exist_ok: bool) -> Any:
        """Make a branch, unless it is there."""

    def file_exists(self, repo_id: str, filename: str) -> bool:
        """Whether the repository has a file."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> Any:
        """Commit a folder's files."""


def repository_for(
    repo_id: str, *, private: bool | None = None, token: str | None = None, api: HubWriter | None = None
) -> HubWriter:
    """Make sure of a repository to write to, before anything large is written.

    Args:
        repo_id: `owner/name`, or `name` for one's own.
        private: whether a new repository is private; None leaves it to the owner's settings.
        token: of an account that may write there; None takes the one of `hf auth login`.
        api: where to ask; the Hugging Face hub by default.

    Returns:
        What `push_folder` writes with.

    Raises:
        InputError: that is no name of a repository.
        HubAccessError: no login, no right to write, or no network.
    """
    writer: HubWriter = api or HfApi(token=token)  # type: ignore[assignment]
    with _explained(repo_id):
        writer.create_repo(repo_id, private=private, exist_ok=True)
    return writer


def push_folder(
    folder: Path,
    repo_id: str,
    writer: HubWriter,
    *,
    commit_message: str = "Upload a ConceptSeg checkpoint",
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a checkpoint in our format, in one commit that replaces an earlier checkpoint whole.

    Where the repository has no card yet, one is written into the folder and goes along.

    Args:
        folder: as `ConceptSegModel.save_pretrained` writes it.
        repo_id: as given to `repository_for`.
        writer: from `repository_for`.
        commit_message: of the commit.
        revision: the branch to commit to, made if needed; the repository's main one by default.
        create_pr: open a pull request instead.

    Returns:
        The address of the commit or pull request.

    Raises:
        CheckpointError: the folder is no checkpoint in our format.
        HubAccessError: no login, no right to write, or no network.
    """
    config = ConceptSegConfig.read(folder)
    how: dict[str, Any] = {"commit_message": commit_message, "revision": revision, "create_pr": create_pr}
    return commit_folder(folder, repo_id, writer, card=_card(config, repo_id), replaced=_REPLACED, **how)


def commit_folder(
    folder: Path,
    repo_id: str,
    writer: HubWriter,
    *,
    card: str,
    replaced: Sequence[str],
    commit_message: str,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a folder's files in one commit; otherwise as `push_folder`.

    Args:
        folder: whose files are uploaded.
        repo_id: as given to `repository_for`.
        writer: from `repository_for`.
        card: README.md where the repository has none yet.
        replaced: patterns of what an earlier commit must not leave behind.
        commit_message: of the commit.
        revision: as for `push_folder`.
        create_pr: as for `push_folder`.

    Raises:
        HubAccessError: no login, no right to write, or no network.
    """
    with _explained(repo_id):
        if revision and not create_pr:
            writer.create_branch(repo_id, branch=revision, exist_ok=True)
        if not writer.file_exists(repo_id, _CARD):
            (folder / _CARD).write_text(card, encoding="utf-8")
        done = writer.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            delete_patterns=list(replaced),
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
        )
    return str(getattr(done, "pr_url", None) or done.commit_url)


def is_hub_id(part: str) -> bool:
    """Whether a part of a config is named by a hub id, which is where everybody finds it."""
    return part.count("/") == 1 and not part.startswith(("/", ".", "~")) and not Path(part).exists()


def _card(config: ConceptSegConfig, repo_id: str) -> str:
    licence = config.license.lower()
    terms = f"license: {licence}" if licence in _LICENCES else f"license: other\nlicense_name: {config.license}"
    sam = f"SAM 3 is taken from `{config.sam}`, under its own licence." if "/" in config.sam else "SAM 3 is in here."
    return (
        f"---\n{terms}\nlibrary_name: conceptseg\npipeline_tag: image-segmentation\n---\n\n# {config.name}\n\n"
        f"A checkpoint of `conceptseg`. {sam}\n\n```python\nfrom conceptseg import ConceptSegmenter\n\n"
        f'segmenter = ConceptSegmenter.from_pretrained("{repo_id}")\n```\n'
    )


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """The hub's refusals in one sentence each, with what to do."""
    login = "Log in with `hf auth login`, with a token that may write, or pass token=…"
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise HubAccessError(f"Uploading to {repo_id} needs a login. {login}") from error
    except errors.HFValidationError as error:
        raise InputError(f"{repo_id!r} is no name of a hub repository (owner/name): {error}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 401:
            raise HubAccessError(f"The hub does not accept this login, or there is none. {login}") from error
        if status in (403, 404):
            raise HubAccessError(
                f"This login may not write to {repo_id}: its owner must be you or an organisation of yours. {login}"
            ) from error
        raise HubAccessError(f"Uploading to {repo_id} failed: {error}. Try again later.") from error
    except (errors.HTTPError, OSError) as error:
        raise HubAccessError(f"The hub cannot be reached to upload {repo_id}: {error}.") from error
