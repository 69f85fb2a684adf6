"""A real kernel dies by kill -9 around each thing it writes, and the next one goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernels import CLIP_MODEL, REPLY_TIMEOUT_S, LiveKernel, live_client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# What dies where: the function, and whether the deed is done by then.
ARM = """
import os, signal
from wiro_nb.execution import download, finalize as finish
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.api.client import WiroClient

def arm(owner, name, after):
    original = getattr(owner, name)

    def around(*args, **options):
        if after:
            original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    async def around_async(*args, **options):
        if after:
            await original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, around_async if name == "run" else around)
"""
POINTS = [
    ("Ledger", "insert_plans", True, 1),
    ("WiroClient", "run", False, 0),
    ("WiroClient", "run", True, 1),
    ("Ledger", "mark_submitted", True, 1),
    ("download", "_accept", True, 1),
    ("Ledger", "finish", False, 1),
]


@pytest.fixture
def home(sandbox: Any, kernel_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook's folder with a ledger of its own, on the session's service."""
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WIRO_SERVICE", "cloud")
    monkeypatch.setenv("WIRO_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("WIRO_SOCKET_URL", sandbox.socket_url)
    monkeypatch.setenv("WIRO_API_KEY", sandbox.api_key)
    monkeypatch.setenv("WIRO_API_SECRET", sandbox.api_secret)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("WIRO_NOTEBOOK", str(kernel_env / "killed.ipynb"))
    return kernel_env


@pytest.fixture
def dying_kernel(home: Path) -> Iterator[LiveKernel]:
    """A kernel in the notebook's folder that nobody restarts by itself."""
    with live_client(home) as (manager, client):
        yield LiveKernel(manager, client)


@pytest.mark.parametrize(("owner", "name", "after", "tasks"), POINTS)
def test_the_next_kernel_goes_on_where_the_killed_one_stopped(
    dying_kernel: LiveKernel, sandbox: Any, owner: str, name: str, after: bool, tasks: int
) -> None:
    kernel, prompt = dying_kernel, f"killed at {name} {after}"
    kernel.run("%load_ext wiro_nb")
    kernel.run(f"{ARM}\narm({owner}, {name!r}, {after})")
    # What ends the kernel is the cell, so no reply comes.
    kernel.start(f"%%wiro {CLIP_MODEL} --as clip\n{prompt}")
    kernel.manager.provisioner.process.wait(REPLY_TIMEOUT_S)  # type: ignore[union-attr]
    kernel.restart()
    said = kernel.run("%load_ext wiro_nb").text
    assert "Resumed" in said
    kernel.run("%wiro wait")
    # The notebook is run again from the top, as people do; that must not pay again.
    answer = kernel.run(f"%%wiro {CLIP_MODEL} --as clip\n{prompt}")
    assert answer.status == "ok"
    if tasks:
        kernel.run("clip.wait(check=False)")
    state = "succeeded" if tasks else "uncertain"
    assert kernel.run("print(clip.status)").text.strip() == state
    assert sum(task["parameters"].get("prompt") == prompt for task in sandbox.audit()["tasks"]) == tasks
