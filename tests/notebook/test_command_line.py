"""`wiro-nb` in scripts: pipes, exit codes, signals, and nothing but the environment to set it up."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from tests.forked import CommandProcess, run_command
from tests.manager_tools import until
from tests.terminals import open_terminal
from wiro_nb.provenance.record import check_record

RUN = ["run", "sandbox/plain-clip", "frames=9"]
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def service(
    start_shared_sandbox: Callable[..., SandboxProcess], tmp_path_factory: pytest.TempPathFactory
) -> SandboxProcess:
    data = tmp_path_factory.mktemp("data")
    words = ("--engine", "instant", "--speed", "50", "--balance", "1000")
    return start_shared_sandbox(*words, data=data / "sandbox")


@pytest.fixture
def env(service: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    """The environment of a job: a ledger of its own, the sandbox by address, a key from the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WIRO_")}
    return {
        **kept,
        "WIRO_DATA_DIR": str(tmp_path / "data"),
        "WIRO_SERVICE": "cloud",
        "WIRO_BASE_URL": service.base_url,
        "WIRO_SOCKET_URL": service.socket_url,
        "WIRO_API_KEY": service.api_key,
        "WIRO_API_SECRET": service.api_secret,
    }


@pytest.fixture
def shell(env: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in an empty folder."""

    def run(words: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
        return run_command(words, cwd=tmp_path, env={**env, **changes})

    return run


Shell = Callable[..., subprocess.CompletedProcess[str]]


def values(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_prints_one_record_and_nothing_of_its_progress(
    shell: Shell, service: SandboxProcess, tmp_path: Path
) -> None:
    done = shell([*RUN, "prompt=a paper boat", "seed=7", "--json"])
    assert done.returncode == 0, done.stderr
    (record,) = values(done.stdout)
    check_record(record)
    assert record["service"]["name"] == "cloud"
    assert (tmp_path / record["outputs"][0]["path"]).stat().st_size > 0
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    for secret in (service.api_key, service.api_secret):
        assert secret not in done.stdout + done.stderr


def test_progress_goes_to_a_terminal_and_only_there(
    env: dict[str, str], service: SandboxProcess, tmp_path: Path
) -> None:
    words = [*RUN, "prompt=a watched boat [hold]", "--json"]
    with open_terminal() as terminal:
        job = CommandProcess(words, cwd=tmp_path, env=env, stderr=terminal.descriptor)
        terminal.give_away()
        terminal.read_until(b"\r\x1b[K")
        service.release(service.task_of("a watched boat [hold]"))
        terminal.read_to_end()
    done = job.result()
    assert done.returncode == 0
    (record,) = values(done.stdout)
    assert record["status"] == "succeeded"


def test_without_json_the_last_lines_name_the_file_for_people(shell: Shell, tmp_path: Path) -> None:
    done = shell([*RUN, "prompt=a plain boat"])
    assert done.returncode == 0
    assert "wiro_outputs/" in done.stdout
    assert_shell_words(done.stdout)


def assert_shell_words(text: str) -> None:
    """The commands named are those of the shell, or said to be for a notebook."""
    for line in text.splitlines():
        assert "%wiro" not in line or "in a notebook: %wiro" in line, line


@pytest.mark.parametrize(
    ("words", "changes", "code", "told"),
    [
        ([*RUN, "prompt=a boat [fail]"], {}, 1, "next:"),
        ([*RUN, "prompt=a boat", "style=blue"], {}, 2, "style"),
        ([*RUN, "prompt=a boat", "frames"], {}, 2, "name=value"),
        (["run", "no/such-model", "prompt=x"], {}, 2, "no/such-model"),
        ([*RUN, "prompt=x", "--max-cost", "free"], {}, 2, "--max-cost"),
        ([*RUN, "prompt=x", "--max-cost", "0"], {}, 2, "price"),
        ([*RUN, "prompt=x"], {"WIRO_API_KEY": ""}, 2, "wiro-nb login"),
        (["schema", "no/bundled"], {"WIRO_BASE_URL": "http://127.0.0.1:9/v1"}, 3, "next:"),
        (["show", "zzzzz"], {}, 2, "zzzzz"),
        (["frobnicate"], {}, 2, "frobnicate"),
    ],
)
def test_exit_codes_and_no_tracebacks(
    shell: Shell, words: list[str], changes: dict[str, str], code: int, told: str
) -> None:
    done = shell(words, **changes)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert_shell_words(done.stderr)


def test_the_same_request_is_not_sent_twice(shell: Shell, service: SandboxProcess, tmp_path: Path) -> None:
    words = [*RUN, "prompt=a boat asked for twice", "seed=7", "--json"]
    first = shell(words)
    sent = service.audit()["requests"]["Run"]
    again = shell(words)
    assert values(again.stdout) == values(first.stdout)
    assert "No charge" in again.stderr
    assert service.audit()["requests"]["Run"] == sent
    shutil.rmtree(tmp_path / "wiro_outputs")
    fetched = shell(words)
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / values(fetched.stdout)[0]["outputs"][0]["path"]).exists(), "a clip that is gone comes back"
    assert service.audit()["requests"]["Run"] == sent
    fresh = shell([*words, "--fresh"])
    assert values(fresh.stdout)[0]["run_id"] != values(first.stdout)[0]["run_id"]


def test_detach_returns_when_the_service_knows_and_wait_comes_back(shell: Shell, service: SandboxProcess) -> None:
    (facts,) = values(shell([*RUN, "prompt=a held boat [hold]", "--detach", "--json"]).stdout)
    assert facts["status"] == "submitted"
    assert facts["task_id"]
    service.release(facts["task_id"])
    done = shell(["wait", facts["run_id"], "--json"])
    (record,) = values(done.stdout)
    assert (done.returncode, record["status"], record["run_id"]) == (0, "succeeded", facts["run_id"])
    listed = shell(["runs", "--json"])
    assert values(listed.stdout)[0]["run_id"] == facts["run_id"]
    assert values(shell(["record", facts["run_id"]]).stdout) == [record]


def test_an_interrupt_stops_the_waiting_and_the_run_can_be_fetched_later(
    shell: Shell, env: dict[str, str], service: SandboxProcess, tmp_path: Path
) -> None:
    words = [*RUN, "prompt=an interrupted boat [hold]"]
    job = CommandProcess(words, cwd=tmp_path, env=env)
    task_id = service.task_of("an interrupted boat [hold]")
    until(lambda: values(shell(["runs", "--limit", "1", "--json"]).stdout)[0]["task_id"] == task_id)
    job.send_signal(signal.SIGINT)
    done = job.result()
    told = done.stderr
    assert done.returncode == 130
    assert told.count("The run continues: wiro-nb wait") == 1
    assert "wiro-nb runs" not in told
    assert "Traceback" not in told
    service.release(task_id)
    short_id = told.split("wiro-nb wait ")[1].split()[0]
    assert shell(["wait", short_id]).returncode == 0


def test_a_reader_that_leaves_early_is_no_error(env: dict[str, str], tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m wiro_nb models | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout.strip() in ("0", "141")


def test_every_command_explains_itself(shell: Shell) -> None:
    from wiro_nb.presentation.command_table import SHELL_COMMANDS

    listing = shell(["--help"]).stdout
    for name in SHELL_COMMANDS:
        assert re.search(rf"^    {name}\s", listing, re.MULTILINE)
    assert "Exit codes" in listing


def test_the_sandbox_by_name_needs_no_key(shell: Shell, service: SandboxProcess) -> None:
    changes = {"WIRO_API_KEY": "", "WIRO_API_SECRET": "", "WIRO_DATA_DIR": str(service.data.parent)}
    done = shell([*RUN, "prompt=a free boat", "--service", "sandbox", "--json"], **changes)
    (record,) = values(done.stdout)
    assert (done.returncode, record["service"]["name"]) == (0, "sandbox")
