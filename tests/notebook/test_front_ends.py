"""Front ends without a page: IPython in a terminal and plain Python. The browser's are in tests/browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from tests.terminals import open_terminal

CELL = "%%wiro sandbox/plain-clip frames=9 seed=7 --as clip --wait\na paper boat"
DEADLINE_S = 90


@pytest.fixture(scope="module")
def service(
    start_shared_sandbox: Callable[..., SandboxProcess], tmp_path_factory: pytest.TempPathFactory
) -> SandboxProcess:
    words = ("--engine", "instant", "--speed", "50", "--balance", "1000")
    return start_shared_sandbox(*words, data=tmp_path_factory.mktemp("data") / "sandbox")


@pytest.fixture
def env(service: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WIRO_", "JPY_"))}
    (tmp_path / "ipython").mkdir()
    own = {"WIRO_DATA_DIR": str(service.data.parent), "IPYTHONDIR": str(tmp_path / "ipython")}
    return {**kept, **own, "WIRO_SERVICE": "sandbox"}


def ipython(script: str, folder: Path) -> list[str]:
    (folder / "script.ipy").write_text(script, "utf-8")
    return [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "script.ipy"]


def cell(source: str) -> str:
    """A cell as a script for IPython can have it: cell magics stand only at a cell's first line."""
    first, _, body = source.removeprefix("%%wiro ").partition("\n")
    return f"get_ipython().run_cell_magic('wiro', {first!r}, {body!r})"


def test_a_terminal_shows_one_moving_line_and_then_the_result_as_text_with_the_file(
    env: dict[str, str], tmp_path: Path
) -> None:
    script = f"%load_ext wiro_nb\n{cell(CELL)}\nprint('state', clip.status)\n%wiro runs\n"
    options: dict[str, Any] = {"cwd": tmp_path, "env": env, "stdout": subprocess.PIPE, "text": True}
    with open_terminal(40) as terminal:
        job = subprocess.Popen(ipython(script, tmp_path), stderr=terminal.descriptor, **options)
        terminal.give_away()
        told = terminal.read_to_end()
    shown, _ = job.communicate(timeout=DEADLINE_S)
    assert job.returncode == 0, told
    lines = told.decode().replace("\033[K", "").split("\r")  # without what erases the line before
    assert any("[" in line and "Done" in line for line in lines)
    assert max(map(len, lines)) <= 40
    assert "wiro: done  sandbox/plain-clip" in shown
    assert "state succeeded" in shown
    assert "<" not in shown, "no HTML reaches a terminal"
    path = next(word for word in shown.split() if word.startswith("wiro_outputs/"))
    assert (tmp_path / path).stat().st_size > 0


def test_a_displayed_run_leaves_no_empty_output_in_a_terminal(env: dict[str, str], tmp_path: Path) -> None:
    line = "get_ipython().run_cell_magic('wiro', 'sandbox/plain-clip frames=9 seed=7 --wait', 'a paper boat')"
    cells = [
        "%load_ext wiro_nb",
        "%wiro run sandbox/plain-clip frames=9 seed=7 prompt=boat --wait",
        "print('kept', _.status)",
        "clip = %wiro run sandbox/plain-clip frames=9 seed=7 prompt=boat",
        f"print('assigned', clip.status); other = {line}; other.status",
        f"{line}.task_id.isdigit()",
        "%unload_ext wiro_nb",
        "%load_ext wiro_nb",
        "%config WiroMagics.debug = True",
        "import os, pathlib; pathlib.Path('file').touch(); os.environ['WIRO_DATA_DIR'] = 'file/data'",
        "%wiro budget",
    ]
    script = "\n".join(
        ["from IPython.core.interactiveshell import InteractiveShell", "shell = InteractiveShell.instance()"]
        + [f"shell.run_cell({source!r}, store_history=True)" for source in cells]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr, "no moving line where nobody sees it move"
    assert "kept succeeded" in done.stdout
    assert "assigned succeeded" in done.stdout
    assert "Out[2]" not in done.stdout
    assert "Out[5]: 'succeeded'" in done.stdout, done.stdout
    assert "Out[6]: True" in done.stdout, done.stdout
    assert "NotADirectoryError" in done.stdout, "a whole traceback has the cause"


def test_ctrl_c_at_the_prompt_stops_the_waiting_alone_and_exit_is_quiet(
    env: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--simple-prompt"]
    with open_terminal() as terminal:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.descriptor)
        shell = subprocess.Popen(command, cwd=tmp_path, env=env, **streams)
        terminal.give_away()
        try:
            terminal.read_until(b"In [1]: ")
            terminal.type("%load_ext wiro_nb")
            terminal.read_until(b"In [2]: ")
            terminal.type("%wiro run sandbox/plain-clip prompt='a boat [hold]' frames=9 --as held --wait")
            terminal.read_until(b"Generating")
            shell.send_signal(signal.SIGINT)
            told = terminal.read_until(b"In [3]: ")
            assert b"continues. next: %wiro wait" in told
            assert b"Traceback" not in told
            terminal.type("print('state', held.status)")
            assert b"state generating" in terminal.read_until(b"In [4]: ")
            terminal.type("exit")
            left = terminal.read_to_end()
            assert shell.wait(DEADLINE_S) == 0
            assert b"Traceback" not in left
        finally:
            shell.kill()
            shell.wait()


def test_an_error_in_a_terminal_is_short_and_names_the_next_step(env: dict[str, str], tmp_path: Path) -> None:
    script = f"%load_ext wiro_nb\n{cell(CELL.replace('frames=9', 'frames=500'))}\n"
    done = subprocess.run(
        ipython(script, tmp_path), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "InvalidParameter" in told
    assert "121" in told
    assert "next:" in told
    assert "site-packages" not in told


def test_plain_python_needs_no_ipython(env: dict[str, str], tmp_path: Path) -> None:
    script = """
import asyncio, sys
import wiro_nb

run = wiro_nb.run("sandbox/plain-clip", prompt="a paper boat", frames=9, seed=7)
print(run.wait().status, run.path.exists())


async def two():
    more = [wiro_nb.run("sandbox/plain-clip", prompt="a boat", frames=9, seed=seed) for seed in (8, 9)]
    return [(await item).status for item in more]


print(asyncio.run(two()))
print([name for name in ("IPython", "ipywidgets", "anywidget") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["succeeded True", "['succeeded', 'succeeded']", "[]"]
    assert done.stderr == ""


def test_a_script_may_end_before_its_run_and_says_nothing(env: dict[str, str], tmp_path: Path) -> None:
    script = """
import threading
import wiro_nb

followed = threading.Event()
run = wiro_nb.run("sandbox/plain-clip", prompt="a paper boat [hold]", frames=9, seed=7)
look = lambda snapshot: snapshot.stage == "generating" and followed.set()
stop = run.on_change(look)
look(run.snapshot)
assert followed.wait(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
