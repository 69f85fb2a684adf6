"""One kernel of the chaos test: a process that submits runs, cancels some, waits, and may be killed at any moment.

Nothing in the package knows of this. The kill points are put around its functions here, in the process to be
killed.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.api import client as client_module
from wiro_nb.errors import WiroError
from wiro_nb.execution import download, finalize, run_record
from wiro_nb.execution.requests import Origin
from wiro_nb.execution.run import Run
from wiro_nb.execution.settings import Settings
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import RunState
from wiro_nb.provenance import content_credentials, record
from wiro_nb.session.manager import Manager
from wiro_nb.session.submission import Batch

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
NOTEBOOK = "chaos.ipynb"
ANSWER_S = 1.0
LEASE_S = 2.0
SETTINGS = Settings(
    poll_s=(0.1, 0.3),
    safety_poll_s=1.0,
    catch_up_s=0.2,
    slot_retry_s=(0.1, 0.3),
    uncertain_checks_s=(0.05, 0.2, 0.5),
    connect_patience_s=5,
    unknown_patience_s=30,
    max_download_bytes=200_000,
    download_patience_s=2.0,
    lease_s=LEASE_S,
    heartbeat_s=LEASE_S / 5,
    observe_s=0.2,
)
KILL_POINTS: tuple[tuple[Any, str], ...] = (
    (Ledger, "insert_plans"),
    (Ledger, "claim"),
    (Ledger, "mark_submitting"),
    (client_module.WiroClient, "run"),
    (Ledger, "mark_submitted"),
    (Ledger, "request_cancel"),
    (Ledger, "mark_planned"),
    (Ledger, "mark_uncertain"),
    (client_module.WiroClient, "task_detail"),
    (download, "hash_file"),
    (run_record, "embed_and_sign"),
    (run_record, "write_sidecar"),
    (Ledger, "finish"),
    (finalize, "move_files"),
    (Ledger, "release"),
)
assert all(hasattr(owner, name) for owner, name in KILL_POINTS)
assert run_record.embed_and_sign is content_credentials.embed_and_sign
assert run_record.write_sidecar is record.write_sidecar


@dataclass(frozen=True)
class Orders:
    """What a worker is to do.

    Attributes:
        environment: Data folder, service and key.
        prompts: One run each; a prompt with "[pinned]" has a fixed seed, so that it can have a twin.
        cancel: Indexes of the runs to cancel, some before they are sent.
        kill: Index in `KILL_POINTS`, before (False) or after (True), and at which pass; None for no such kill.
        patience_s: How long it waits for its runs before it closes as a kernel does.
        finish_all: True goes on with everything that is left, and cancels what does not move.
    """

    environment: dict[str, str]
    folder: str
    prompts: tuple[str, ...] = ()
    cancel: tuple[int, ...] = ()
    kill: tuple[int, bool, int] | None = None
    patience_s: float = 3.0
    finish_all: bool = False


def work(orders: Orders) -> None:
    """Does what it is told, in a process of its own."""
    os.environ.update(orders.environment)
    os.chdir(orders.folder)
    logging.disable()
    _hurry_requests()
    if orders.kill is not None:
        _arm(*orders.kill)
    manager = Manager(settings=SETTINGS)
    left = manager.resume()
    runs = [_submit(manager, prompt) for prompt in orders.prompts]
    for index in orders.cancel:
        if (run := runs[index]) is not None:
            run.cancel()
    deadline = time.monotonic() + orders.patience_s
    if orders.finish_all:
        _finish_all(manager, deadline)  # not after a wait for all: a task that stalls would take all the time
    else:
        for run in [*runs, *left]:
            _wait(run, deadline)
    manager.close(3)


def _submit(manager: Manager, prompt: str) -> Run | None:
    seed = {"seed": "7"} if "[pinned]" in prompt else {}
    prepared = manager.prepare(MODEL, {"prompt": prompt, **seed})
    try:
        origin = Origin(notebook=str(Path.cwd() / NOTEBOOK), kind="python")
        return manager.submit(Batch([prepared], origin))[0].run
    except WiroError:
        return None


def _wait(run: Run | None, deadline: float) -> None:
    if run is None:
        return
    try:
        run.wait(max(0.01, deadline - time.monotonic()), check=False)
    except WiroError:
        return


def _finish_all(manager: Manager, deadline: float) -> None:
    """Goes on with what is left until nothing moves any more; a task that stalls is cancelled."""
    manager.settings = replace(SETTINGS, download_patience_s=20.0)
    while time.monotonic() < deadline:
        rows = [row for row in manager.ledger.unfinished() if row.state is not RunState.UNCERTAIN or not row.error]
        if not rows:
            return
        for run in manager.resume():
            _wait(run, min(deadline, time.monotonic() + 1.5))
            if not run.done and run.state is RunState.SUBMITTED:
                run.cancel()


def _hurry_requests() -> None:
    """Gives up on an answer sooner than the package does, so that a hanging service does not make a slow test."""
    original = client_module.WiroClient

    class HurriedClient(original):  # type: ignore[misc, valid-type]
        def __init__(self, service: Any, **options: Any) -> None:
            super().__init__(service, **{"timeout_s": ANSWER_S, **options})

    client_module.WiroClient = HurriedClient  # type: ignore[misc]


def _arm(point: int, after: bool, count: int) -> None:
    """Has the process killed around one of its steps, as a power cut would end it."""
    owner, name = KILL_POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    passes = [0]

    def strike() -> None:
        passes[0] += 1
        if passes[0] >= count:
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()

    if name in ("run", "task_detail"):

        async def around_async(*args: Any, **options: Any) -> Any:
            if not after:
                strike()
            result = await original(*args, **options)
            if after:
                strike()
            return result

        setattr(owner, name, around_async)
        return

    def around(*args: Any, **options: Any) -> Any:
        if not after:
            strike()
        result = original(*args, **options)
        if after:
            strike()
        return result

    setattr(owner, name, around)


def pick_kill(chance: random.Random) -> tuple[int, bool, int]:
    """Draws a kill point; the first passes are the likely ones, so that it strikes before the work is done."""
    return chance.randrange(len(KILL_POINTS)), chance.random() < 0.5, chance.choice((1, 1, 2, 3))
