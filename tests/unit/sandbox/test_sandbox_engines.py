"""The engines behind the service: the painter's clips arrive, a kill reaches it, and many tasks fit at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from wiro_nb.sandbox.engine import EngineCancelled, Job
from wiro_nb.sandbox.instant import InstantEngine
from wiro_nb.sandbox.prices import clip_seconds


def job(folder: Path, **parameters: Any) -> Job:
    folder.mkdir(exist_ok=True)
    return Job("1", "sandbox/plain-clip", parameters, (), folder, None)


def test_the_instant_clip_is_a_clip_and_its_bytes_depend_on_the_request(tmp_path: Path) -> None:
    engine = InstantEngine()
    steps: list[Any] = []
    made = [
        engine.start(job(tmp_path / name, seed=name[0]), steps.append, lambda: False)[0]
        for name in ("a", "a2", "b")
    ]
    assert clip_seconds(made[0]) == (1.0, 64 * 36)
    assert made[0].read_bytes() == made[1].read_bytes() != made[2].read_bytes()
    assert (steps[-1].step, steps[-1].steps) == (10, 10)
    with pytest.raises(EngineCancelled):
        engine.start(job(tmp_path), steps.append, lambda: True)


def test_the_painter_paints_a_clip_step_by_step(
    start_sandbox: Callable[..., Any], new_caller: Callable[..., Any]
) -> None:
    caller = new_caller("--engine", "painter", "--speed", "instant")
    made = caller.run("[queue] a boat", frames=9)
    with caller.watch(made) as socket:
        caller.sandbox.release(made["taskid"])
        events = caller.events(socket)
    steps = [event["message"] for event in events if isinstance(event["message"], dict)]
    assert steps[-1]["percentage"] == "100"
    task = caller.task(made)
    assert caller.http.get(task["outputs"][0]["url"]).content[4:8] == b"ftyp"
    assert float(task["elapsedseconds"]) > 0

    killed = [caller.run("[slow] a boat", frames=25) for _ in range(3)]
    for one in killed[:2]:
        caller.until(one, "task_output")
    assert caller.task(killed[2])["status"] == "task_queue", "two at a time"
    caller.ok("/Task/Cancel", {"taskid": killed[2]["taskid"]})
    for one in killed[:2]:
        caller.ok("/Task/Kill", {"taskid": one["taskid"]})
    caller.done(caller.run("a boat", frames=9))
    deadline = time.monotonic() + 60
    while list((caller.sandbox.data / "files").glob("work-*")):  # a killed one ends at its next step
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_thousand_tasks_and_sockets_at_once(new_caller: Callable[..., Any]) -> None:
    count = 1000
    box = new_caller("--speed", "0.5", "--balance", "1000").sandbox

    async def one(client: httpx2.AsyncClient, number: int, in_flight: asyncio.Semaphore) -> int:
        async with in_flight:
            answer = await client.post("/Run/sandbox/plain-clip", json={"prompt": f"boat {number}"})
        async with connect(box.socket_url, compression=None, proxy=None, open_timeout=60) as socket:
            await socket.send(json.dumps({"type": "task_info", "tasktoken": answer.json()["socketaccesstoken"]}))
            seen = 0
            async for frame in socket:
                seen += 1
                if json.loads(frame)["type"] == "task_postprocess_end":
                    return seen
        return 0

    async def everything() -> list[int]:
        headers = {"x-api-key": box.key_only_api_key}
        in_flight = asyncio.Semaphore(16)
        async with httpx2.AsyncClient(
            base_url=box.base_url, headers=headers, timeout=60, trust_env=False
        ) as client:
            return await asyncio.gather(*(one(client, number, in_flight) for number in range(count)))

    assert min(asyncio.run(everything())) >= 15
    books = box.audit()
    assert [task["billed_usd"] for task in books["tasks"]] == ["0.010000000000"] * count
