"""An engine for tests and benchmarks that writes a pre-encoded clip in place of rendering one.

The clip is a valid H.264 MP4 (64 x 36, 8 frames, 1 s). Its bytes depend on the request, so that content
addressing can tell requests apart. It also makes the outputs of the models for images and text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from pathlib import Path

from wiro_nb.sandbox.engines import Engine, Job, Progress, Report, Result

_STEPS = 10
_CLIP = Path(__file__).with_name("instant.mp4")


class InstantEngine(Engine):
    """Waits through a fixed number of steps and writes a prepared clip, a PNG, or a text.

    Args:
        step_s: Duration of a step in seconds.
    """

    name = "instant"

    def __init__(self, step_s: float = 0.0) -> None:
        self._step_s = step_s

    async def run(self, job: Job, report: Report) -> Result:
        """Makes one output whose bytes depend on the model and the parameters alone."""
        await report(Progress("generate", 0, _STEPS))
        for step in range(1, _STEPS + 1):
            await asyncio.sleep(self._step_s)
            await report(Progress("generate", step, _STEPS))
        prompt = str(job.parameters.get("prompt", ""))
        match job.kind:
            case "text":
                path = job.out_dir / "0.txt"
                path.write_text(f"You said: {prompt}", "utf-8")
            case "image":
                path = job.out_dir / "0.png"
                _write_png(path, f"{prompt}|{job.parameters.get('seed', '')}")
            case _:
                path = job.out_dir / "0.mp4"
                request = json.dumps({"model": job.model, "parameters": job.parameters}, sort_keys=True)
                free_box = struct.pack(">I4s", 40, b"free") + hashlib.sha256(request.encode()).digest()
                path.write_bytes(_CLIP.read_bytes() + free_box)
        return Result(path, {"engine": self.name})


def _write_png(path: Path, seed: str) -> None:
    """Writes a picture of two colours blended from left to right, chosen by the seed text."""
    from PIL import Image, ImageOps

    digest = hashlib.sha256(seed.encode()).digest()
    left, right = (digest[0], digest[1], digest[2]), (digest[3], digest[4], digest[5])
    blend = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90)
    ImageOps.colorize(blend, left, right).save(path)
