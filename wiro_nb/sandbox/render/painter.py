"""The engine: from a job to a file. Light to import; numpy, Pillow and PyAV come with the first job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.sandbox.engine import EngineCancelled, EngineError, Job, Step
from wiro_nb.sandbox.render.request import ClipRequest, read_request, read_steps

if TYPE_CHECKING:
    from PIL import Image

    from wiro_nb.sandbox.render.noise import Plane

__all__ = ["PainterEngine"]


class PainterEngine:
    """Paints landscapes, or moves the given pictures, and says SANDBOX on every frame."""

    name = "painter"

    def estimate_steps(self, job: Job) -> int:
        """Returns the number of progress steps, 1 to 1000: the request's own step count. Never raises."""
        return read_steps(job)

    def start(self, job: Job, on_progress: Callable[[Step], None], is_cancelled: Callable[[], bool]) -> list[Path]:
        """Renders the job. Blocking; single-threaded, so that the bytes repeat.

        Returns:
            One MP4, or one PNG for `sandbox/image`, or nothing for `sandbox/text`.

        Raises:
            EngineError: A parameter is out of bounds or an input file cannot be read.
            EngineCancelled: `is_cancelled` said so; nothing partial is left.
        """
        from wiro_nb.sandbox.render.pictures import read_picture

        if is_cancelled():
            raise EngineCancelled
        pictures = [read_picture(path) for path in job.input_files]
        aspect = pictures[0].width / pictures[0].height if pictures else None
        request = read_request(job, aspect)
        steps = _StepCounter(request.steps, request.frames, on_progress)
        if request.kind == "text":
            steps.advance(request.frames)
            return []
        frames = _frames(request, pictures, is_cancelled)
        if request.kind == "image":
            return [_write_png(job, request, frames, steps)]
        return [_write_clip(job, request, frames, steps)]


class _StepCounter:
    """Spreads the steps over the frames: each step is reported once, in order."""

    def __init__(self, steps: int, frames: int, report: Callable[[Step], None]) -> None:
        self._steps, self._frames, self._report = steps, frames, report
        self._done = 0

    def advance(self, frames_done: int) -> None:
        reached = frames_done * self._steps // self._frames
        while self._done < reached:
            self._done += 1
            self._report(Step(self._done, self._steps))


def _frames(
    request: ClipRequest, pictures: list[Image.Image], is_cancelled: Callable[[], bool]
) -> Iterator[Plane]:
    """Yields finished frames, shape (3, height, width), label included; each valid until the next."""
    from wiro_nb.sandbox.render.finish import Finish

    finish = Finish(request)
    paint = _painting(request, pictures)
    for index in range(request.frames):
        if is_cancelled():
            raise EngineCancelled
        u = index / (request.frames - 1) if request.frames > 1 else 0.5
        yield finish.apply(paint(u))


def _painting(request: ClipRequest, pictures: list[Image.Image]) -> Callable[[float], Plane]:
    """Returns what paints the moment 0 to 1 of the clip in the frame's size."""
    from wiro_nb.sandbox.render.camera import camera_path, overscan, view_plane
    from wiro_nb.sandbox.render.effects import make_effect
    from wiro_nb.sandbox.render.landscape import Landscape
    from wiro_nb.sandbox.render.pictures import PictureShow

    width, height = request.width, request.height
    path = camera_path(request.camera)
    if pictures:
        effect = make_effect(request.effect, request.layout_key, width, height) if request.effect else None
        return PictureShow(pictures, request, effect, path).frame
    if path is None:
        return Landscape(request, width, height).frame
    pan = {"PanRight": 1, "PanLeft": -1}.get(request.camera, 0)
    landscape = Landscape(request, *overscan(path, width, height), pan)
    return lambda u: view_plane(landscape.frame(u), path(u), width, height)


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    """Gives a name to write to, which becomes `path` only when all went well."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_clip(job: Job, request: ClipRequest, frames: Iterator[Plane], steps: _StepCounter) -> Path:
    from wiro_nb.sandbox.render.encode import Mp4Writer

    target = job.out_dir / "0.mp4"
    size = request.width, request.height
    with _whole_or_nothing(target) as part, Mp4Writer(part, *size, request.fps, job.record) as writer:
        for count, frame in enumerate(frames, start=1):
            writer.write(frame)
            if count < request.frames:
                steps.advance(count)
    steps.advance(request.frames)  # the last step is done when the file is
    return target


def _write_png(job: Job, request: ClipRequest, frames: Iterator[Plane], steps: _StepCounter) -> Path:
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from wiro_nb.sandbox.render.encode import make_dither

    frame = next(frames, None)
    if frame is None:
        raise EngineError("There is no frame to save.")
    pixels = np.clip(frame + make_dither(request.width, request.height) + 0.5, 0, 255).astype(np.uint8)
    info = PngInfo()
    if job.record is not None:
        info.add_itxt("Comment", job.record)
    target = job.out_dir / "0.png"
    with _whole_or_nothing(target) as part:
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(part, format="PNG", pnginfo=info)
    steps.advance(request.frames)
    return target
