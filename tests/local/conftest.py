"""Tiny repositories of all five models, and an engine whose calls are made small enough for a CPU."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.sandbox.engines import Job, Progress, Result, diffusers
from wiro_nb.sandbox.engines.diffusers import DiffusersEngine
from wiro_nb.sandbox.engines.diffusers.calls import Call, Request
from wiro_nb.sandbox.engines.diffusers.pool import Pool, ProcessWorker

SMALL = {"num_frames": 5, "num_inference_steps": 3, "width": 64, "height": 64}
NEEDED = ("torch", "diffusers", "transformers", "peft")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(find_spec(name) is None for name in NEEDED):
        skip = pytest.mark.skip(reason='pip install "wiro_nb[local]"')
        for item in items:
            if "local" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the tiny repositories, in which weights are looked for."""
    root = tmp_path_factory.mktemp("weights")
    code = "import sys, pathlib; from tests.local.tiny import make_all; make_all(pathlib.Path(sys.argv[1]))"
    # One thread: tiny models are slower on many, and a second library in this process is none of theirs.
    environment = {"OMP_NUM_THREADS": "1", "WIRO_LOCAL_WEIGHTS": str(root), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield root


@dataclass
class Studio:
    """The diffusers engine on a loop of its own.

    `size` and `changes` replace arguments of the next calls; `times` are those of the last run's phases and steps;
    `workers` are those of its pool.
    """

    root: Path
    runner: asyncio.Runner
    worker_count: int
    size: dict[str, Any] = field(default_factory=lambda: dict(SMALL))
    changes: dict[str, Any] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    times: list[tuple[str, float]] = field(default_factory=list)
    workers: list[ProcessWorker] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.pool = Pool(self._create, self.worker_count)
        self.engine = DiffusersEngine(self.pool)

    def _create(self, index: int) -> ProcessWorker:
        self.workers.append(ProcessWorker("", index))
        return self.workers[-1]

    def shrink(self, request: Request) -> Call:
        """Makes the call that the engine makes, and lowers what takes time."""
        call = self._make_call(request)
        return replace(call, arguments={**call.arguments, **self.size, **self.changes})

    _make_call = staticmethod(diffusers.make_call)

    async def run_async(
        self, model: str, parameters: dict[str, Any], pictures: tuple[Path, ...], at: asyncio.Event | None = None
    ) -> Result:
        self.count += 1
        folder = self.root / str(self.count)
        folder.mkdir()
        self.progress, self.times = [], []

        async def report(progress: Progress) -> None:
            self.progress.append(progress)
            self.times.append((progress.phase, time.monotonic()))
            if at is not None and progress.phase == "generate":
                at.set()

        inputs = {"inputImage": pictures} if pictures else {}
        return await self.engine.run(Job(model, "clip", parameters, inputs, folder), report)

    def run(self, model: str, parameters: dict[str, Any], *pictures: Path, **changes: Any) -> Result:
        """Generates one clip."""
        self.changes = changes
        return self.runner.run(self.run_async(model, parameters, pictures))

    def bytes_of(self, model: str, parameters: dict[str, Any], *pictures: Path, **changes: Any) -> bytes:
        """Generates one clip and returns its file."""
        return self.run(model, parameters, *pictures, **changes).path.read_bytes()

    @property
    def previews(self) -> list[Mapping[str, Any]]:
        """The previews of the last run."""
        return [progress.preview for progress in self.progress if progress.preview is not None]

    @property
    def device(self) -> str:
        """What the first worker computes on: "CPU", or the name of a card."""
        return str(self.pool.facts["device_name"])


@pytest.fixture(scope="session")
def studio(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        made = Studio(tmp_path_factory.mktemp("clips"), runner, worker_count=2)
        patch.setattr(diffusers, "make_call", made.shrink)
        yield made
        runner.run(made.engine.close())


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("pictures") / "in.png"
    Image.linear_gradient("L").convert("RGB").resize((96, 64)).save(path)
    return path


@pytest.fixture(scope="session")
def other_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("pictures") / "other.png"
    Image.radial_gradient("L").convert("RGB").resize((64, 96)).save(path)
    return path
