"""The house: who may import whom, who does, and the drawing of it (`python -m tests.house`)."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

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


def edges() -> set[tuple[str, str]]:
    """(who imports, who is imported) between the parts; the ground floor is one part, the nano package another."""
    found = set()
    for path in MODULES:
        importer = _node(part_of(module_name(path)))
        found |= {(importer, _node(part_of(name))) for name in imported_modules(path) if part_of(name)}
    for path in (ROOT.parents[1] / "nano").rglob("*.py"):
        names = _imports_in(ast.parse(path.read_text(encoding="utf-8")), "nano")
        found |= {("nano/", _node(part_of(name))) for name in names if part_of(name)}
    return {(importer, imported) for importer, imported in found if importer != imported}


_GROUND = "ground floor"
_NODES = (
    _GROUND,
    "protocol",
    "metrics",
    "data",
    "models",
    "inference",
    "training",
    "evaluation",
    "interfaces",
    "nano/",
)
_TOLD = {
    _GROUND: "errors, geometry, files, masks …",
    "protocol": "mosaic, prompts, response grammar",
    "metrics": "mask metrics, two protocols",
    "data": "samples, readers, ConceptWorld",
    "models": "reasoner, translation, segmenter",
    "inference": "router, ConceptSegmenter, rules",
    "training": "warm-up, Meta-GRPO",
    "evaluation": "runs, rivals, report",
    "interfaces": "cli, server, exports",
    "nano/": "makes the bundled checkpoint; not installed",
}
_STEP, _TOP, _LEFT, _WIDTH, _HEIGHT = 58, 18, 30, 330, 42
_STYLE = (
    "text{font:600 14px system-ui,sans-serif;fill:#1c2430}.told{font-weight:400;font-size:11.5px;fill:#647084}"
    "rect{fill:#f5f6f9;stroke:#c9d1de}.arrow{fill:none;stroke:#2f6fde;stroke-width:1.3;opacity:.75}"
    ".back{fill:none;stroke:#b3261e;stroke-width:2.5}"
)


def drawing(pairs: Collection[tuple[str, str]]) -> str:
    """Parts from the ground floor down as SVG; an import is an arc up on the right, a back arrow a red one on the left.

    Args:
        pairs: of `edges`.
    """
    height = 2 * _TOP + _STEP * len(_NODES)
    shapes = [_box(name, place) for place, name in enumerate(_NODES)]
    shapes += [_arc(_NODES.index(importer), _NODES.index(imported)) for importer, imported in sorted(pairs)]
    head = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" width="640" height="{height}">'
        f'<style>{_STYLE}</style><defs>{head}<path d="M0 0L8 4L0 8z" fill="#2f6fde"/></marker></defs>'
        f'<rect width="640" height="{height}" style="fill:#fff;stroke:none"/>{"".join(shapes)}</svg>\n'
    )


def _node(part: str) -> str:
    return part if FLOOR_OF[part] else _GROUND


def _box(name: str, place: int) -> str:
    top = _TOP + _STEP * place
    frame = f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="7"/>'
    title = f'<text x="{_LEFT + 14}" y="{top + 19}">{name}</text>'
    return frame + title + f'<text class="told" x="{_LEFT + 14}" y="{top + 34}">{_TOLD[name]}</text>'


def _arc(importer: int, imported: int) -> str:
    """Arcs leave a box a little below its middle and arrive a little above, so that they do not meet."""
    start, end = (_TOP + _STEP * place + _HEIGHT / 2 + shift for place, shift in ((importer, 7), (imported, -7)))
    if imported > importer:
        return f'<path class="back" d="M{_LEFT} {start}A20 {abs(end - start) / 2} 0 0 0 {_LEFT} {end}"/>'
    edge, radius = _LEFT + _WIDTH, (start - end) / 2
    wide = 20 + 0.8 * radius
    return (
        f'<path class="arrow" marker-end="url(#tip)" d="M{edge} {start}A{wide:.1f} {radius} 0 0 0 {edge + 2} {end}"/>'
    )


if __name__ == "__main__":
    target = ROOT.parents[1] / "docs" / "figures" / "imports.svg"
    target.write_text(drawing(edges()), encoding="utf-8")
