"""Small jobs for the placeholder engine, and reading back the clips."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from wiro_nb.sandbox.engines import Job, Progress
from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

SMALL = {"width": 160, "height": 96, "frames": 6, "steps": 3}


@dataclass(frozen=True)
class Made:
    """The result of one job."""

    path: Path
    progress: list[Progress]

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def frames(self) -> NDArray[np.float32]:
        """All frames, shape (frames, height, width, 3)."""
        with av.open(str(self.path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(
                np.float32
            )


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs a job in a new folder each time: `make(model, files=..., name=value...)`."""
    count = 0

    def run(model: str = "some/model", *, files: tuple[Path, ...] = (), **values: Any) -> Made:
        nonlocal count
        count += 1
        out_dir = tmp_path / f"out-{count}"
        out_dir.mkdir()
        progress: list[Progress] = []

        async def report(step: Progress) -> None:
            progress.append(step)

        inputs = {"inputImage": files} if files else {}
        job = Job(model, "clip", values, inputs, out_dir)
        return Made(asyncio.run(PlaceholderEngine().run(job, report)).path, progress)

    return run
