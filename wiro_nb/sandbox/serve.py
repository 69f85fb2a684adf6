"""Runs the sandbox as a process: port, first line, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn

from wiro_nb import __version__
from wiro_nb.sandbox.app import Sandbox, build
from wiro_nb.sandbox.claim import Claim
from wiro_nb.sandbox.fault_http import watched_protocol
from wiro_nb.sandbox.options import Options, changed_options, read_options
from wiro_nb.sandbox.store import Store

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until stdin closes or Ctrl-C.

    Args:
        argv: Arguments without the program's name; None for the process's own.

    Returns:
        The exit code: 0, or 1 when the data folder or the port cannot be had.
    """
    words = sys.argv[1:] if argv is None else argv
    options = read_options(words)
    claim = Claim(options.data)
    try:
        if living := claim.take():
            _say({**living, "shared": True})
            if ignored := changed_options(words):
                print(
                    "A sandbox is already running on this data folder: above is its address, and "
                    f"{', '.join(ignored)} changes nothing. Another --data starts another one.",
                    file=sys.stderr,
                )
            return 0
        return _serve(options, claim)
    except (OSError, TimeoutError) as error:
        print(f"The sandbox could not start: {error}", file=sys.stderr)
        print("  next: another --port or --data", file=sys.stderr)
        return 1
    finally:
        claim.give_back()


def _serve(options: Options, claim: Claim) -> int:
    store = Store(options.data / "sandbox.sqlite", options.balance_usd)
    listener = _bind(options.port, int(store.meta("port") or 0))
    port = int(listener.getsockname()[1])
    store.set_meta("port", str(port))
    info = _connection_info(store, port)
    sandbox = build(options, store, port)
    config = uvicorn.Config(
        sandbox.app,
        http=watched_protocol(sandbox.faults),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    # uvicorn 0.54 calls a refused handshake (the fault `socket:refuse`) an error of the application.
    logging.getLogger("uvicorn.error").addFilter(lambda entry: "completing handshake" not in entry.getMessage())
    server = _Server(config)
    if not options.stay:
        _end_with_stdin(server, claim)

    def announce() -> None:
        claim.publish(info)
        _say(info)

    asyncio.run(_run(server, sandbox, listener, announce))
    return 0


async def _run(server: _Server, sandbox: Sandbox, listener: socket.socket, announce: Any) -> None:
    server.when_ready = announce
    sandbox.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        await sandbox.stop()


class _Server(uvicorn.Server):
    """Says when it listens, and takes Ctrl-C as a plain end instead of raising it again afterwards."""

    when_ready: Any = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen, then tells the caller."""
        await super().startup(sockets)
        if self.started:
            self.when_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends the server on Ctrl-C and on a polite kill."""
        names = [signal.SIGINT, signal.SIGTERM]
        kept = {number: signal.signal(number, self.handle_exit) for number in names}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _bind(port: int, port_used_last: int) -> socket.socket:
    """Returns a listening socket of this machine only.

    Raises:
        OSError: The port asked for is taken.
    """
    for wanted in (port,) if port else (port_used_last, 0):
        # IPPROTO_TCP makes asyncio switch off Nagle's delay, which costs 40 ms an answer otherwise.
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
        "version": __version__,
    }


def _say(info: dict[str, Any]) -> None:
    print(json.dumps(info), flush=True)


def _end_with_stdin(server: uvicorn.Server, claim: Claim) -> None:
    """Ends the server when the other end of stdin closes; a terminal or a file is no reason to end."""
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
        claim.retire()
        server.should_exit = True

    threading.Thread(target=watch, name="stdin", daemon=True).start()
