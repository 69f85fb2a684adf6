"""Real kernels, with one data folder (and so one sandbox) for the whole session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from tests.notebook.kernels import LiveKernel, execute_on, live_client


@pytest.fixture(scope="session")
def shared_sandbox(
    start_shared_sandbox: Callable[..., SandboxProcess], tmp_path_factory: pytest.TempPathFactory
) -> SandboxProcess:
    """The sandbox of all these kernels: one of a kernel's own would be dying while the next one looks for it."""
    data = tmp_path_factory.mktemp("data")
    return start_shared_sandbox("--engine", "instant", "--speed", "50", "--balance", "1000", data=data / "sandbox")


@pytest.fixture(scope="session")
def data_dir(shared_sandbox: SandboxProcess) -> Path:
    """The ledger's folder; kernels of the session share the sandbox that runs in it."""
    return shared_sandbox.data.parent


@pytest.fixture
def kernel_env(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepares the environment that kernels inherit; returns their working folder."""
    for name in (
        "WIRO_API_KEY",
        "WIRO_API_SECRET",
        "WIRO_SERVICE",
        "WIRO_BASE_URL",
        "JPY_SESSION_NAME",
        "WIRO_HEADLESS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WIRO_DATA_DIR", str(data_dir))
    monkeypatch.setenv("WIRO_SANDBOX_SPEED", "50")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def own_data(kernel_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder of this test alone: its kernel starts the sandbox itself, and ends it."""
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def running_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKernel]:
    """One kernel for all tests that need not have it start or die; see `kernel`."""
    with live_client(tmp_path_factory.mktemp("kernel")) as (manager, client):
        yield LiveKernel(manager, client)


@pytest.fixture
def kernel(running_kernel: LiveKernel, kernel_env: Path) -> LiveKernel:
    """The shared kernel, as good as new, in this test's folder and environment."""
    running_kernel.reset(kernel_env)
    return running_kernel


@pytest.fixture
def new_kernel(kernel_env: Path) -> Iterator[LiveKernel]:
    """A kernel of this test alone."""
    with live_client(kernel_env) as (manager, client):
        yield LiveKernel(manager, client)


@pytest.fixture
def execute(running_kernel: LiveKernel, kernel_env: Path) -> Callable[[Any], Any]:
    """Executes a notebook in this test's folder as programs do, on the shared kernel, and returns it."""
    return partial(execute_on, running_kernel, folder=kernel_env)
