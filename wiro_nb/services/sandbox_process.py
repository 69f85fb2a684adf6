"""Starts a service on this machine as a process of its own: on the kernel's loop it would hang with it.

It is the sandbox with its placeholder clips or, with `--engine diffusers`, the models on this machine.

The sandbox lives while its standard input is open, so it ends with this process however that ends.
One sandbox serves every process that uses the same data folder; a second one prints where the running
one is and ends. When its owner closes, the next one to need it starts it again, and its tasks go on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shlex
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wiro_nb.api.service import Credentials, Service
from wiro_nb.errors import NOTHING_SENT, ConfigError, ConnectFailed, MissingExtra

NEEDED = ("av", "numpy", "PIL", "python_multipart", "starlette", "uvicorn")
STDERR_NAME = "stderr.log"
_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Running:
    service: Service
    shared: bool


class SandboxProcess:
    """The free service of one data folder, started when needed.

    Args:
        folder: Where it stores tasks and clips.
        name: "sandbox" or "local".
        arguments: Further arguments of its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "sandbox",
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.name = name
        self._arguments = arguments
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._running: _Running | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the sandbox when this process owns it."""
        return self._process.pid if self._process is not None else None

    def ensure(self) -> Service:
        """Returns the address of the running sandbox; starts one when there is none. Blocks up to 30 s.

        Raises:
            MissingExtra: Its packages are not installed.
            ConfigError: It ended at once; the message carries the end of its log.
            ConnectFailed: It did not answer in time.
        """
        with self._lock:
            if self._running is not None and self._is_alive(self._running):
                return self._running.service
            self._reap()
            self._running = self._start()
            return self._running.service

    def close(self, timeout_s: float = 3.0) -> None:
        """Ends the sandbox when this process owns it."""
        with self._lock:
            self._running = None
            self._reap(timeout_s)

    def _is_alive(self, running: _Running) -> bool:
        if not running.shared:
            return self._process is not None and self._process.poll() is None
        parts = urlsplit(running.service.base_url)
        try:
            with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=1.0):
                return True
        except OSError:
            return False

    def _start(self) -> _Running:
        require_sandbox_extra()
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "wiro_nb", "sandbox", *self._arguments]
        with (self.folder / STDERR_NAME).open("ab") as errors:
            process = subprocess.Popen(
                [*command, "--port", "0", "--data", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.folder,
                env=_child_environment(),
                text=True,
                # An interrupt typed at a terminal goes to the whole process group: the sandbox is not meant.
                start_new_session=True,
            )
        self._process = process
        try:
            facts = json.loads(self._first_line(process))
            service = _service_from(self.name, facts)
        except queue.Empty:
            self._reap()
            raise ConnectFailed(
                f"the service {self.name} did not answer within {_START_TIMEOUT_S:.0f} s"
            ) from None
        except (ValueError, KeyError, TypeError):  # it ended: trying again would not help
            self._reap()
            raise ConfigError(
                f"the service {self.name} did not start",
                details=_log_end(self.folder / STDERR_NAME),
                hint=shlex.join(["python", *command[1:]]),
                billed=NOTHING_SENT,
            ) from None
        shared = bool(facts.get("shared"))
        if shared:
            self._reap()
        return _Running(service, shared)

    def _reap(self, timeout_s: float = 3.0) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:
                pass
        for end in (None, process.terminate, process.kill):
            if end is not None:
                end()
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                continue
        if self._reader is not None:  # it sees the end of the output a moment after the process has ended
            self._reader.join(timeout_s)
            self._reader = None

    def _first_line(self, process: subprocess.Popen[str]) -> str:
        lines: queue.Queue[str] = queue.Queue(maxsize=1)
        stream = process.stdout
        assert stream is not None

        def read() -> None:
            with stream:
                lines.put(stream.readline())
                for _ in stream:  # a full pipe would stop the sandbox
                    pass

        self._reader = threading.Thread(target=read, name="wiro-sandbox-stdout", daemon=True)
        self._reader.start()
        return lines.get(timeout=_START_TIMEOUT_S)


def require_sandbox_extra() -> None:
    """Checks that the sandbox's packages are installed, without importing them.

    Raises:
        MissingExtra: One is not.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the sandbox needs packages that are not installed: {', '.join(missing)}",
            hint='python -m pip install "wiro_nb[sandbox]"',
            extra="sandbox",
            package=missing[0],
        )


def _service_from(name: str, facts: dict[str, object]) -> Service:
    credentials = Credentials(str(facts["api_key"]), str(facts["api_secret"]) if facts.get("api_secret") else None)
    return Service(name, str(facts["base_url"]), str(facts["socket_url"]), credentials, True)


def _child_environment() -> dict[str, str]:
    # The user's keys are not for the sandbox.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WIRO_API_")}
    package_home = str(Path(__file__).resolve().parents[2])
    if "site-packages" in package_home or "dist-packages" in package_home:
        return environment  # found without help, and must not come before the standard library
    present = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([package_home, present]) if present else package_home
    return environment


def _log_end(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")[-4000:]
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-5:]
