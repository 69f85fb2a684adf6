"""What one run costs this process: CPU from submit to record, bytes on the wire, asyncio tasks and timers.

`python -m tests.bench.cost JSON`. CPU is counted, not time, and the cheapest of several rounds is given: other
programs on the machine make it dearer, never cheaper. A second count leaves fetching and the poster out: the clip
then lies there already, and everything else, its record inside it too, is done as ever.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.load import MODEL, _until, point_at, release

_ROUNDS = 5


@contextmanager
def clips_at_hand(example: Any) -> Iterator[None]:
    """Puts a copy of a run's clip where downloads go: nothing is fetched, probed or made a poster of."""
    from wiro_nb.execution.finalize import Finisher

    download = Finisher._download
    ready, source = example.outputs[0], example.path

    def copy(folder: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copyfile(source, folder / ready.name)

    async def put(self: Finisher, run: Any, task: Any, private: Path) -> tuple[Any, ...]:
        copy(private)
        return (
            replace(
                ready,
                path=f"{run.folder.name}/{ready.name}",
                poster_path=None,
                url=task.outputs[0].url,
            ),
        )

    Finisher._download = put  # type: ignore[method-assign]
    try:
        yield
    finally:
        Finisher._download = download  # type: ignore[method-assign]


@dataclass
class Wire:
    """Bytes on one connection."""

    sent: int = 0
    received: int = 0
    is_socket: bool = False


@contextmanager
def count_bytes() -> Iterator[dict[int, Wire]]:
    """Counts what goes over every TCP connection of this process, by the number of the connection's file."""
    wires: dict[int, Wire] = {}
    own = vars(socket.socket)
    before = {name: own[name] for name in ("send", "recv") if name in own}
    send, recv = socket.socket.send, socket.socket.recv

    def counting_send(self: socket.socket, data: Any, *rest: Any) -> int:
        count = send(self, data, *rest)
        if self.family is not socket.AF_UNIX:
            wires.setdefault(self.fileno(), Wire()).sent += count
        return count

    def counting_recv(self: socket.socket, *rest: Any) -> bytes:
        data = recv(self, *rest)
        if self.family is not socket.AF_UNIX:
            wire = wires.setdefault(self.fileno(), Wire())
            wire.received += len(data)
            wire.is_socket = wire.is_socket or data.startswith(b"HTTP/1.1 101")
        return data

    socket.socket.send, socket.socket.recv = counting_send, counting_recv  # type: ignore[assignment, method-assign]
    try:
        yield wires
    finally:
        for name in ("send", "recv"):
            if name in before:
                setattr(socket.socket, name, before[name])
            else:
                delattr(socket.socket, name)


def one_round(manager: Any, service: dict[str, Any], count: int, name: str) -> tuple[float, float]:
    """Brings runs into flight and lets them end; returns CPU seconds of the two halves."""
    from wiro_nb.ledger.state import Stage
    from wiro_nb.session.submission import Batch

    start = time.process_time()
    runs = [
        manager.submit(Batch([manager.prepare(MODEL, {"prompt": f"[hold] {name} {number}"})]))[0].run
        for number in range(count)
    ]
    _until(lambda: all(run.snapshot.stage.rank >= Stage.GENERATING.rank for run in runs), step_s=0.2)
    middle = time.process_time()
    releaser = release(service, [run.task_id for run in runs], 0.0)
    _until(lambda: all(run.done for run in runs), step_s=0.2)
    end = time.process_time()
    releaser.wait()
    if not all(str(run.state) == "succeeded" and run.record for run in runs):
        raise SystemExit("a run did not succeed")
    return middle - start, end - middle


async def count_tasks() -> dict[str, int]:
    """Returns the asyncio tasks of the I/O loop by what they do, and the timers it has pending."""
    loop = asyncio.get_running_loop()
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    names: dict[str, int] = {"timers": len(timers)}
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        kind = "-".join(task.get_name().split("-")[:2])
        names[kind] = names.get(kind, 0) + 1
    return names


def measure(service: dict[str, Any], *, count: int) -> dict[str, Any]:
    """Measures rounds of `count` runs each."""
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

    with count_bytes() as wires:
        manager = Manager()
        first = manager.submit(Batch([manager.prepare(MODEL, {"prompt": "first"})]))[0].run.wait(60)
        start = {number: replace(wire) for number, wire in wires.items()}
        one_round(manager, service, count, "bytes")
        spent = {True: 0, False: 0}
        for number, wire in wires.items():
            old = start.get(number, Wire())
            spent[wire.is_socket] += wire.sent + wire.received - old.sent - old.received
    whole = [one_round(manager, service, count, f"whole {turn}") for turn in range(_ROUNDS)]
    with clips_at_hand(first):
        bare = [one_round(manager, service, count, f"bare {turn}") for turn in range(_ROUNDS)]
    held = [
        manager.submit(Batch([manager.prepare(MODEL, {"prompt": f"[hold] tasks {number}"})]))[0].run
        for number in range(count)
    ]
    _until(lambda: all(run.task_id for run in held) and all(run.snapshot.stage.rank > 3 for run in held))
    time.sleep(1.0)
    tasks = manager._io.run(count_tasks())
    manager.close()
    per_run = 1e3 / count
    return {
        "submit_ms": min(half for half, _ in bare) * per_run,
        "end_ms": min(half for _, half in bare) * per_run,
        "bare_ms": min(map(sum, bare)) * per_run,
        "whole_ms": min(map(sum, whole)) * per_run,
        "clip_bytes": first.outputs[0].size_bytes,
        "http_bytes": spent[False] / count,
        "socket_bytes": spent[True] / count,
        "tasks": tasks,
    }


def main() -> None:
    """Runs in folders of its own."""
    options = json.loads(sys.argv[1])
    service = options.pop("service")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        point_at(service, folder)
        print(json.dumps(measure(service, **options)))
        os.chdir("/")


if __name__ == "__main__":
    main()
