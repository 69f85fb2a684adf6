"""Managers on a real sandbox process, with ledger and clips in the test's own folder: fixtures and helpers."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.execution.requests import Origin
from wiro_nb.execution.run import Run
from wiro_nb.execution.settings import Settings
from wiro_nb.ledger.state import Stage
from wiro_nb.schema.values import Prepared
from wiro_nb.session.manager import Manager
from wiro_nb.session.submission import Batch

VACE = "pruna/vace"
WAN = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
QUICK = Settings(
    poll_s=(0.1, 0.2),
    slot_retry_s=(0.1, 0.2),
    catch_up_s=0.2,
    uncertain_checks_s=(0.05, 0.1, 0.2),
    connect_patience_s=3,
    download_patience_s=1.0,
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its data folder and stands in a folder of its own; no key comes from outside."""
    for name in ("WIRO_SERVICE", "WIRO_API_KEY", "WIRO_API_SECRET", "WIRO_BASE_URL", "WIRO_SOCKET_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes a sandbox process the "cloud" of this test."""

    def point(service: Any, base_url: str | None = None) -> None:
        monkeypatch.setenv("WIRO_SERVICE", "cloud")
        monkeypatch.setenv("WIRO_BASE_URL", base_url or service.base_url)
        monkeypatch.setenv("WIRO_SOCKET_URL", service.socket_url)
        monkeypatch.setenv("WIRO_API_KEY", service.api_key)
        monkeypatch.setenv("WIRO_API_SECRET", service.api_secret)

    return point


@pytest.fixture
def make_manager() -> Iterator[Callable[..., Manager]]:
    """Makes managers that are closed at the end of the test; nothing of them may stay."""
    before = set(threading.enumerate())
    made: list[Manager] = []

    def make(**arguments: Any) -> Manager:
        made.append(Manager(**{"settings": QUICK, **arguments}))
        return made[-1]

    yield make
    for manager in made:
        manager.close()
    gc.collect()  # an unclosed socket shows in the test that left it
    ending = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("wiro-io")]
    for thread in ending:
        thread.join(60)  # told to end; when it gets its turn is up to the machine
    left = [thread.name for thread in ending if thread.is_alive()]
    assert not left, f"threads stayed after close: {left}"


@pytest.fixture
def manager(sandbox: Any, point_at: Callable[[Any], None], make_manager: Callable[..., Manager]) -> Manager:
    """A manager on the session's sandbox: instant clips, no slot limit."""
    point_at(sandbox)
    return make_manager()


def submit(manager: Manager, prompt: str = "a cat", **options: Any) -> Run:
    """Returns a new run, also of a request that was made before."""
    return submit_request(manager, manager.prepare(WAN, {"prompt": prompt}), **{"fresh": True, **options})


def submit_request(
    manager: Manager,
    request: Prepared,
    *,
    origin: Origin | None = None,
    parent: Mapping[str, Any] | None = None,
    fresh: bool = False,
    **limits: Any,
) -> Run:
    """Returns the run of one request: the one that answers it already, or a new one."""
    batch = Batch([request], origin or Origin(), [parent], fresh=fresh)
    return manager.submit(batch, **limits)[0].run


def find_made(manager: Manager, prepared: Prepared, notebook: str | None) -> Run | None:
    """Returns the run that answers a request of a notebook already."""
    (found,) = manager.find_made(Batch([prepared], Origin(notebook)))
    return found


def until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Waits for what no event tells of."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def wait_for(run: Run, holds: Any, timeout_s: float = 60.0) -> None:
    """Waits until a condition on the run holds, woken by its changes."""
    woken = threading.Event()
    stop = run.on_change(lambda _: woken.set())
    deadline = time.monotonic() + timeout_s
    try:
        while not holds(run):
            left = deadline - time.monotonic()
            assert left > 0, f"the run stays at {run.snapshot}"
            woken.wait(min(left, 0.5))
            woken.clear()
    finally:
        stop()


def wait_for_stage(run: Run, stage: Stage) -> None:
    wait_for(run, lambda run: run.task_id is not None and run.snapshot.stage.rank >= stage.rank)
