"""Nothing public goes without a word, no error without a way on, no file grows unnoticed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import wiro_nb
from wiro_nb import errors
from wiro_nb.presentation.command_table import find_command

PACKAGE = Path(wiro_nb.__file__).parent
ROOT = PACKAGE.parent


def packages() -> list[ModuleType]:
    found = [wiro_nb]
    for module in pkgutil.walk_packages(wiro_nb.__path__, "wiro_nb."):
        if module.ispkg:
            found.append(importlib.import_module(module.name))
    return found


def tracked_files() -> list[Path]:
    """Returns what the repository holds; outside of one, what a source archive does."""
    if shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    folders = [ROOT / name for name in ("wiro_nb", "tests", "notebooks")]
    return [
        *(path for path in ROOT.glob("*.*") if path.is_file()),
        *(path for folder in folders for path in folder.rglob("*") if path.is_file()),
    ]


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    bare: list[str] = []
    for package in packages():
        if not (package.__doc__ or "").strip():
            bare.append(package.__name__)
        for name in getattr(package, "__all__", []):
            thing = getattr(package, name)
            # A dataclass without one gets its signature for a docstring; an exception class inherits one.
            own = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
            is_made_up = inspect.isclass(thing) and (own or "").startswith(f"{thing.__name__}(")
            if (callable(thing) or inspect.ismodule(thing)) and (not own or is_made_up):
                bare.append(f"{package.__name__}.{name}")
    assert bare == []


def error_classes() -> list[type[errors.WiroError]]:
    found = [errors.WiroError]
    for kind in found:
        found += [child for child in kind.__subclasses__() if child not in found]
    return [kind for kind in found if kind.__module__.startswith("wiro_nb")]


def test_every_error_is_public_explained_and_says_what_to_type_next() -> None:
    kinds = error_classes()
    assert [kind.__name__ for kind in kinds if kind.__name__.startswith("_")] == []
    assert [kind.__name__ for kind in kinds if not kind("x").hint.strip()] == []
    assert [kind.__name__ for kind in kinds if not vars(kind).get("__doc__")] == []
    assert [kind.__name__ for kind in kinds if kind("x").lines()[-1] != f"  next: {kind('x').hint}"] == []


def test_every_magic_a_text_names_exists() -> None:
    unknown: list[str] = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.js")]):
        for name in re.findall(r"(?<!%)%wiro ([a-z]\w+)", path.read_text("utf-8")):
            if find_command(name) is None:
                unknown.append(f"{path.relative_to(PACKAGE)}: %wiro {name}")
    assert unknown == []


def test_no_file_speaks_of_a_machine_or_a_package_registry() -> None:
    """Names are put together here, so that this file may be searched too."""
    folders = "|".join(("work", "tmp", "root", "Users"))
    hosts = "|".join(
        name.replace(" ", r"\.")
        for name in ("pypi org", "pythonhosted org", "npmjs org", "npmjs com", "crates io", "proxy golang org")
    )
    forbidden = re.compile(rf"(?<![\w.:/}}])/(?:{folders})(?![\w-])|{hosts}")
    found: list[str] = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8").split("\n"), 1):
            if match := forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []
