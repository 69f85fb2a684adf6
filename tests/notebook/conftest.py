"""Real kernels, with one data folder (and so one sandbox) for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.kernels import LiveKernel, live_client


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger's folder; kernels of the session share the sandbox that runs in it."""
    return tmp_path_factory.mktemp("data")


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
def kernel(kernel_env: Path) -> Iterator[LiveKernel]:
    """A fresh kernel in its own folder."""
    with live_client(kernel_env) as (manager, client):
        yield LiveKernel(manager, client)
