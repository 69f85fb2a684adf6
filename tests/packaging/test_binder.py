"""Binder: the same environment from its own files, built, started, and the quickstart executed in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, copy_tree, make_environment
from wiro_nb.cli.tutorials import QUICKSTART
from wiro_nb.provenance.find import records_in_notebook

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
    command = ["jupyter", "nbconvert", "--to", "notebook", "--execute", f"notebooks/{QUICKSTART}"]
    started = environment.run(["binder/start", *command, "--output", "done"], cwd=tree, env=variables)
    assert started.returncode == 0, started.stderr
    books = [json.loads((tree / "notebooks" / name).read_text("utf-8")) for name in ("done.ipynb", QUICKSTART)]
    done, committed = (records_in_notebook(book) for book in books)
    assert [record["status"] for record in done.values()] == ["succeeded"] * 3
    assert not done.keys() & committed.keys(), "these are the outputs that came with the notebook"
    assert "WIRO_SERVICE chooses the sandbox" in json.dumps(books[0])
    chosen = environment.run(["binder/start", "printenv", "WIRO_SERVICE"], cwd=tree, env=variables)
    assert chosen.stdout == "sandbox\n"
