"""The sandbox that the manager starts by itself: shared, brought back, and gone with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import WAN, submit, wait_for, wait_for_stage
from wiro_nb.errors import ConfigError, ConnectFailed, MissingExtra
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.services.connection import NEEDED, SandboxProcess

QUICKLY = ("--engine", "instant", "--speed", "20")


def test_a_first_run_needs_nothing_and_a_killed_sandbox_comes_back_with_its_tasks(make_manager: Any) -> None:
    manager = make_manager(sandbox_arguments=QUICKLY)
    run = submit(manager, "[queue] a cat")
    wait_for_stage(run, Stage.QUEUED)
    assert run.snapshot.is_free
    process: SandboxProcess = manager.services.connection("sandbox").process
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(run, lambda _: process.pid not in (None, pid))
    run.cancel()
    assert run.wait(60).state is RunState.CANCELLED


def test_two_processes_share_one_sandbox_and_the_one_left_starts_it_again(tmp_path: Path) -> None:
    first, second = (SandboxProcess(tmp_path, arguments=QUICKLY) for _ in range(2))
    try:
        owned = first.ensure()
        shared = second.ensure()
        assert shared.base_url == owned.base_url
        assert second.pid is None
        first.close()
        again = second.ensure()
        assert second.pid is not None
        assert again.credentials == owned.credentials
    finally:
        first.close()
        second.close()


def test_a_sandbox_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = SandboxProcess(tmp_path, arguments=("--no-such-option",))
    with pytest.raises(Exception, match="did not start") as caught:
        broken.ensure()
    assert any("no-such-option" in line for line in caught.value.details)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
@pytest.mark.parametrize(
    ("says", "kind"),
    [("exec sleep 60", ConnectFailed), (r"printf '\377\n'", ConfigError)],
    ids=["nothing", "no text"],
)
def test_a_process_that_says_nothing_is_ended_and_one_that_says_nonsense_did_not_start(
    says: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    process = SandboxProcess(tmp_path, start_timeout_s=0.2 if kind is ConnectFailed else 60)
    began = time.monotonic()
    with pytest.raises(kind):
        process.ensure()
    assert process.pid is None
    assert time.monotonic() - began < 30, "it was ended, and did not end by itself"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
def test_a_sandbox_that_an_interrupt_meets_before_it_has_a_session_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, mark = tmp_path / "python", tmp_path / "interrupted"
    program.write_text(f'#!/bin/sh\n[ -e {mark} ] && exec {sys.executable} "$@"\ntouch {mark}\nkill -INT $$\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    process = SandboxProcess(tmp_path / "data", arguments=QUICKLY)
    try:
        assert process.ensure().is_local
    finally:
        process.close()
    assert mark.exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtra) as caught:
        MissingExtra.require("the sandbox", "sandbox", *NEEDED)
    assert caught.value.package == "uvicorn"
    assert "wiro_nb[sandbox]" in caught.value.hint


def test_a_script_that_ends_right_after_submitting_loses_nothing(
    make_manager: Any, point_at: Any, sandbox: Any
) -> None:
    point_at(sandbox)
    script = f"""
        from wiro_nb.session.submission import Batch
        from wiro_nb.session import get_manager
        manager = get_manager()
        run = manager.submit(Batch([manager.prepare({WAN!r}, {{"prompt": "[hold] left behind"}})]))[0].run
        print(run.id)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    manager = make_manager()
    (run,) = manager.resume()
    assert run.id == done.stdout.strip()
    wait_for_stage(run, Stage.GENERATING)
    sandbox.release(run.task_id)
    assert run.wait(60).state is RunState.SUCCEEDED
    tasks = sandbox.call("/Task/List", {"type": "model", "start": "0", "limit": "200"})["tasklist"]
    assert sum(task["parameters"].get("prompt") == "[hold] left behind" for task in tasks) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_a_manager_of_its_own(point_at: Any, sandbox: Any) -> None:
    point_at(sandbox)
    script = f"""
        from wiro_nb.session.submission import Batch
        import os, sys, warnings
        from wiro_nb.session import close_manager, get_manager
        warnings.simplefilter("ignore")
        parent = get_manager()
        parent.models()
        child = os.fork()
        manager = get_manager()
        assert (manager is parent) == bool(child)
        run = manager.submit(Batch([manager.prepare({WAN!r}, {{"prompt": "forked"}})]))[0].run.wait(60)
        assert run.path is not None
        close_manager()
        if not child:
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
