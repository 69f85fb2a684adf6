"""The rooms of the house: imports go downward only, and loading stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
STANDARD_ONLY = {"redaction", "errors", "schema", "provenance"}


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


def room_files() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or path.stem in ALLOWED
    ]


def test_every_room_is_known() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {name for name in ALLOWED if (PACKAGE / name).is_dir()}


@pytest.mark.parametrize(("room", "path"), room_files(), ids=lambda value: getattr(value, "name", value))
def test_imports_go_downward_only(room: str, path: Path) -> None:
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "wiro_nb" and len(parts) > 1 and (PACKAGE / parts[1]).exists():
            assert parts[1] == room or parts[1] in ALLOWED[room], f"{path.name} imports {name}"
        if parts[0] == "wiro_nb" and len(parts) > 1 and (PACKAGE / f"{parts[1]}.py").exists():
            assert parts[1] in ALLOWED[room] | {room}, f"{path.name} imports {name}"


@pytest.mark.parametrize(("room", "path"), room_files(), ids=lambda value: getattr(value, "name", value))
def test_only_the_notebook_room_knows_the_front_end(room: str, path: Path) -> None:
    used = {name.split(".")[0] for name in imports_of(path)} & FRONT_END
    if room == "runs":
        used -= {"IPython"} if path.name == "run.py" else set()
    assert room in ("notebook", "cli") or not used, f"{path.name} imports {used}"


@pytest.mark.parametrize(("room", "path"), room_files(), ids=lambda value: getattr(value, "name", value))
def test_the_lower_rooms_need_the_standard_library_only(room: str, path: Path) -> None:
    if room in STANDARD_ONLY:
        outside = {name.split(".")[0] for name in imports_of(path)} - sys.stdlib_module_names - {"wiro_nb"}
        assert outside <= ({"nbformat", "av", "numpy", "PIL"} if room == "provenance" else set()), f"{path.name}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, wiro_nb; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "httpx2",
        "websockets",
        "av",
        "numpy",
        "PIL",
        "IPython",
        "ipywidgets",
        "anywidget",
        "sqlite3",
        "asyncio",
    }
    assert not heavy & set(done.stdout.split())
