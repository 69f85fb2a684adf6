"""The same request from every door, in processes of its own: paid once, and the later one follows the first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forked import CommandProcess
from tests.manager_tools import WAN, until

SHELL = ("run", WAN, "--json")
SCRIPT = """
import wiro_nb
for number in range({times}):
    run = wiro_nb.run("{model}", prompt={prompt!r}, **{values}).wait()
    print(run.id)
"""
# A cell of a notebook: two kernels that run it at once have the same notebook.
CELL = """
import os, sys
os.environ["WIRO_NOTEBOOK"] = "same.ipynb"
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
shell.run_line_magic("load_ext", "wiro_nb")
print("ready", flush=True)
sys.stdin.readline()
result = shell.run_cell("%%wiro {model}\\n{prompt}\\n")
result.raise_error()
print(result.result.wait(60).id)
"""


@pytest.fixture
def service(start_sandbox: Any, point_at: Any) -> Any:
    made = start_sandbox()
    point_at(made)
    return made


@pytest.fixture
def command(own_folders: Path) -> Iterator[Callable[..., CommandProcess]]:
    """Starts `wiro-nb` in the test's folder; what is alive at the end is ended."""
    started: list[CommandProcess] = []

    def begin(*words: str, cwd: Path = own_folders) -> CommandProcess:
        started.append(CommandProcess(words, cwd=cwd))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def python(own_folders: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts Python in the test's folder; what is alive at the end is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, "-c", code], text=True, cwd=own_folders, **pipes))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_of(process: CommandProcess) -> str:
    """Waits for a command; returns the run whose record it printed."""
    done = process.result()
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run_id"])


def ids(process: subprocess.Popen[str]) -> list[str]:
    """Waits for a script; returns the runs it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [line for line in out.split("\n") if line]


def wait_for_tasks(service: Any, count: int) -> list[Any]:
    until(lambda: len(service.audit()["tasks"]) >= count)
    return list(service.audit()["tasks"])


def test_a_shell_command_is_paid_once_however_often_it_is_repeated(command: Any, service: Any) -> None:
    words = (*SHELL, "prompt=a lake", "seed=7")
    first, second = command(*words), command(*words)  # at once
    made = run_of(first)
    assert run_of(second) == made
    assert run_of(command(*words, "--detach")) == run_of(command(*words)) == made
    assert len(service.audit()["tasks"]) == 1
    assert run_of(command(*words, "--fresh")) != made
    assert len(service.audit()["tasks"]) == 2


def test_a_command_that_was_killed_is_followed_when_it_is_repeated(command: Any, service: Any) -> None:
    words = (*SHELL, "prompt=[hold] a lake")  # the seed is open: any seed is the same request
    first = command(*words)
    (task,) = wait_for_tasks(service, 1)
    first.kill()
    first.wait()
    again = command(*words)
    service.release(task["task_id"])
    run_of(again)
    assert len(service.audit()["tasks"]) == 1


def test_a_command_whose_answer_was_lost_is_looked_up_when_it_is_repeated(command: Any, service: Any) -> None:
    service.set_faults("Run:reset-after@1;Task/List:500@1-400")
    words = (*SHELL, "prompt=a lake", "seed=7")
    first = command(*words)
    wait_for_tasks(service, 1)
    first.kill()
    first.wait()
    service.set_faults("")
    run_of(command(*words))
    assert len(service.audit()["tasks"]) == 1


def test_a_script_that_asks_three_times_has_three_runs_and_the_same_three_the_next_time(
    python: Any, service: Any
) -> None:
    code = SCRIPT.format(times=3, model=WAN, prompt="a lake", values={"seed": 7})
    made = ids(python(code))
    assert len(set(made)) == 3
    assert set(ids(python(code))) == set(made)
    assert len(service.audit()["tasks"]) == 3


def test_another_folder_is_another_place(command: Any, service: Any, tmp_path: Path) -> None:
    words = (*SHELL, "prompt=a lake")
    run_of(command(*words))
    (tmp_path / "elsewhere").mkdir()
    run_of(command(*words, cwd=tmp_path / "elsewhere"))
    assert len(service.audit()["tasks"]) == 2


def test_two_kernels_that_run_the_same_cell_at_once_have_one_run(python: Any, service: Any) -> None:
    code = CELL.format(model=WAN, prompt="a lake at dawn")
    kernels = [python(code) for _ in range(2)]
    for kernel in kernels:
        while (line := kernel.stdout.readline()) != "ready\n":
            assert line, kernel.stderr.read()
    for kernel in kernels:
        kernel.stdin.write("\n")
        kernel.stdin.flush()
    made = [ids(kernel)[-1] for kernel in kernels]
    assert made[0] == made[1]
    assert len(service.audit()["tasks"]) == 1


def test_a_run_made_again_is_not_made_again_twice(command: Any, service: Any) -> None:
    made = run_of(command(*SHELL, "prompt=a lake", "seed=7"))
    words = ("rerun", made, "--json")
    again = run_of(command(*words))
    assert again != made
    assert run_of(command(*words)) == again
    assert len(service.audit()["tasks"]) == 2
