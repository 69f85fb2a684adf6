"""The placeholder engine: makes the sandbox's clips without a model.

A job's prompt, seed and pictures become an H.264 clip of a painted landscape, or of the given pictures in
motion, with "SANDBOX" burnt in, so that it is never taken for a model's work. A clip is a pure function of the
parameters and the bytes of the input files: that lets the tutorials promise that a replayed run gives the same
file. Importing this module loads neither numpy nor Pillow nor PyAV; the first job does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wiro_nb.sandbox.engines import Engine, Job, Progress, Report, Result
from wiro_nb.sandbox.engines.placeholder.request import ClipRequest, input_files, read_request, read_steps

if TYPE_CHECKING:
    from wiro_nb.sandbox.engines.media import FloatImage

__all__ = ["PlaceholderEngine"]

_MAX_JOBS = 2
T = TypeVar("T")


class PlaceholderEngine(Engine):
    """Paints landscapes, or moves the given pictures; two jobs at a time, each in one thread."""

    name = "placeholder"

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_MAX_JOBS)
        self._threads = ThreadPoolExecutor(_MAX_JOBS, thread_name_prefix="placeholder")

    async def run(self, job: Job, report: Report) -> Result:
        """Renders one MP4.

        Raises:
            EngineError: A parameter is out of bounds or an input file cannot be read.
        """
        async with self._slots:
            steps, reported = read_steps(job), 0
            await report(Progress("generate", 0, steps))
            path = job.out_dir / "0.mp4"
            rendering = _render(job, path, steps)
            try:
                while (reached := await self._in_thread(lambda: next(rendering, None))) is not None:
                    while reported < reached:
                        reported += 1
                        await report(Progress("generate", reported, steps))
            finally:
                rendering.close()
            await report(Progress("generate", steps, steps))
            return Result(path, {"engine": self.name})

    async def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Runs a blocking step. A cancellation waits for its end: the step may be writing to the file."""
        step = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.gather(step, return_exceptions=True)
            raise


def _render(job: Job, path: Path, steps: int) -> Generator[int, None, None]:
    """Renders a clip; yields the steps done after each frame. Blocking.

    The file is complete when the iterator ends, and the last step is left for that. Closing the iterator before
    deletes the file.
    """
    from wiro_nb.sandbox.engines.media import Mp4Writer, read_picture
    from wiro_nb.sandbox.engines.placeholder.camera import animate
    from wiro_nb.sandbox.engines.placeholder.drawing import make_label

    pictures = [read_picture(path) for path in input_files(job)]
    request = read_request(job, pictures[0].width / pictures[0].height if pictures else None)
    count, size = request.frames, (request.width, request.height)
    paint, gain = animate(request, pictures), _make_gain(request)
    label = make_label(request.prompt or request.effect, request.seed, *size)
    made = {"made_by": "wiro_nb sandbox", "model": job.model, "parameters": job.parameters}
    # The request alone, so that the same request gives the same bytes.
    comment = json.dumps({"sandbox": made}, ensure_ascii=False, sort_keys=True)
    with Mp4Writer(path, *size, request.fps, comment) as writer:
        for index in range(count):
            frame = paint(index / (count - 1) if count > 1 else 0.5)
            frame *= gain
            label(frame)
            writer.write(frame.clip(0, 255, out=frame))
            yield min((index + 1) * steps // count, steps - 1)


def _make_gain(request: ClipRequest) -> FloatImage:
    """Returns the gain of each pixel: darker corners, and a tint for each value of `selectedModel`."""
    import numpy as np

    x = np.linspace(-1, 1, request.width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, request.height, dtype=np.float32)[:, None]
    digest = hashlib.sha256(request.style.encode()).digest()
    tint = [0.86 + 0.24 * byte / 255 if request.style else 1.0 for byte in digest[:3]]
    return np.array(tint, np.float32)[:, None, None] * (1 - np.float32(0.09) * (x**2 + y**2))
