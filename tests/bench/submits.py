"""What a submission costs over a bare POST of the same body: `python -m tests.bench.submits JSON`."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

from tests.bench.load import MODEL, point_at

_TURNS = 60
_SILENCE_S = 0.05


async def bare_posts(service: dict[str, Any], body: dict[str, Any]) -> tuple[list[float], float]:
    """Posts the body with httpx2 alone; returns the wall times and the CPU of one, seconds."""
    import httpx2

    headers = {"x-api-key": service["key_only_api_key"]}
    async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        url = f"{service['base_url']}/Run/{MODEL}"
        await client.post(url, json=body)
        times, cpu = [], time.process_time()
        for _ in range(_TURNS):
            start = time.perf_counter()
            (await client.post(url, json=body)).json()
            times.append(time.perf_counter() - start)
        return times, (time.process_time() - cpu) / _TURNS


async def bare_questions(service: dict[str, Any]) -> float:
    """Asks for a task with httpx2 alone, each time after a silence as between two ends; returns p50 in seconds.

    It is the floor of knowing a success: the event of an end does not say how it ended, this answer does.
    """
    import httpx2

    headers = {"x-api-key": service["key_only_api_key"]}
    async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        made = await client.post(f"{service['base_url']}/Run/{MODEL}", json={"prompt": "[hold] asked"})
        url, body = f"{service['base_url']}/Task/Detail", {"taskid": made.json()["taskid"]}
        times = []
        for _ in range(_TURNS):
            await asyncio.sleep(_SILENCE_S)
            start = time.perf_counter()
            (await client.post(url, json=body)).json()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def submissions(manager: Any, request: Any) -> tuple[list[float], list[float], float]:
    """Submits runs one after the other; returns seconds until `submit` returned, until the task was known, CPU."""
    from wiro_nb.session.submission import Batch

    calls, known, cpu = [], [], time.process_time()
    for _ in range(_TURNS):
        start = time.perf_counter()
        run = manager.submit(Batch([request], fresh=True))[0].run
        calls.append(time.perf_counter() - start)
        sent = threading.Event()
        stop = run.on_change(lambda snapshot, sent=sent: snapshot.task_id and sent.set())  # type: ignore[misc]
        if run.task_id is None and not sent.wait(30):
            raise SystemExit("a run was not submitted in time")
        known.append(time.perf_counter() - start)
        stop()
    return calls, known, (time.process_time() - cpu) / _TURNS


def measure(service: dict[str, Any]) -> dict[str, float]:
    """Compares; the runs are held, so that their ends cost nothing meanwhile."""
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

    body = {"prompt": "[hold] a lake", "seed": "7"}
    posts, post_cpu = asyncio.run(bare_posts(service, body))
    asked = asyncio.run(bare_questions(service))
    manager = Manager()
    manager.submit(Batch([manager.prepare(MODEL, {"prompt": "first"})]))[0].run.wait(60)
    calls, known, cpu = submissions(manager, manager.prepare(MODEL, body))
    manager.close()
    return {
        "post_ms": statistics.median(posts) * 1e3,
        "post_cpu_ms": post_cpu * 1e3,
        "question_ms": asked * 1e3,
        "call_ms": statistics.median(calls) * 1e3,
        "known_ms": statistics.median(known) * 1e3,
        "cpu_ms": cpu * 1e3,
    }


def main() -> None:
    """Runs in folders of its own."""
    service = json.loads(sys.argv[1])["service"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        point_at(service, folder)
        print(json.dumps(measure(service)))
        os.chdir("/")


if __name__ == "__main__":
    main()
