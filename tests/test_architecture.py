"""The house rules that a machine can check: who imports whom, sizes, and what may not occur."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from tests.house import FILES, FLOOR_OF, MODULES, drawing, edges, imported_modules, module_name, part_of

LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FILE = 600, 60, 150
DRAWING = Path(__file__).resolve().parents[1] / "docs" / "figures" / "imports.svg"


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
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, f"{node.name} is too long"


def test_half_of_the_files_are_small():
    assert median(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= MEDIAN_FILE


def test_the_drawing_of_imports_is_of_these_and_has_no_back_arrow():
    assert DRAWING.read_text(encoding="utf-8") == drawing(edges()), "python -m tests.house draws it anew"
    assert 'class="back"' not in drawing(edges())
    assert drawing({("data", "models")}).count('class="back"') == 1


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
