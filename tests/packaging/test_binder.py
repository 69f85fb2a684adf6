"""Binder: the same environment from its own files, built, started, and the quickstart executed in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, copy_tree, make_environment

BINDER = ROOT / "binder"
SCRIPTS = ("postBuild", "start")


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_executable_and_name_their_shell(name: str) -> None:
    script = BINDER / name
    assert script.read_text("utf-8").startswith("#!/bin/bash\n")
    assert os.access(script, os.X_OK)


def test_a_build_that_fails_stops_and_the_start_hands_over() -> None:
    lines = (BINDER / "postBuild").read_text("utf-8").splitlines()
    first = next(line for line in lines if line and not line.startswith("#"))
    assert first == "set -e"
    assert (BINDER / "start").read_text("utf-8").rstrip().endswith('\nexec "$@"')


def test_the_files_hold_no_key_and_the_python_is_one_we_support() -> None:
    everything = "\n".join(path.read_text("utf-8") for path in BINDER.iterdir())
    assert not re.search(r"WIRO_API_(KEY|SECRET)\s*=", everything)
    version = re.fullmatch(r"python-(\d+)\.(\d+)", (BINDER / "runtime.txt").read_text("utf-8").strip())
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (3, 11)


@pytest.mark.slow
def test_the_image_builds_starts_and_executes_the_quickstart(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "image")
    environment = make_environment(tmp_path / "venv", borrow=False)
    environment.install("-r", "binder/requirements.txt", cwd=tree)
    variables = environment.variables(tmp_path / "data")
    variables.pop("WIRO_DATA_DIR")
    variables["HOME"] = str(tmp_path / "home")
    built = environment.run(["binder/postBuild"], cwd=tree, env=variables)
    assert built.returncode == 0, built.stderr
    command = ["jupyter", "nbconvert", "--to", "notebook", "--execute", "notebooks/01-quickstart.ipynb"]
    started = environment.run(["binder/start", *command, "--output", "done"], cwd=tree, env=variables)
    assert started.returncode == 0, started.stderr
    cells = json.loads((tree / "notebooks" / "done.ipynb").read_text("utf-8"))["cells"]
    text = json.dumps([cell.get("outputs") for cell in cells])
    assert text.count('"status": "succeeded"') >= 3
    assert "WIRO_SERVICE chooses the sandbox" in text
    chosen = environment.run(["binder/start", "printenv", "WIRO_SERVICE"], cwd=tree, env=variables)
    assert chosen.stdout == "sandbox\n"
