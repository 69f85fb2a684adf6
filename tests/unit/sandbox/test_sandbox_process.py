"""The process: its first line, its end, restarts after kill -9, one process a folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.sandbox import serve

FIRST_LINE = {"base_url", "socket_url", "api_key", "api_secret", "key_only_api_key", "pid", "version"}
INSTANT = ("--engine", "instant", "--speed", "instant")


def start(data: Path, *args: str, stdin: Any = subprocess.PIPE) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "wiro_nb", "sandbox", "--data", str(data), *INSTANT, *args]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, errors


def test_the_first_line_says_how_to_reach_it_and_closing_stdin_ends_it(tmp_path: Path) -> None:
    process, info = start(tmp_path)
    assert set(info) == FIRST_LINE
    assert info["pid"] == process.pid
    assert info["base_url"].startswith("http://127.0.0.1:")
    address = ("127.0.0.1", int(info["base_url"].split(":")[2].split("/")[0]))
    head = f"POST /v1/Run/sandbox/image HTTP/1.1\r\nHost: localhost\r\nx-api-key: {info['key_only_api_key']}"
    with socket.create_connection(address, timeout=60) as gone:  # a client that ends within its request
        gone.sendall(f"{head}\r\nContent-Length: 9\r\n\r\n{{".encode())
    with socket.create_connection(address, timeout=60) as other:  # by now that one is served
        other.sendall(f"{head}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        assert other.recv(15) == b"HTTP/1.1 200 OK"
    assert finish(process) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=60)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly_even_with_work_under_way(new_caller: Callable[..., Any], number: int) -> None:
    caller = new_caller("--stay")
    made = caller.run("[hold] boat")
    caller.until(made, "task_start")
    with caller.watch(made):
        caller.sandbox.process.send_signal(number)
        assert caller.sandbox.process.wait(timeout=60) == 0


def test_stay_goes_on_without_stdin(tmp_path: Path) -> None:
    process, info = start(tmp_path, "--stay", stdin=subprocess.DEVNULL)
    try:
        second, again = start(tmp_path)
        assert (again.pop("shared"), again) == (True, info)
        code, told = finish(second)
        assert code == 0
        assert "already running" in told
        assert "--speed, --engine changes nothing" in told
        assert process.poll() is None
    finally:
        process.terminate()
        assert finish(process) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_secrets_lie_in_files_of_the_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    process, info = start(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    for name in ("sandbox.json", "sandbox.sqlite"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    assert json.loads((tmp_path / "sandbox.json").read_text()) == info
    assert finish(process) == (0, "")
    assert not (tmp_path / "sandbox.json").exists()


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_port_out_of_range_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(SystemExit) as refused:
        serve.read_options(["--port", port, "--data", str(tmp_path)])
    assert refused.value.code == 2


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "wiro_nb", "sandbox", "--data", str(tmp_path)]
        command += ["--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The sandbox could not start:")
    assert "Traceback" not in done.stderr


def test_a_folder_that_stays_locked_is_said_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "_WAIT_S", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "lock", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        assert serve.main(["--data", str(tmp_path)]) == 1
    assert "in use by a process that does not answer" in capsys.readouterr().err


def test_after_kill_9_everything_is_there_and_unfinished_tasks_finish(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant", "--balance", "1000")
    box = caller.sandbox
    done = caller.done(caller.run("first"))
    content = caller.http.get(done["outputs"][0]["url"]).content
    waiting, running = caller.run("[queue] second"), caller.run("[hold] third")
    caller.until(running, "task_start")
    before = dict(box.info)
    box.restart(kill=True)
    assert {**box.info, "pid": 0} == {**before, "pid": 0}, "keys and port are kept"
    again = caller.task({"taskid": done["id"]})
    assert again == done
    assert caller.http.get(again["outputs"][0]["url"]).content == content
    for made in (waiting, running):
        caller.until(made, "task_queue", "task_start")
        box.release(made["taskid"])
        assert caller.done(made)["pexit"] == "0"
    audit = box.audit()
    assert [task["billed_usd"] for task in audit["tasks"]] == ["0.010000000000"] * 3
    assert Decimal(audit["balance_usd"]) == Decimal("999.97")


def test_where_the_last_port_is_taken_another_one_serves_the_same_files(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant")
    files = {"startImage": ("a.png", b"picture", "image/png")}
    made = caller.ok("/Run/sandbox/plain-clip", files=files, data={"prompt": "[hold] x", "fps": "8"})
    former = caller.sandbox.origin
    caller.sandbox.stop()
    with socket.create_server(("127.0.0.1", int(former.rpartition(":")[2]))):
        caller.sandbox.start()
    assert caller.sandbox.origin != former
    caller.until(made, "task_start")
    url = caller.task(made)["parameters"]["startImage"]
    assert (url.startswith(caller.sandbox.origin), caller.http.get(url).content) == (True, b"picture")


def test_a_polite_end_leaves_unfinished_tasks_for_the_next_start(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant")
    made = caller.run("[hold] boat")
    caller.until(made, "task_start")
    caller.sandbox.restart(kill=False)
    caller.until(made, "task_start")
    caller.ok("/Task/Kill", {"taskid": made["taskid"]})


def test_help_names_every_fault_and_directive() -> None:
    from wiro_nb.sandbox.faults import DIRECTIVES, KINDS

    shown = serve.build_parser().format_help()
    assert [kind for kinds in KINDS.values() for kind in kinds if kind not in shown] == []
    assert [name for name in DIRECTIVES if f"[{name}]" not in shown] == []
