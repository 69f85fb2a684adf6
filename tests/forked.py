"""Runs the `wiro-nb` command in forks of one process that has imported it.

A new interpreter spends 0.5 s of CPU on imports, and the suite starts the command and sandboxes some two hundred
times. A fork is a process of its own: it has its own pid, files, folder, environment and signals. Where the system
has no `pidfd_open` (macOS, Windows), every command is a new interpreter.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 60.0
CAN_FORK = hasattr(os, "pidfd_open")
INTERPRETER = "import sys; from wiro_nb.cli import main; sys.argv[0] = 'wiro-nb'; sys.exit(main())"
PRELOADED = (
    "av",
    "numpy",
    "PIL.Image",
    "wiro_nb.cli",
    "wiro_nb.sandbox.engines.placeholder",
    "wiro_nb.sandbox.serve",
    "wiro_nb.session.manager",
)


class CommandProcess:
    """A running `wiro-nb` command.

    Args:
        words: Its command line, without the command itself.
        cwd: Its folder; this process's when None.
        env: Its environment; this process's when None.
        stdin: A descriptor; without one its input is empty.
        stdout: A descriptor; without one `result` has the output.
        stderr: A descriptor; without one `result` has the output.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.args = list(words)
        self.returncode: int | None = None
        self.out = self.err = ""
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        folder, environment = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        with Path(os.devnull).open("rb") as empty:
            files = ((stdin, empty), (stdout, self._out), (stderr, self._err))
            streams = [file.fileno() if given is None else given for given, file in files]
            if CAN_FORK:
                self.pid = _ask({"words": self.args, "cwd": folder, "env": environment}, streams)
                self._pidfd = os.pidfd_open(self.pid)
            else:
                command = [sys.executable, "-c", INTERPRETER, *self.args]
                self._process = subprocess.Popen(command, -1, None, *streams, cwd=folder, env=environment)
                self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """Waits for its end; returns the exit code, or minus the signal's number."""
        if self.returncode is None:
            if not CAN_FORK:
                self.returncode = self._process.wait(timeout)
            elif select.select([self._pidfd], [], [], timeout)[0]:
                os.close(self._pidfd)
                self.returncode = _ask({"reap": self.pid})
            else:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.out, self.err = _read(self._out), _read(self._err)
        return self.returncode

    def result(self, timeout: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """Waits for its end; returns exit code, output and errors."""
        return subprocess.CompletedProcess(self.args, self.wait(timeout), self.out, self.err)


def _read(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode()


def run_command(words: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `wiro-nb` to its end; options as for `CommandProcess`."""
    return CommandProcess(words, **options).result()


@functools.cache
def _fork_server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-c", f"from tests.forked import _serve; _serve({theirs.fileno()})"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
        }  # a fork copies no threads
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait(DEADLINE_S)

    return ours


def _ask(request: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
    server = _fork_server()
    socket.send_fds(server, [json.dumps(request).encode()], descriptors)
    answer = server.recv(100)
    assert answer, "the fork server ended"
    return int(answer)


def _serve(descriptor: int) -> None:
    """Starts and reaps processes as it is asked; a process leaves this function and becomes the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    server = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, 1_000_000, 3)
        if not message:
            return
        request = json.loads(message)
        if "reap" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                server.close()
                _become_command(request, descriptors)
            for inherited in descriptors:
                os.close(inherited)
        server.send(str(answer).encode())


def _become_command(request: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["wiro-nb", *request["words"]]
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    out = open(1, "w", encoding="utf-8", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    err = open(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.stdout = sys.__stdout__ = out
    sys.stderr = sys.__stderr__ = err
    from wiro_nb.cli import main

    sys.exit(main())
