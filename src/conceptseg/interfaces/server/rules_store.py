"""Rules on the server: a folder of `.rule` files, each of which is a model to whoever asks.

The only module of the server that knows how a rule is learned, read and applied; the others know `RuleStore`.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.files import replacing
from conceptseg.images import ReadImage
from conceptseg.inference import ConceptSegmenter, Query
from conceptseg.interfaces.server.refusals import Refusal, refuse
from conceptseg.interfaces.server.schemas import RULE_ID

__all__ = ["NoRules", "RuleFolder", "RuleModel", "RuleStore"]

_SUFFIX = ".rule"
_KEPT = 8
"""Rules that stay in memory with their references, those used last."""
_TOLD = ("concept", "text", "expected_iou", "interval", "judged", "suspects", "model", "notes")


@dataclass(frozen=True)
class RuleModel:
    """A rule that is ready to be asked."""

    concept: str
    """What its masks show; the label that annotation tools get."""
    route: str
    """How the engine is to answer: "direct" or "reason"."""
    ask: Callable[[ReadImage], Query]
    """From a picture to the question; may take the model's time, once a rule."""
    description: str = ""
    """What it is worth, in a sentence."""


@runtime_checkable
class RuleStore(Protocol):
    """What the server asks of rules. Names are checked: one that is no rule's is refused as not found."""

    def names(self) -> list[str]:
        """All rules, sorted."""

    def describe(self, name: str) -> dict[str, Any]:
        """What is known of a rule, JSON-ready; of a damaged one an `error`."""

    def model(self, name: str) -> RuleModel:
        """A rule to ask. Raises InputError where its file is none."""

    def learn(
        self,
        name: str,
        concept: str,
        references: Sequence[Reference],
        absent: Sequence[Any] = (),
        *,
        is_over: Callable[[], bool] = lambda: False,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Learn and keep a rule. Raises TimeoutError soon after `is_over` has become true."""

    def content(self, name: str) -> bytes:
        """A rule's file."""

    def add(self, name: str, content: bytes) -> dict[str, Any]:
        """Keep a file under a name. Raises InputError where it is no rule."""

    def delete(self, name: str) -> None:
        """Remove a rule."""


class NoRules:
    """The store of a server that was started without a folder of rules."""

    def names(self) -> list[str]:
        """None."""
        return []

    def describe(self, name: str) -> dict[str, Any]:
        """Not found."""
        raise _no_folder_holds(name)

    def model(self, name: str) -> RuleModel:
        """Not found."""
        raise _no_folder_holds(name)

    def learn(self, name: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Refused."""
        raise _no_folder_keeps(name)

    def content(self, name: str) -> bytes:
        """Not found."""
        raise _no_folder_holds(name)

    def add(self, name: str, content: bytes) -> dict[str, Any]:
        """Refused."""
        raise _no_folder_keeps(name)

    def delete(self, name: str) -> None:
        """Not found."""
        raise _no_folder_holds(name)


def _no_folder_holds(name: str) -> Refusal:
    return refuse("not_found", f"There is no rule {name!r}: the server was started without --rules FOLDER.")


def _no_folder_keeps(name: str) -> Refusal:
    return refuse("conflict", f"The rule {name!r} cannot be kept: start the server with --rules FOLDER.")


class RuleFolder:
    """Rules as files of a folder; files that are put there or replaced by hand are seen at once.

    Args:
        folder: must exist.
        segmenter: learns and applies them.
        load: reads a rule's file (`Rule.load`); None takes that.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, segmenter: ConceptSegmenter, load: Callable[[Path], Any] | None = None) -> None:
        if not folder.is_dir():
            raise InputError(f"The folder of rules {str(folder)!r} does not exist: make it first.")
        self._folder, self._segmenter = folder, segmenter
        self._load = load or _load_rule
        self._rules: OrderedDict[tuple[str, int, int], _Kept] = OrderedDict()
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """All files of the folder whose stem is a rule's id."""
        return sorted(file.stem for file in self._folder.glob(f"*{_SUFFIX}") if re.fullmatch(RULE_ID, file.stem))

    def describe(self, name: str) -> dict[str, Any]:
        """What is known of a rule."""
        try:
            kept = self._read(name)
        except InputError as error:
            return {"id": name, "error": _without(self._folder, error)}
        told = {key: _plain(getattr(kept.rule, key)) for key in _TOLD}
        return {
            "id": name,
            **told,
            "route": kept.rule.route.value,
            "references": len(kept.rule.pictures),
            "description": kept.rule.describe(),
        }

    def model(self, name: str) -> RuleModel:
        """A rule to ask."""
        try:
            kept = self._read(name)
        except InputError as error:
            raise InputError(_without(self._folder, error)) from error
        route = "direct" if kept.rule.route.value == "direct" else "reason"
        return RuleModel(kept.rule.concept, route, lambda image: kept.ask(image, self._segmenter), kept.rule.describe())

    def learn(
        self,
        name: str,
        concept: str,
        references: Sequence[Reference],
        absent: Sequence[Any] = (),
        *,
        is_over: Callable[[], bool] = lambda: False,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Learn a rule and write its file, unless the time is up before."""
        path = self._path(name)
        if not replace:
            self._must_be_new(path)

        def progress(done: int, planned: int) -> None:
            if is_over():
                raise TimeoutError(f"after {done} of {planned} pictures")

        rule = self._segmenter.learn(concept, references, absent=absent, progress=progress)
        with self._lock:
            if not replace:
                self._must_be_new(path)
            rule.save(path)
        return self.describe(name)

    def content(self, name: str) -> bytes:
        """A rule's file."""
        return self._existing(name).read_bytes()

    def add(self, name: str, content: bytes) -> dict[str, Any]:
        """Read a file as a rule, and keep it if it is one."""
        path = self._path(name)
        with self._lock:
            self._must_be_new(path)
            try:
                with replacing(path) as fresh:
                    fresh.write_bytes(content)
                    self._load(fresh)
            except InputError as error:
                told = _without(self._folder, error).replace(fresh.name, path.name)
                raise InputError(told) from error
        return self.describe(name)

    def delete(self, name: str) -> None:
        """Remove a rule's file."""
        with self._lock:
            self._existing(name).unlink()

    def _path(self, name: str) -> Path:
        if not re.fullmatch(RULE_ID, name):
            raise refuse("not_found", f"{name[:80]!r} is no rule's id: letters, digits, - and _, at most 64 of them.")
        return self._folder / f"{name}{_SUFFIX}"

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_file():
            raise refuse("not_found", f"There is no rule {name!r}. GET /v1/rules lists those there are.")
        return path

    def _must_be_new(self, path: Path) -> None:
        if path.exists():
            raise refuse("conflict", f"There is a rule {path.stem!r} already: delete it first, or choose another id.")

    def _read(self, name: str) -> _Kept:
        path = self._existing(name)
        with self._lock:
            stat = path.stat()
            key = (name, stat.st_mtime_ns, stat.st_size)
            if key not in self._rules:
                self._rules[key] = _Kept(self._load(path))
                while len(self._rules) > _KEPT:
                    self._rules.popitem(last=False)
            self._rules.move_to_end(key)
            return self._rules[key]


class _Kept:
    """A rule in memory, with its references made ready once it is asked."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self._lock = threading.Lock()
        self._ready: dict[str, Any] = {}

    def ask(self, read: ReadImage, segmenter: Any) -> Query:
        with self._lock:
            if not self._ready:
                self._ready = {
                    "references": segmenter.prepare(self.rule.references()),
                    "rule": self.rule.applied(segmenter.model.digest()),
                }
        return Query(read.image, self.rule.concept, source="image", notes=read.notes, **self._ready)


def _load_rule(path: Path) -> Any:
    from conceptseg.inference.rules import Rule

    return Rule.load(path)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _without(folder: Path, error: InputError) -> str:
    """A message that does not tell clients where the server keeps its files."""
    return str(error).replace(f"{folder}/", "")
