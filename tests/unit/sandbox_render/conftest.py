"""Small jobs for the painter, and reading back what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from wiro_nb.sandbox.engine import Job, Step
from wiro_nb.sandbox.render import PainterEngine

SMALL = {"width": 160, "height": 96, "frames": 6, "steps": 3}


@dataclass(frozen=True)
class Made:
    """What one job gave."""

    paths: list[Path]
    steps: list[Step]

    @property
    def data(self) -> bytes:
        return self.paths[0].read_bytes()

    @property
    def frames(self) -> NDArray[np.float32]:
        """All frames, shape (frames, height, width, 3)."""
        with av.open(str(self.paths[0])) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(
                np.float32
            )


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs a job in a new folder each time: `make(model, files=..., record=..., name=value...)`."""
    count = 0

    def run(
        model: str = "some/model", *, files: tuple[Path, ...] = (), record: str | None = None, **values: Any
    ) -> Made:
        nonlocal count
        count += 1
        out_dir = tmp_path / f"out-{count}"
        out_dir.mkdir()
        steps: list[Step] = []
        job = Job(str(count), model, values, files, out_dir, record)
        return Made(PainterEngine().start(job, steps.append, lambda: False), steps)

    return run
