"""Workers on a Ray cluster of this machine, with the stub worker: every job ends once."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox_diffusers.stub_python import write_stub_python
from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.pool import Pool, ProcessWorker
from wiro_nb.sandbox.engines.diffusers.ray_workers import RayWorker

ray = pytest.importorskip("ray", reason='python -m pip install "wiro_nb[ray]"')
pytestmark = pytest.mark.filterwarnings("default")  # ray's own

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Bench:
    """A pool on the cluster and one of processes, with what their stub workers wrote down."""

    def __init__(self, address: str, folder: Path) -> None:
        self.folder, self.address, self.python = folder, address, write_stub_python(folder)
        self._jobs = 0

    def on_cluster(self, size: int) -> Pool:
        return Pool(partial(RayWorker, self.address, self.python), size)

    async def run(
        self, pool: Pool, prompt: str, started: asyncio.Event | None = None, **call: Any
    ) -> dict[str, Any]:
        self._jobs += 1
        out = self.folder / f"{self._jobs}.mp4"

        async def on_progress(message: dict[str, Any]) -> None:
            if started is not None and message["phase"] == "generate":
                started.set()

        done = await pool.run(
            {"key": "a", "arguments": {"prompt": prompt}, "pictures": {}, **call}, out, on_progress
        )
        assert out.read_bytes() == b"clip"
        return done

    @property
    def log(self) -> list[str]:
        """The prompts that ran, in the order of starts."""
        return [line.split(" ", 2)[2] for line in (self.folder / "log").read_text().splitlines()]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("ray")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--num-cpus=4", "--num-gpus=0", "--include-dashboard=false", "--object-store-memory=80000000"]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUIET, "WIRO_STUB_LOG": str(folder / "log")}.items():
            patch.setenv(name, value)
        host, port = address.split(":")
        place = [f"--node-ip-address={host}", f"--port={port}", f"--temp-dir={folder.parent / 'r'}"]
        head = subprocess.Popen([*start, *options, *place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not _listens(host, int(port)):
                assert head.poll() is None
                assert time.monotonic() < deadline, "ray did not start"
                time.sleep(0.1)
            yield Bench(address, folder)
        finally:
            ray.shutdown()
            head.terminate()
            head.wait(60)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def in_pool(pool: Callable[[], Pool], work: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        made = pool()
        try:
            await asyncio.wait_for(work(made), 120)
        finally:
            await made.close()

    asyncio.run(main())


def test_forty_jobs_on_four_actors_end_once_each_though_one_is_killed(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [f"job {number}" for number in range(39)]
    prompts.insert(20, "kill host once")
    per_job_ms = {}

    async def work(pool: Pool) -> None:
        await asyncio.gather(*(bench.run(pool, "warm up") for _ in range(4)))
        began = time.monotonic()
        ends = await asyncio.gather(*(bench.run(pool, "plain") for _ in range(40)))
        per_job_ms[len(per_job_ms)] = (time.monotonic() - began) / 40 * 1000
        assert len(ends) == 40

    async def work_with_death(pool: Pool) -> None:
        await asyncio.gather(*(bench.run(pool, "warm up") for _ in range(4)))
        ends = await asyncio.gather(*(bench.run(pool, prompt) for prompt in prompts), return_exceptions=True)
        assert [end["type"] for end in ends if isinstance(end, dict)] == ["done"] * 40, ends

    in_pool(lambda: Pool(partial(ProcessWorker, bench.python), 4), work)
    in_pool(lambda: bench.on_cluster(4), work)
    in_pool(lambda: bench.on_cluster(4), work_with_death)
    runs = [prompt for prompt in bench.log if prompt not in ("warm up", "plain")]
    again = {prompt for prompt in runs if runs.count(prompt) > 1}
    assert (set(runs), len(runs), again) == (set(prompts), 41, {"kill host once"})
    with capsys.disabled():
        print(f"\n40 jobs on 4 workers: processes {per_job_ms[0]:.1f} ms a job, Ray {per_job_ms[1]:.1f} ms a job")


@pytest.mark.parametrize("prompt", ["slow", "hang"])
def test_a_cancel_reaches_the_actor_and_the_next_job_runs(bench: Bench, prompt: str) -> None:
    async def work(pool: Pool) -> None:
        started = asyncio.Event()
        job = asyncio.ensure_future(bench.run(pool, prompt, started))
        await started.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await bench.run(pool, "ok")

    in_pool(lambda: bench.on_cluster(1), work)


def test_pictures_travel_as_bytes_and_a_failure_is_named(bench: Bench) -> None:
    picture = bench.folder / "in.png"
    picture.write_bytes(b"pixels")

    async def work(pool: Pool) -> None:
        done = await bench.run(pool, "ok", pictures={"image": str(picture), "references": [str(picture)] * 2})
        shown = done["facts"]["pictures"]
        assert shown == {"image": "pixels", "references": ["pixels", "pixels"]}
        with pytest.raises(EngineError, match="lower the size"):
            await bench.run(pool, "fail")

    in_pool(lambda: bench.on_cluster(1), work)


def test_a_cluster_that_does_not_listen_is_named_at_once() -> None:
    ray.shutdown()
    with pytest.raises(
        EngineError, match=r"The Ray cluster 127\.0\.0\.1:1 cannot be reached: .* ray start --address"
    ):
        asyncio.run(RayWorker("127.0.0.1:1", "", 0).start())
