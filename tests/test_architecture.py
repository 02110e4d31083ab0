"""The house rules that a machine can check: who imports whom, sizes, and what may not occur."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import conceptseg

ROOT = Path(conceptseg.__file__).parent
FLOORS = [
    {
        "digests",
        "errors",
        "taxonomy",
        "geometry",
        "files",
        "formats",
        "json_text",
        "ledger",
        "naming",
        "words",
        "masks",
        "depth",
        "decoding",
        "images",
        "shapes",
        "validation",
    },
    {"protocol"},
    {"metrics"},
    {"data"},
    {"models"},
    {"inference", "training"},
    {"evaluation"},
    {"interfaces"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))
MODULES = [path for path in FILES if path != ROOT / "__init__.py"]  # the root imports lazily, from any floor
LONGEST_FILE, LONGEST_FUNCTION = 600, 100


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {module_name(path) for path in FILES}


def imported_modules(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, at any depth, but not for type checkers only."""
    yield from _imports_in(ast.parse(path.read_text(encoding="utf-8")), module_name(path))


def _imports_in(node: ast.AST, importer: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.split(".")[0] == "conceptseg")
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{importer} imports relatively"
            if (child.module or "").split(".")[0] == "conceptseg":
                inner = {f"{child.module}.{alias.name}" for alias in child.names} & KNOWN
                yield from inner or {child.module}
        else:
            yield from _imports_in(child, importer)


def part_of(module: str) -> str:
    """The part of the house that a module belongs to: `conceptseg.data.world.dice` → `data`."""
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_a_floor():
    assert {part_of(module_name(path)) for path in MODULES} <= FLOOR_OF.keys()


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down_the_house(path: Path):
    importer = part_of(module_name(path))
    for imported in map(part_of, imported_modules(path)):
        if imported and imported != importer:
            same_floor = FLOOR_OF[imported] == FLOOR_OF[importer]
            allowed = same_floor and FLOOR_OF[importer] == 0
            assert FLOOR_OF[imported] < FLOOR_OF[importer] or allowed, f"{importer} must not import {imported}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_imports_what_makes_nano(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert "nano" not in {name.split(".")[0] for name in names}


def test_there_is_no_import_cycle():
    graph = {module_name(path): set(imported_modules(path)) - {module_name(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the cycle


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_sizes(path: Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_forbidden_occurs(path: Path):
    assert list(forbidden(ast.parse(path.read_text(encoding="utf-8")), part_of(module_name(path)))) == []


def forbidden(tree: ast.AST, part: str) -> Iterator[str]:
    """What a file holds against the rules, as "line: what"."""
    for node in ast.walk(tree):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in {"eval", "exec"} or (called == "print" and part != "interfaces"):
            yield f"{node.lineno}: {called}()"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: bare except"
        if isinstance(node, ast.Import) and {"pickle", "dill", "joblib"} & {alias.name for alias in node.names}:
            yield f"{node.lineno}: pickle"
        if isinstance(node, ast.ImportFrom) and node.module in {"pickle", "dill", "joblib"}:
            yield f"{node.lineno}: pickle"


@pytest.mark.parametrize(
    "source",
    ["eval('1')", "print(1)", "try:\n    f()\nexcept:\n    pass", "import pickle", "from pickle import loads"],
)
def test_the_search_for_forbidden_things_finds_them(source: str):
    assert len(list(forbidden(ast.parse(source), "data"))) == 1


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_module_opens_with_a_docstring(path: Path):
    assert (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip(" .") not in {"", "TODO"}


def test_the_light_parts_load_no_torch():
    code = (
        "import sys, conceptseg, conceptseg.protocol, conceptseg.metrics, conceptseg.images, conceptseg.geometry; "
        "from conceptseg import ConceptSample; "
        "print(sorted({'torch', 'transformers', 'torchvision', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
