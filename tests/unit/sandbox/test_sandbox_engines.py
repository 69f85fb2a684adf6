"""The engines behind the service: its clips arrive, a kill reaches it, and many tasks fit at once."""

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

from wiro_nb.media.mp4 import probe_mp4
from wiro_nb.sandbox.engines import Job, Output, Progress
from wiro_nb.sandbox.engines.instant import InstantEngine


def test_the_instant_clip_is_a_clip_and_its_bytes_depend_on_the_request(tmp_path: Path) -> None:
    steps: list[Progress] = []

    async def report(progress: Progress) -> None:
        steps.append(progress)

    async def run(name: str) -> Output:
        folder = tmp_path / name
        folder.mkdir()
        job = Job("1", "sandbox/plain-clip", "clip", {"seed": name[0]}, {}, folder)
        (output,) = (await InstantEngine().run(job, report)).outputs
        return output

    async def run_all() -> list[Output]:
        return [await run(name) for name in ("a", "a2", "b")]

    made = asyncio.run(run_all())
    info = probe_mp4(made[0].path)
    assert info is not None
    assert (info.width, info.height, info.frames, info.fps) == (64, 36, 8, 8)
    assert (made[0].width, made[0].height, made[0].frames, made[0].fps) == (64, 36, 8, 8)
    data = [output.path.read_bytes() for output in made]
    assert data[0] == data[1] != data[2]
    assert steps[-1] == Progress("generate", 10, 10)


def test_the_placeholder_paints_a_clip_step_by_step(
    start_sandbox: Callable[..., Any], new_caller: Callable[..., Any]
) -> None:
    caller = new_caller("--engine", "placeholder", "--speed", "instant")
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
