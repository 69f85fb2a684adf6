"""Runs the sandbox process, one per data folder: binds the port, prints the ready line, shuts down cleanly.

`sandbox.json` holds the address of the running sandbox. The lock on the folder is a transaction of SQLite's, which
the operating system releases when the process ends in any way, so there are no stale locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn

from wiro_nb.files import write_atomically
from wiro_nb.sandbox.app import build_app
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.faults.injection import watched_protocol
from wiro_nb.sandbox.options import Options, changed_options, read_options
from wiro_nb.sandbox.store import Store

_WAIT_S = 10.0


class InstanceLock:
    """The exclusive right to serve a data folder.

    Args:
        folder: The data folder; created when missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._info_path = folder / "sandbox.json"
        self._lock = sqlite3.connect(folder / "lock", timeout=0, isolation_level=None, check_same_thread=False)

    def acquire(self) -> dict[str, Any] | None:
        """Locks the folder, or reads the address of the sandbox that holds it.

        Returns:
            None when the lock was acquired, else the connection info of the running sandbox.

        Raises:
            TimeoutError: Another process holds the lock and publishes no address.
            sqlite3.Error: The lock file cannot be written.
        """
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                self._lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            else:
                self._info_path.unlink(missing_ok=True)
                return None
            with contextlib.suppress(OSError, ValueError):
                return dict(json.loads(self._info_path.read_text()))
            time.sleep(0.05)  # the other process is still starting
        raise TimeoutError(f"{self._info_path.parent.name}: in use by a process that does not answer")

    def publish(self, info: dict[str, Any]) -> None:
        """Writes the connection info, readable by its owner only."""
        write_atomically(self._info_path, json.dumps(info).encode(), mode=0o600)

    def retire(self) -> None:
        """Removes the address before this sandbox ends: a new process then waits for the lock instead."""
        if self._lock.in_transaction:
            self._info_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Releases the lock."""
        self.retire()
        self._lock.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until stdin closes or Ctrl-C.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0, or 1 when the data folder or the port is not available.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options = read_options(arguments)
    lock: InstanceLock | None = None
    try:
        lock = InstanceLock(options.data)
        if running := lock.acquire():
            _print_line({**running, "shared": True})
            if ignored := changed_options(arguments):
                print(
                    "A sandbox is already running on this data folder: above is its address, and "
                    f"{', '.join(ignored)} changes nothing. Another --data starts another one.",
                    file=sys.stderr,
                )
            return 0
        return _serve(options, lock)
    except (OSError, TimeoutError, sqlite3.Error) as error:
        print(f"The sandbox could not start: {error}", file=sys.stderr)
        print("  next: another --port or --data", file=sys.stderr)
        return 1
    finally:
        if lock is not None:
            lock.release()


def _serve(options: Options, lock: InstanceLock) -> int:
    store = Store(options.data / "sandbox.sqlite", options.balance)
    listener = _bind(options.port, int(store.meta("port") or 0))
    port = int(listener.getsockname()[1])
    store.set_meta("port", str(port))
    info = _connection_info(store, port)
    faults = Faults(options.faults, options.faults_seed)
    config = uvicorn.Config(
        build_app(options, store, faults, port),
        http=watched_protocol(faults),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    # uvicorn 0.54 calls a refused handshake (the fault `socket:refuse`) an error of the application.
    logging.getLogger("uvicorn.error").addFilter(lambda entry: "completing handshake" not in entry.getMessage())

    server = uvicorn.Server(config)
    if not options.stay:
        _end_with_stdin(server, lock)
    # The socket listens already: who connects now is served in a moment.
    lock.publish(info)
    _print_line(info)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # who started this reads one line: the pipe must neither fill up nor break
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises a signal again once it has shut down
        asyncio.run(server.serve(sockets=[listener]))
    return 0


def _bind(port: int, port_used_last: int) -> socket.socket:
    """Returns a listening socket on the loopback interface.

    Raises:
        OSError: The port asked for is taken.
    """
    for wanted in (port,) if port else (port_used_last, 0):
        # With IPPROTO_TCP asyncio disables Nagle's algorithm, which costs 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(2048)
        except OSError:
            listener.close()
            if port:
                raise
        else:
            return listener
    raise OSError("no free port on 127.0.0.1")


def _connection_info(store: Store, port: int) -> dict[str, Any]:
    return {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "socket_url": f"ws://127.0.0.1:{port}/v1",
        "api_key": store.meta("api_key"),
        "api_secret": store.meta("api_secret"),
        "key_only_api_key": store.meta("key_only_api_key"),
        "pid": os.getpid(),
        "version": metadata.version("wiro_nb"),
    }


def _print_line(info: dict[str, Any]) -> None:
    print(json.dumps(info), flush=True)


def _end_with_stdin(server: uvicorn.Server, lock: InstanceLock) -> None:
    """Ends the server when the other end of stdin closes; a terminal or a file never ends it."""
    try:
        kind = os.fstat(0).st_mode
    except OSError:
        return
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        lock.retire()
        server.should_exit = True

    threading.Thread(target=watch, name="stdin", daemon=True).start()
