"""Imports go one way between packages, without cycles between modules, and loading stays light.

Every import counts, wherever it stands: at the top, inside a function, or named in a string. Only imports under
`if TYPE_CHECKING` do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import wiro_nb

PACKAGE = Path(wiro_nb.__file__).parent

LAYERS = (
    {"redaction", "terminal"},
    {"errors", "ids"},
    {"config", "files", "io_thread", "json_values", "display_registry"},
    {"media"},
    {"schema"},
    {"api", "local_models"},
    {"provenance"},
    {"ledger"},
    {"formatting"},
    {"services"},
    {"execution"},
    {"session"},
    {"sweeps", "reproduce"},
    {"films"},
    {"presentation"},
    {"notebook"},
    {"cli"},
)
"""Lowest first: a package imports from those below it only."""
SANDBOX_MAY_IMPORT = {
    "redaction",
    "errors",
    "config",
    "files",
    "ids",
    "json_values",
    "schema",
    "media",
    "local_models",
}
FRONT_END = {"IPython", "ipywidgets", "anywidget"}
MAY_SHOW = {"notebook", "cli"}
STANDARD_ONLY = {
    "redaction": set(),
    "errors": set(),
    "schema": set(),
    "provenance": {"c2pa", "cryptography"},
}
"""Packages that need the standard library only, with what they may use where it is installed."""
HEAVY = {"httpx2", "websockets", "av", "numpy", "PIL", "IPython", "ipywidgets", "anywidget", "sqlite3", "asyncio"}


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, known: frozenset[str]) -> Iterator[str]:
    """Yields every module that source code imports or names in a string, except under `if TYPE_CHECKING`.

    A string that is the name of the whole package names no module.
    """
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node.body
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module or ""
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value in known
            and "." in node.value
        ):
            yield node.value
        todo += ast.iter_child_nodes(node)


def import_graph(package: Path) -> dict[str, set[str]]:
    """Returns, for each module of a package, all modules it imports; those outside the package included."""
    modules = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    known = frozenset(modules)
    return {name: set(imports_of(path.read_text("utf-8"), known)) - {name} for name, path in modules.items()}


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules of one import cycle, or nothing."""
    try:
        TopologicalSorter({name: found & graph.keys() for name, found in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@cache
def whole_graph() -> dict[str, set[str]]:
    return import_graph(PACKAGE)


@cache
def graph() -> dict[str, set[str]]:
    """The graph without the package's own file, which names the homes of the public functions: it is above all."""
    return {name: found for name, found in whole_graph().items() if name not in ("wiro_nb", "wiro_nb.__main__")}


def part_of(module: str) -> str:
    return module.split(".")[1]


def test_every_package_has_a_layer() -> None:
    assert {part_of(name) for name in graph()} == set().union(*LAYERS, {"sandbox"})


@pytest.mark.parametrize("part", sorted(set().union(*LAYERS, {"sandbox"})))
def test_imports_go_downward_only(part: str) -> None:
    level = next((number for number, layer in enumerate(LAYERS) if part in layer), 0)
    below = SANDBOX_MAY_IMPORT if part == "sandbox" else set().union(*LAYERS[:level])
    if part == "cli":
        below = below | {"sandbox"}
    breaches = {
        f"{module} imports {name}"
        for module, found in graph().items()
        for name in found & graph().keys()
        if part_of(module) == part and part_of(name) not in below | {part}
    }
    assert breaches == set()


def test_there_are_no_import_cycles() -> None:
    assert find_cycle(whole_graph()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from p import low",
        "def f():\n    from p import low",
        "import_module('p.low')",
        "names = {'low': ('p.low', 'x')}",
    ],
    ids=["top level", "inside a function", "string", "table of strings"],
)
def test_a_cycle_is_found_however_it_is_closed(tmp_path: Path, source: str) -> None:
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "low.py").write_text("import p.high\n")
    (package / "high.py").write_text(source + "\n")
    assert set(find_cycle(import_graph(package))) == {"p.low", "p.high"}
    (package / "high.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import low\n"
    )
    assert find_cycle(import_graph(package)) == []


def test_folders_hold_at_most_14_modules() -> None:
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]
    assert [f.name for f in folders if len(list(f.glob("*.py"))) > 14] == []


def test_only_the_notebook_package_knows_the_front_end() -> None:
    breaches = [
        f"{module} imports {name}"
        for module, found in graph().items()
        for name in found
        if name.split(".")[0] in FRONT_END and part_of(module) not in MAY_SHOW
    ]
    assert breaches == []


def test_the_lower_packages_need_the_standard_library_only() -> None:
    standard = sys.stdlib_module_names | {"wiro_nb"}
    breaches = [
        f"{module} imports {name}"
        for module, found in graph().items()
        for name in found
        if part_of(module) in STANDARD_ONLY and name.split(".")[0] not in standard | STANDARD_ONLY[part_of(module)]
    ]
    assert breaches == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, wiro_nb; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
