"""The engines behind the service: its clips arrive, a kill reaches it, and many tasks fit at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from wiro_nb.media.mp4 import probe_mp4
from wiro_nb.sandbox.app import Service
from wiro_nb.sandbox.engines import Engine, Job, Kind, Progress, Report, Result
from wiro_nb.sandbox.engines.instant import InstantEngine
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.store import Files, Store, Task
from wiro_nb.schema import bundled_models

INSTANT: dict[Kind, Engine] = dict.fromkeys(("clip", "image", "text"), InstantEngine())


def test_the_instant_clip_is_a_clip_and_its_bytes_depend_on_the_request(tmp_path: Path) -> None:
    steps: list[Progress] = []

    async def report(progress: Progress) -> None:
        steps.append(progress)

    async def run(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        job = Job("sandbox/plain-clip", "clip", {"seed": name[0]}, {}, folder)
        return (await InstantEngine().run(job, report)).path

    async def run_all() -> list[Path]:
        return [await run(name) for name in ("a", "a2", "b")]

    made = asyncio.run(run_all())
    info = probe_mp4(made[0])
    assert info is not None
    assert (info.width, info.height, info.frames, info.fps) == (64, 36, 8, 8)
    data = [path.read_bytes() for path in made]
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
    while list((caller.sandbox.data / "files").glob(".sandbox-work-*")):  # a killed one ends at its next step
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
    audit = box.audit()
    assert [task["billed_usd"] for task in audit["tasks"]] == ["0.010000000000"] * count


class _SmallMachine(InstantEngine):
    def unavailable(self, model: str) -> str | None:
        return f"{model} needs 24 GB, found 8."


def test_a_model_that_the_engine_cannot_run_is_refused_before_a_task_exists(tmp_path: Path) -> None:

    async def run() -> None:
        store = Store(tmp_path / "sandbox.sqlite", Decimal(10))
        app = Service(INSTANT | {"image": _SmallMachine()}, store, Faults(), tmp_path, 1).app
        transport, headers = httpx2.ASGITransport(app), {"x-api-key": str(store.meta("key_only_api_key"))}
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.post("/v1/Run/sandbox/image", json={"prompt": "x"}, headers=headers)
        assert answer.json()["errors"] == [{"code": 1, "message": "sandbox/image needs 24 GB, found 8."}]
        assert store.audit() == []

    asyncio.run(run())


def test_a_task_that_never_survives_a_restart_fails_in_the_end(tmp_path: Path) -> None:
    async def restart(*, times: int) -> list[str]:
        statuses = []
        for _ in range(times):
            store = Store(tmp_path / "sandbox.sqlite", Decimal(10))
            if not store.audit():
                parameters = {"prompt": "[queue] x"}
                store.add_task(Task(0, "token", "sandbox/image", "701", 0.0, parameters))
            app = Service(INSTANT, store, Faults(), tmp_path, 1).app
            async with app.router.lifespan_context(app):
                statuses.append(store.audit()[0]["status"])
            store.close()
        return statuses

    assert asyncio.run(restart(times=6)) == [*["task_queue"] * 5, "task_postprocess_end"]


_LOAD_S = 0.5
PREVIEW = {"image": "data:image/jpeg;base64,anBlZw==", "width": 8, "height": 4}


class _OwnMachine:
    """An engine as one with real weights behaves: it loads, shows previews, and says how a clip was made."""

    name, is_placeholder, schemas = "own", False, tuple(bundled_models())

    def __init__(self) -> None:
        self.is_watched = asyncio.Event()

    def unavailable(self, model: str) -> str | None:
        return None

    async def run(self, job: Job, report: Report) -> Result:
        await report(Progress("load"))
        await self.is_watched.wait()
        await asyncio.sleep(_LOAD_S)
        await report(Progress("encode", notes=("a setting was replaced",)))
        await report(Progress("generate", 1))  # a pipeline that does not say how many steps it takes
        await report(Progress("generate", 1, 2, PREVIEW))
        await report(Progress("generate", 2, 2))
        output = job.out_dir / "0.mp4"
        output.write_bytes(b"clip")
        return Result(output, {"engine": "own", "seed": 7})

    async def close(self) -> None:
        pass


@asynccontextmanager
async def _events_of(app: Any, token: str) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """Gives the events of a task, as a socket without a network hears them once it is registered."""
    to_app, events = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
    to_app.put_nowait({"type": "websocket.connect"})
    for one in (token, "nobody"):  # a registration nobody knows is answered after the other
        text = json.dumps({"type": "task_info", "tasktoken": one})
        to_app.put_nowait({"type": "websocket.receive", "text": text})

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            events.put_nowait(json.loads(message["text"]))

    scope = {"type": "websocket", "path": "/v1", "headers": [(b"host", b"127.0.0.1")], "query_string": b""}
    socket = asyncio.ensure_future(app(scope, to_app.get, send))
    assert (await asyncio.wait_for(events.get(), 60))["result"] is False
    yield events
    to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(socket, 60)


def test_an_engine_of_real_weights_is_free_shows_previews_and_follows_no_directives(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    async def run() -> dict[str, Any]:
        engine, store = _OwnMachine(), Store(tmp_path / "sandbox.sqlite", Decimal(0))
        app = Service({"clip": engine}, store, Faults(), tmp_path, 1).app
        transport, headers = httpx2.ASGITransport(app), {"x-api-key": str(store.meta("key_only_api_key"))}
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client,
        ):
            tools = await client.post("/v1/Tool/List", json={})
            assert {json.loads(tool["dynamicprice"])[0]["price"] for tool in tools.json()["tool"]} == {0.0}
            made = await client.post("/v1/Run/wiro/animate-diff", json={"prompt": "[fail] [hold] a boat"})
            async with _events_of(app, made.json()["socketaccesstoken"]) as events:
                engine.is_watched.set()
                while not heard or not heard[-1]["terminal"]:
                    heard.append(await asyncio.wait_for(events.get(), 60))
            detail = await client.post("/v1/Task/Detail", json={"taskid": made.json()["taskid"]})
        (task,) = detail.json()["tasklist"]
        return dict(task)

    task = asyncio.run(run())
    assert (task["pexit"], Decimal(task["totalcost"]), task["madeby"]) == ("0", 0, {"engine": "own", "seed": 7})
    assert float(task["elapsedseconds"]) < _LOAD_S, "loading is no running time"
    assert "a setting was replaced\n" in task["debugoutput"]
    picture = {**PREVIEW, "step": 1, "steps": 2}
    assert [event["message"] for event in heard if event["type"] == "task_preview"] == [picture]
    assert list((tmp_path / "files").glob(".sandbox-work-*")) == []


def test_only_folders_of_the_sandbox_are_taken_for_abandoned_work(tmp_path: Path) -> None:
    mine, abandoned = tmp_path / "work-2026", tmp_path / ".sandbox-work-x"
    mine.mkdir()
    abandoned.mkdir()
    Files(tmp_path, "http://127.0.0.1:1")
    assert mine.is_dir()
    assert not abandoned.exists()
