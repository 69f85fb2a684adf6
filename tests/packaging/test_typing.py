"""The public API as a type checker of somebody else's project sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wiro_nb
from tests.packaging.environments import ROOT

PROGRAM = """
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import wiro_nb
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot

run = wiro_nb.run("wiro/animate-diff", prompt="a lake", seed=7, max_cost_usd="0.10", wait=False)
assert_type(run, wiro_nb.Run)
assert_type(run.wait(), wiro_nb.Run)
assert_type(run.wait(10.0, check=False).state, RunState)
assert_type(run.outputs, tuple[RunOutput, ...])
assert_type(run.path, Path | None)
assert_type(run.cost_usd, Decimal | None)
assert_type(run.record, dict[str, Any] | None)
assert_type(run.error, wiro_nb.WiroError | None)
assert_type(run.snapshot, Snapshot)
assert_type(wiro_nb.last(), wiro_nb.Run | None)
for item in wiro_nb.runs(limit=5):
    assert_type(item, wiro_nb.Run)
for output in run.outputs:
    assert_type(output.size_bytes, int | None)


async def later() -> None:
    assert_type(await run, wiro_nb.Run)
"""

WRONG = """
import wiro_nb

wiro_nb.run(7)
wiro_nb.run("wiro/animate-diff").wait("long")
wiro_nb.run("wiro/animate-diff").pathh
wiro_nb.no_such_name
"""


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(wiro_nb.__file__).parent / "py.typed").exists()


@pytest.mark.slow
def test_a_program_that_uses_the_api_as_documented_is_accepted_and_mistakes_are_found(tmp_path: Path) -> None:
    names = "\n".join(f"wiro_nb.{name}" for name in wiro_nb.__all__)
    (tmp_path / "program.py").write_text(f"{PROGRAM}\n{names}\n")
    (tmp_path / "wrong.py").write_text(WRONG)
    # The project's own settings and cache, so that what `mypy` has checked is not checked again. Run elsewhere, so
    # that the package is found the way an installed one is: by its py.typed.
    settings = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    command = [sys.executable, "-m", "mypy", "--strict", *settings, "program.py", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert not [line for line in found if not line.startswith("wrong.py:")], done.stdout
    for line, kind in ((4, "arg-type"), (5, "arg-type"), (6, "attr-defined"), (7, "attr-defined")):
        assert any(text.startswith(f"wrong.py:{line}:") and f"[{kind}]" in text for text in found), done.stdout
