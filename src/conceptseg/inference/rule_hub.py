"""A rule on the Hugging Face hub: a repository with one rule file and a card that says what it is worth."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from conceptseg.errors import InputError
from conceptseg.models.hub import Hub, Source, resolve
from conceptseg.models.publishing import HubWriter, commit_folder, repository_for

if TYPE_CHECKING:
    from conceptseg.inference.rules import Rule

__all__ = ["find_rule_file", "push_rule"]

_FILE = "concept.rule"
_ANY = "*.rule"


def find_rule_file(source: str | Path, hub: Hub | None = None) -> Path:
    """The file of a rule: a file, the one in a folder, or the one of a hub repository, downloaded if needed.

    Args:
        source: a path, or a hub id, `owner/name` or `owner/name@revision`.
        hub: where to ask; the Hugging Face hub by default.

    Raises:
        InputError: it is neither, or there is not just one rule.
        HubAccessError: the repository cannot be had.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    folder = resolve(Source(str(source), "the rule", "a path, or owner/name"), hub=hub, only=_ANY)
    found = sorted(folder.glob(_ANY))
    if len(found) != 1:
        named = f": {', '.join(one.name for one in found)}. Name the file" if found else ""
        raise InputError(f"{source} should hold one rule ({_ANY}), but holds {len(found)}{named}.")
    return found[0]


def push_rule(
    rule: Rule,
    repo_id: str,
    *,
    private: bool | None,
    token: str | None,
    api: HubWriter | None,
    **how: Any,
) -> str:
    """Upload a rule; for arguments, result and errors see `Rule.push_to_hub`."""
    writer = repository_for(repo_id, private=private, token=token, api=api)
    with TemporaryDirectory() as folder:
        rule.save(Path(folder) / _FILE)
        return commit_folder(Path(folder), repo_id, writer, card=_card(rule, repo_id), replaced=(_ANY,), **how)


def _card(rule: Rule, repo_id: str) -> str:
    return (
        "---\nlibrary_name: conceptseg\npipeline_tag: image-segmentation\ntags:\n- conceptseg-rule\n---\n\n"
        f"# {_one_line(rule.concept)}\n\nA rule of `conceptseg`: {_one_line(rule.text) or 'SAM 3 alone'}\n\n"
        f"{rule.describe()} It was learned by {_one_line(rule.model) or 'an unnamed checkpoint'} "
        f"(`{rule.checkpoint[:8]}`) and holds {len(rule.pictures)} reference pictures.\n\n"
        "```python\nfrom conceptseg import ConceptSegmenter, Rule\n\n"
        f'rule = Rule.from_pretrained("{repo_id}")\n'
        "for result in ConceptSegmenter.from_pretrained().apply(rule, paths): ...\n```\n"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
