"""The rooms of the house: imports go downward only, and loading stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import wiro_nb

PACKAGE = Path(wiro_nb.__file__).parent

ALLOWED = {
    "redaction": set(),
    "errors": {"redaction"},
    "schema": {"redaction", "errors"},
    "api": {"redaction", "errors", "schema"},
    "provenance": {"redaction", "errors", "schema"},
    "runs": {"redaction", "errors", "schema", "api", "provenance"},
    "notebook": {"redaction", "errors", "schema", "api", "provenance", "runs"},
    "sandbox": {"redaction", "errors", "schema"},
    "cli": {"redaction", "errors", "schema", "api", "provenance", "runs", "notebook", "sandbox"},
}
FRONT_END = {"IPython", "ipywidgets", "anywidget"}
MAY_SHOW = {"notebook": FRONT_END, "cli": FRONT_END, "runs/run.py": {"IPython"}}
STANDARD_ONLY = {
    "redaction": set(),
    "errors": set(),
    "schema": set(),
    "provenance": {"nbformat", "av", "numpy", "PIL"},
}
"""Rooms that need the standard library only, with what they may use where it is installed."""
HEAVY = {"httpx2", "websockets", "av", "numpy", "PIL", "IPython", "ipywidgets", "anywidget", "sqlite3", "asyncio"}


def imports_of(path: Path) -> set[str]:
    """Returns the dotted names a module imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "wiro_nb":
                found |= {f"wiro_nb.{alias.name}" for alias in node.names}
    return found


@cache
def room_imports() -> list[tuple[str, str, str]]:
    """Returns (room, file, imported name) for every import of every file that belongs to a room."""
    files = [
        (path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or path.stem in ALLOWED
    ]
    return [
        (room, path.relative_to(PACKAGE).as_posix(), name)
        for room, path in files
        for name in sorted(imports_of(path))
    ]


def test_every_room_is_known_and_seen() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {name for name in ALLOWED if (PACKAGE / name).is_dir()}
    assert {room for room, _, _ in room_imports()} == set(ALLOWED)


def test_imports_go_downward_only() -> None:
    breaches = [
        f"{file} imports {name}"
        for room, file, name in room_imports()
        if name.startswith("wiro_nb.")
        and ((PACKAGE / name.split(".")[1]).exists() or (PACKAGE / f"{name.split('.')[1]}.py").exists())
        and name.split(".")[1] not in ALLOWED[room] | {room}
    ]
    assert breaches == []


def test_only_the_notebook_room_knows_the_front_end() -> None:
    breaches = [
        f"{file} imports {name}"
        for room, file, name in room_imports()
        if name.split(".")[0] in FRONT_END - MAY_SHOW.get(room, set()) - MAY_SHOW.get(file, set())
    ]
    assert breaches == []


def test_the_lower_rooms_need_the_standard_library_only() -> None:
    standard = sys.stdlib_module_names | {"wiro_nb"}
    breaches = [
        f"{file} imports {name}"
        for room, file, name in room_imports()
        if room in STANDARD_ONLY and name.split(".")[0] not in standard | STANDARD_ONLY[room]
    ]
    assert breaches == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, wiro_nb; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
