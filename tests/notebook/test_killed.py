"""A real kernel dies by kill -9 around each thing it writes, and the next one continues from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.notebook.kernels import CLIP_MODEL, REPLY_TIMEOUT_S, LiveKernel, live_client
from tests.unit.sandbox_diffusers.stub_python import write_stub_python
from wiro_nb.sandbox.engines.media import Mp4Writer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# What dies where: the function, and whether the deed is done by then. The storm kills at these and other points.
ARM = """
import os, signal
from wiro_nb.execution import finalize
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
    ("WiroClient", "run", True, 1),
    pytest.param("WiroClient", "run", False, 0, marks=pytest.mark.slow),
    pytest.param("Ledger", "finish", False, 1, marks=pytest.mark.slow),
    pytest.param("Ledger", "insert_plans", True, 1, marks=pytest.mark.slow),
    pytest.param("Ledger", "mark_submitted", True, 1, marks=pytest.mark.slow),
    pytest.param("finalize", "move_files", False, 1, marks=pytest.mark.slow),
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
    card = kernel.run("import wiro_nb\nwiro_nb.runs()[0]").shown[0]["data"]
    assert "application/vnd.jupyter.widget-view+json" in card
    kernel.run("%wiro wait")
    # The notebook is run again from the top, as people do; that must not pay again.
    answer = kernel.run(f"%%wiro {CLIP_MODEL} --as clip\n{prompt}")
    assert answer.status == "ok"
    if tasks:
        kernel.run("clip.wait(check=False)")
    state = "succeeded" if tasks else "uncertain"
    assert kernel.run("print(clip.status)").text.strip() == state
    assert sum(task["parameters"].get("prompt") == prompt for task in sandbox.audit()["tasks"]) == tasks


@pytest.mark.usefixtures("own_data")
def test_a_run_on_this_machine_is_followed_by_the_next_kernel_and_made_once(
    kernel_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service ends with its kernel; the next kernel starts it again, and it takes the same task up anew."""
    log, clip = tmp_path / "log", tmp_path / "clip.mp4"
    with Mp4Writer(clip, 64, 64, 8, "") as writer:
        for shade in range(5):
            writer.write(np.full((3, 64, 64), 40 * shade, np.float32))
    (tmp_path / "weights" / "Wan-AI" / "Wan2.2-TI2V-5B-Diffusers").mkdir(parents=True)
    for name, value in {
        "WIRO_SERVICE": "local",
        "WIRO_LOCAL_WEIGHTS": str(tmp_path / "weights"),
        "WIRO_LOCAL_PYTHON": write_stub_python(tmp_path),
        "WIRO_STUB_LOG": str(log),
        "WIRO_STUB_CLIP": str(clip),
        "WIRO_NOTEBOOK": str(kernel_env / "killed.ipynb"),
    }.items():
        monkeypatch.setenv(name, value)
    cell = f"%%wiro {CLIP_MODEL} numFrames=5 --as clip\nslow once"
    with live_client(kernel_env) as (manager, client):
        kernel = LiveKernel(manager, client)
        kernel.run("%load_ext wiro_nb")
        kernel.run(cell)
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        while not log.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        kernel.restart()  # kill -9
        assert "Resumed" in kernel.run("%load_ext wiro_nb").text
        kernel.run("%wiro wait")
        kernel.run(cell)
        said = kernel.run(
            "import wiro_nb; print(clip.wait().status, len(wiro_nb.runs()), clip.record['made_by']['device'])"
        )
        assert said.text.strip() == "succeeded 1 stub 0", said.text
    assert log.read_text().count("slow once") == 2, "begun before the kill, and made after it"
    assert len(list((kernel_env / "wiro_outputs").glob("*/*.mp4"))) == 1
