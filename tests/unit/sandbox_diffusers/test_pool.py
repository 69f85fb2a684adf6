"""The pool of workers with a stub worker: every job ends once, whatever happens to its worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox_diffusers.stub_python import write_stub_python
from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.pool import Pool, ProcessWorker
from wiro_nb.sandbox.engines.diffusers.ray_workers import RayWorker


class Bench:
    """A pool, and what its stub workers wrote down."""

    def __init__(self, folder: Path, size: int, idle_s: float) -> None:
        self.folder, self.python = folder, write_stub_python(folder)
        self.workers: list[Any] = []
        self.pool = Pool(self._create, size, idle_s)
        self.progress: list[dict[str, Any]] = []
        self._jobs = 0

    def _create(self, index: int) -> Any:
        self.workers.append(ProcessWorker(self.python, index))
        return self.workers[-1]

    async def run(self, prompt: str, key: str = "a", started: asyncio.Event | None = None) -> dict[str, Any]:
        self._jobs += 1
        out = self.folder / f"{self._jobs}.mp4"

        async def on_progress(message: dict[str, Any]) -> None:
            self.progress.append(message)
            if started is not None and message["phase"] == "generate":
                started.set()

        return await self.pool.run({"key": key, "arguments": {"prompt": prompt}}, out, on_progress)

    @property
    def log(self) -> list[list[str]]:
        """What ran, in the order of starts: worker, key, prompt."""
        return [line.split(" ", 2) for line in (self.folder / "log").read_text().splitlines()]


@pytest.fixture
def with_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("WIRO_STUB_LOG", str(tmp_path / "log"))

    def run(work: Callable[[Bench], Coroutine[Any, Any, Any]], size: int = 1, idle_s: float = 0) -> Bench:
        async def main() -> Bench:
            bench = Bench(tmp_path, size, idle_s)
            try:
                await asyncio.wait_for(work(bench), 60)
            finally:
                await bench.pool.close()
                assert not any([await worker.is_alive() for worker in bench.workers])
            return bench

        return asyncio.run(main())

    return run


def test_a_job_runs_and_its_progress_arrives_in_order(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        done = await bench.run("ok")
        assert done["facts"] == {"device": "stub 0"}

    bench = with_pool(work)
    assert [message["phase"] for message in bench.progress] == ["load", "generate"]
    assert (bench.folder / "1.mp4").read_bytes() == b"clip"


def test_a_worker_that_dies_costs_one_more_run_and_not_two(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        assert (await bench.run("crash once"))["type"] == "done"
        with pytest.raises(EngineError, match=r"died 2 times .*Killed by the test \(exit code 9\)"):
            await bench.run("crash")
        assert (await bench.run("ok"))["type"] == "done"

    bench = with_pool(work)
    assert [prompt for _, _, prompt in bench.log] == ["crash once", "crash once", "crash", "crash", "ok"]


def test_a_worker_that_is_no_longer_understood_is_ended(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        bench.workers[0].grace_s = 0.1
        with pytest.raises(EngineError, match=r"died 2 times .*\(exit code -9\)"):
            await bench.run("garbage")
        assert (await bench.run("ok"))["type"] == "done"

    with_pool(work)


def test_a_failure_is_a_sentence_and_the_worker_goes_on(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        with pytest.raises(EngineError, match="lower the size"):
            await bench.run("fail")
        await bench.run("ok")

    assert [worker for worker, _, _ in with_pool(work).log] == ["0", "0"]


@pytest.mark.parametrize(("prompt", "keeps_worker"), [("slow", True), ("hang", False)])
def test_a_cancel_ends_the_job_and_a_deaf_worker_with_it(with_pool: Any, prompt: str, keeps_worker: bool) -> None:
    async def work(bench: Bench) -> None:
        started = asyncio.Event()
        job = asyncio.ensure_future(bench.run(prompt, started=started))
        await started.wait()
        (worker,) = bench.workers
        worker.grace_s = 30 if keeps_worker else 0.3
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert await worker.is_alive() is keeps_worker
        await bench.run("ok")

    with_pool(work)


def test_a_job_cancelled_while_it_waits_gives_its_place_away(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        started = asyncio.Event()
        first = asyncio.ensure_future(bench.run("slow", started=started))
        await started.wait()
        second, third = (asyncio.ensure_future(bench.run("ok", key)) for key in ("b", "c"))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        await third

    assert [key for _, key, _ in with_pool(work).log] == ["a", "c"]


def test_a_job_cancelled_while_its_worker_starts_leaves_none_half_started(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        (worker,), starts = bench.workers, asyncio.Event()
        receive = worker.receive

        async def receive_ready() -> Any:
            starts.set()
            return await receive()

        worker.receive = receive_ready
        job = asyncio.ensure_future(bench.run("ok"))
        await starts.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert (await bench.run("ok", "b"))["type"] == "done"

    assert [key for _, key, _ in with_pool(work).log] == ["b"]


def test_a_job_cancelled_at_the_moment_its_worker_is_free_leaves_it_to_the_next(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        (worker,) = bench.workers
        run = worker.run

        async def run_and_cancel_second(*given: Any) -> Any:
            done = await run(*given)
            second.cancel()
            return done

        worker.run = run_and_cancel_second
        first, second, third = (asyncio.ensure_future(bench.run("ok", key)) for key in "abc")
        await asyncio.gather(first, third)

    assert [key for _, key, _ in with_pool(work).log] == ["a", "c"]


def test_jobs_prefer_the_worker_with_their_model_and_none_waits_for_ever(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        started = asyncio.Event()
        first = asyncio.ensure_future(bench.run("slow", "a", started=started))
        await started.wait()
        jobs = [asyncio.ensure_future(bench.run("ok", key)) for key in "baaaaaa"]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(*jobs)

    keys = [key for _, key, _ in with_pool(work).log]
    assert keys == list("aaaaabaa"), "four of the model in memory go first, then the one that waited"


def test_two_models_use_two_workers_and_come_back_to_them(with_pool: Any) -> None:
    async def work(bench: Bench) -> None:
        for _ in range(2):
            await bench.run("ok", "a")
            await bench.run("ok", "b")

    assert [(worker, key) for worker, key, _ in with_pool(work, size=2).log] == [("0", "a"), ("1", "b")] * 2


def test_an_idle_worker_is_ended_and_a_busy_one_is_not(with_pool: Any) -> None:
    idle_s = 0.05

    async def work(bench: Bench) -> None:
        await bench.run("ok")
        (worker,), started = bench.workers, asyncio.Event()
        job = asyncio.ensure_future(bench.run("slow", started=started))
        await started.wait()
        await asyncio.sleep(4 * idle_s)
        assert await worker.is_alive()
        job.cancel()
        process = worker.process
        await process.wait()
        await bench.run("ok")
        assert worker.process is not process

    with_pool(work, idle_s=idle_s)


def test_auto_takes_as_many_workers_as_the_first_one_sees_devices(
    with_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRO_STUB_DEVICES", "2")

    async def work(bench: Bench) -> None:
        started = [asyncio.Event(), asyncio.Event()]
        jobs = [asyncio.ensure_future(bench.run("slow", started=event)) for event in started]
        for event in started:
            await event.wait()
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)

    assert {worker for worker, _, _ in with_pool(work, size=0).log} == {"0", "1"}


def test_a_worker_that_cannot_work_says_why(with_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRO_STUB_BROKEN", "1")

    async def work(bench: Bench) -> None:
        for _ in range(2):
            with pytest.raises(EngineError, match="torch is missing"):
                await bench.run("ok")
        absent = Pool(partial(ProcessWorker, "/nowhere/python"), 1)
        with pytest.raises(EngineError, match="cannot be started"):
            await absent.run({"key": "a"}, bench.folder / "x.mp4", lambda message: asyncio.sleep(0))
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(EngineError, match=r"--ray needs ray: python -m pip install"):
            await RayWorker("auto", "", 0).start()

    with_pool(work)


def test_many_jobs_with_dying_workers_end_once_each(with_pool: Any) -> None:
    prompts = ["ok", "crash once", "fail", "ok", "crash"] * 6

    async def work(bench: Bench) -> None:
        ends = await asyncio.gather(*(bench.run(prompt) for prompt in prompts), return_exceptions=True)
        kinds = ["done" if isinstance(end, dict) else type(end).__name__ for end in ends]
        expected = {"ok": "done", "crash once": "done", "fail": "EngineError", "crash": "EngineError"}
        assert kinds == [expected[prompt] for prompt in prompts]

    bench = with_pool(work, size=2)
    runs = [prompt for _, _, prompt in bench.log]
    assert {prompt: runs.count(prompt) for prompt in set(runs)} == {
        "ok": 12,
        "crash once": 12,
        "fail": 6,
        "crash": 12,
    }
