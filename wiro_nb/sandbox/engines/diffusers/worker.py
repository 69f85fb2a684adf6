"""The worker process, which holds models and generates outputs. `pool` starts one per GPU.

    python -m wiro_nb.sandbox.engines.diffusers.worker INDEX

It reads JSON lines from stdin and writes JSON lines to stdout; what libraries print goes to stderr. It ends when
stdin closes, or with a traceback where torch cannot be loaded.

    in    {"type": "run", "job": 1, "call": {...}, "out": PATH}     see `calls.for_worker`
          {"type": "cancel", "job": 1}
    out   {"type": "ready", "device", "device_name", "memory_bytes", "devices", "versions"}
          {"type": "progress", "job", "phase", "step", "steps", "preview": null | {"image", "width", "height"}}
          {"type": "done", "job", "facts", "models"}
          {"type": "failed", "job", "message", "models"}     {"type": "cancelled", "job", "models"}
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from wiro_nb.sandbox.engines import EngineError, first_line


class Cancelled(Exception):
    """The job was cancelled."""


class Channel:
    """The way to the service.

    Attributes:
        phase: Of the current job, as it was reported last.
    """

    def __init__(self, source: IO[str], target: IO[str]) -> None:
        self._source, self._target = source, target
        self._jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled: set[int] = set()
        self._job = 0
        self.phase = "load"
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def send(self, kind: str, **values: Any) -> None:
        """Writes one message."""
        self._target.write(json.dumps({"type": kind, **values}, separators=(",", ":")) + "\n")
        self._target.flush()

    def next_job(self) -> dict[str, Any]:
        """Waits for a job."""
        message = self._jobs.get()
        self._job = message["job"]
        return message

    def report(self, phase: str, step: int = 0, steps: int = 0, preview: dict[str, Any] | None = None) -> None:
        """Sends the progress of the current job.

        Raises:
            Cancelled: The job is to end.
        """
        self.check()
        self.phase = phase
        self.send("progress", job=self._job, phase=phase, step=step, steps=steps, preview=preview)

    def check(self) -> None:
        """Raises `Cancelled` when the current job is to end."""
        if self._job in self._cancelled:
            raise Cancelled

    def _read(self) -> None:
        for line in self._source:
            message = json.loads(line)
            if message["type"] == "cancel":
                self._cancelled.add(message["job"])
            else:
                self._jobs.put(message)
        os._exit(0)  # the service is gone; a run in a library cannot be ended in another way


def main() -> None:
    """Serves jobs until stdin closes."""
    target = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    channel = Channel(sys.stdin, target)
    from wiro_nb.sandbox.engines.diffusers.generate import Generator

    generator = Generator(int(sys.argv[1]))
    channel.send("ready", **generator.describe())
    while True:
        message = channel.next_job()
        kind, values = _run(message, generator.run, channel)
        channel.send(kind, job=message["job"], models=generator.models(), **values)


def _run(
    message: dict[str, Any], run: Callable[..., dict[str, Any]], channel: Channel
) -> tuple[str, dict[str, Any]]:
    try:
        return "done", run(message["call"], message["out"], channel)
    except Cancelled:
        return "cancelled", {}
    except EngineError as error:
        return "failed", {"message": str(error)}
    except Exception as error:
        traceback.print_exc()
        return "failed", {"message": first_line(error)}


if __name__ == "__main__":
    main()
