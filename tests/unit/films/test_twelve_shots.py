"""Twelve shots with real pictures: killed in the middle, changed, and made again from the file alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from wiro_nb.cli import main
from wiro_nb.provenance.embed import hash_media

SCRIPT = """
import sys
import wiro_nb
shots = [{"prompt": f"shot {number} of a storm", "from": "previous" if number % 6 else ""} for number in range(12)]
shots[4]["prompt"] = sys.argv[1]
film = wiro_nb.film(shots, model="pruna/vace", frameNum="5", sampleSteps="2", seed="7", out="storm.mp4")
film.wait()
print(len(film.plan.missing), film.path.name)
"""
DEADLINE_S = 240


@pytest.mark.slow
def test_a_film_of_twelve_shots(
    start_sandbox: Callable[..., SandboxProcess],
    point_at: Callable[[Any], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = start_sandbox("--speed", "50", "--balance", "1000")
    point_at(sandbox)
    command = [sys.executable, "-c", SCRIPT]

    def tasks() -> int:
        return len(sandbox.audit()["tasks"])

    def make(prompt: str) -> str:
        done = subprocess.run([*command, prompt], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        return done.stdout.strip()

    killed = subprocess.Popen([*command, "lightning"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    while tasks() < 5:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert make("lightning").endswith(" storm.mp4")
    assert tasks() == 12, "what was sent before the kill is followed, not sent again"
    assert make("lightning") == "0 storm.mp4"
    shutil.copyfile("storm.mp4", tmp_path / "first.mp4")
    assert make("a rainbow") == "2 storm.mp4"
    assert tasks() == 14, "the changed shot, and the one that continues from it"

    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copyfile(tmp_path / "first.mp4", empty / "storm.mp4")
    monkeypatch.chdir(empty)
    monkeypatch.setenv("WIRO_DATA_DIR", os.fspath(tmp_path / "other"))
    assert main(["rerun", "storm.mp4"]) == 0
    assert tasks() == 26
    assert hash_media(Path("storm-again.mp4")) == hash_media(Path("storm.mp4"))
