"""The sandbox process, one per data folder: its command line, port, ready line, and clean end.

`sandbox.json` holds the address of the running sandbox. The lock on the folder is a transaction of SQLite's, which
the operating system releases when the process ends in any way, so there are no stale locks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from wiro_nb.config import sandbox_dir
from wiro_nb.files import expand_user, write_atomically
from wiro_nb.sandbox import faults
from wiro_nb.sandbox.app import Service
from wiro_nb.sandbox.engines import Engine, Kind
from wiro_nb.sandbox.store import KEYS, Store, origin_of

_DESCRIPTION = """\
A local service with the API of Wiro. It renders labelled clips on this machine, charges nothing and
connects to no other host. The first line on stdout is JSON: base_url, socket_url, api_key, api_secret,
key_only_api_key, pid, version.
"""
ENGINE_NAMES = ("placeholder", "instant", "diffusers", "videos")
_MAX_WORKERS = 64
_WAIT_S = 10.0
_BACKLOG = 2048
_KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections: a Run on one that the server closes at this moment is uncertain."""
_INSTANT_STEP_S = 0.15
T = TypeVar("T", int, float, Decimal)


def _number(kind: Callable[[str], T], low: float, end: float, expected: str, **words: T) -> Callable[[str], T]:
    """Returns a reader of numbers from `low` to below `end`, or of one of some words."""

    def read(text: str) -> T:
        with contextlib.suppress(ValueError, ArithmeticError):
            number = words[text] if text in words else kind(text)
            if text in words or low <= number < end:
                return number
        raise argparse.ArgumentTypeError(expected)

    return read


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb sandbox`."""
    parser = argparse.ArgumentParser(
        "wiro-nb sandbox",
        description=_DESCRIPTION,
        epilog=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    port = _number(int, 0, 65_536, "a whole number from 0 to 65535")
    add("--port", type=port, default=0, help="0 (default): the port used last, or any free one")
    speed = _number(float, 0, math.inf, "a number of 0 or more, or 'instant'", instant=math.inf)
    add("--speed", type=speed, default=1.0, metavar="N", help="times faster than real; 0 or 'instant': no waiting")
    add("--data", type=Path, metavar="DIR", help="folder for keys, tasks and files; kept across restarts")
    add("--engine", choices=ENGINE_NAMES, default="placeholder", help="what makes the clips")
    add(
        "--python", default="", metavar="PATH", help="diffusers: interpreter with wiro_nb[local]; default this one"
    )
    workers = _number(int, 1, _MAX_WORKERS + 1, f"auto, or a whole number from 1 to {_MAX_WORKERS}", auto=0)
    add(
        "--workers", type=workers, default=0, metavar="auto|N", help="diffusers: worker processes; auto: one a GPU"
    )
    idle = "diffusers: free a GPU's memory after so long without a run (default 10); 0: never"
    minutes = _number(float, 0, math.inf, "a number of minutes, 0 or more")
    add("--idle-minutes", type=minutes, default=10.0, metavar="N", help=idle)
    ray = "diffusers: put the workers on a Ray cluster, auto or HOST:PORT; needs wiro_nb[ray]"
    add("--ray", type=_ray, default="", metavar="ADDRESS", help=ray)
    add("--url", default="", help="videos: a server with the /v1/videos API, http://host:port")
    usd = _number(Decimal, -(10**9), 10**9, "an amount such as 100 or 0.40")
    balance = "what a new account starts with (default 100)"
    add("--balance", type=usd, default=Decimal(100), metavar="USD", help=balance)
    add("--stay", action="store_true", help="continue when stdin closes")
    add("--no-host-check", action="store_true", help="accept any Host header")
    add("--faults", type=_faults, default="", metavar="SPEC", help="inject faults, see below")
    add("--faults-seed", type=int, default=0, metavar="N", help="selects the calls that a share matches")
    return parser


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments; `--help` and errors end the process as argparse does.

    `changed` has the options that differ from their defaults, except `--data`.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.engine == "videos" and not options.url.startswith(("http://", "https://")):
        parser.error("--engine videos needs --url http://host:port")
    changed = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    options.changed = [f"--{name.replace('_', '-')}" for name in changed if name != "data"]
    options.data = expand_user(options.data or sandbox_dir()).absolute()
    options.speed = options.speed or math.inf
    return options


def _ray(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text not in ("", "auto") and not (host and "/" not in text and port.isdecimal()):
        raise argparse.ArgumentTypeError("auto, or HOST:PORT of a cluster that this machine has joined")
    return text


def _faults(text: str) -> str:
    try:
        faults.Faults(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _create_engines(options: argparse.Namespace) -> Mapping[Kind, Engine]:
    """Returns the engine for each kind of output."""
    if options.engine in ("diffusers", "videos"):
        from wiro_nb.sandbox.engines.diffusers import DiffusersEngine, VideosEngine
        from wiro_nb.sandbox.engines.diffusers.pool import Pool, ProcessWorker, Worker
        from wiro_nb.sandbox.engines.diffusers.ray_workers import RayWorker

        if options.engine == "videos":
            return {"clip": VideosEngine(options.url)}
        create: Callable[[int], Worker] = partial(ProcessWorker, options.python)
        if options.ray:
            create = partial(RayWorker, options.ray, options.python)
        return {"clip": DiffusersEngine(Pool(create, options.workers, 60 * options.idle_minutes))}
    from wiro_nb.sandbox.engines.instant import InstantEngine

    instant = InstantEngine(_INSTANT_STEP_S / options.speed)
    if options.engine == "instant":
        return {"clip": instant, "image": instant, "text": instant}
    from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

    return {"clip": PlaceholderEngine(), "image": instant, "text": instant}


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until stdin closes or Ctrl-C.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0, or 1 when the data folder or the port is not available.
    """
    options = read_options(sys.argv[1:] if argv is None else argv)
    info_path = options.data / "sandbox.json"
    try:
        options.data.mkdir(parents=True, exist_ok=True)
        options.data.chmod(0o700)
        with contextlib.closing(sqlite3.connect(options.data / "lock", timeout=0, isolation_level=None)) as lock:
            running = _find_running(lock, info_path)
            if running is None:
                try:
                    _serve(options, info_path)
                finally:
                    info_path.unlink(missing_ok=True)
                return 0
    except (OSError, sqlite3.Error) as error:
        print(f"The sandbox could not start: {error}", file=sys.stderr)
        print("  next: another --port or --data", file=sys.stderr)
        return 1
    print(json.dumps({**running, "shared": True}), flush=True)
    if options.changed:
        print(
            "A sandbox is already running on this data folder: above is its address, and "
            f"{', '.join(options.changed)} changes nothing. Another --data starts another one.",
            file=sys.stderr,
        )
    return 0


def _find_running(lock: sqlite3.Connection, info_path: Path) -> dict[str, Any] | None:
    """Locks the data folder, or returns the connection info of the sandbox that serves it.

    Raises:
        TimeoutError: Another process holds the lock and publishes no address.
        sqlite3.Error: The lock file cannot be written.
    """
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.OperationalError):  # another process has it
            lock.execute("BEGIN EXCLUSIVE")
            info_path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(info_path.read_text()))
        time.sleep(0.05)  # the other process is still starting
    raise TimeoutError(f"{info_path.parent.name}: in use by a process that does not answer")


def _serve(options: argparse.Namespace, info_path: Path) -> None:
    store = Store(options.data / "sandbox.sqlite", options.balance)
    listener = _bind(options.port, int(store.meta("port") or 0))
    port = int(listener.getsockname()[1])
    store.set_port(port)
    info = {
        "base_url": f"{origin_of(port)}/v1",
        "socket_url": f"ws://127.0.0.1:{port}/v1",
        **{name: store.meta(name) for name in KEYS},
        "pid": os.getpid(),
        "version": metadata.version("wiro_nb"),
    }
    rules = faults.Faults(options.faults, options.faults_seed)
    engines, any_host = _create_engines(options), options.no_host_check
    service = Service(engines, store, rules, options.data, port, speed=options.speed, any_host=any_host)
    config = uvicorn.Config(
        service.app,
        http=faults.watched_protocol(rules),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=_KEEP_ALIVE_S,
        backlog=_BACKLOG,
    )
    server = uvicorn.Server(config)
    if not options.stay:
        _end_with_stdin(server, info_path)
    # The socket listens already: who connects now is served in a moment.
    write_atomically(info_path, json.dumps(info).encode(), mode=0o600)
    print(json.dumps(info), flush=True)
    os.dup2(2, 1)  # who started this reads one line: the pipe must neither fill up nor break
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises a signal again once it has shut down
        asyncio.run(server.serve(sockets=[listener]))


def _bind(port: int, port_used_last: int) -> socket.socket:
    """Returns a listening socket on the loopback interface.

    Raises:
        OSError: The port asked for is taken.
    """
    try:
        return socket.create_server(("127.0.0.1", port or port_used_last), backlog=_BACKLOG)
    except OSError:
        if port:
            raise
        return socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)


def _end_with_stdin(server: uvicorn.Server, info_path: Path) -> None:
    """Ends the server when the other end of stdin closes; a terminal or a file never ends it."""
    kind = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        info_path.unlink(missing_ok=True)  # a new process then waits for the lock instead
        server.should_exit = True

    threading.Thread(target=watch, name="stdin", daemon=True).start()
