"""An engine without rendering, for tests and benchmarks: it writes a clip that was encoded beforehand.

The clip is a valid H.264 MP4 (64 x 36, 8 frames, 1 s). Its bytes depend on the request, so that content
addressing can tell requests apart. It also makes the outputs of the models for images and text. Standard
library only.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import zlib

from wiro_nb.sandbox.engines import Job, Output, Progress, Report, Result
from wiro_nb.schema.types import ModelSchema

__all__ = ["InstantEngine"]

_STEPS = 10
_IMAGE_SIDE_PX = 256
_CLIP = (
    "c-muNU{FXasVvAW&d+6FU}6B#Kx~v)mTZ_?U}DI?z}%CYpI^qnz>t$$mXX4M0+?TbF(U&AApj$)Ds;XB175%cMB7S=60?Eqn38O;"
    "oy?e~f$YX_4_13YgbJ9elA2Od45VdJbBaq4IzZ+MK=m@|<)&mN0vQUqDd>I&8RWqbdIZeT%}B{9g2|L+rlcaP3<L7>JreU$a#BHR"
    "7;olg=A{7{B4xQ?Ly?`Sk^+&FNhwNAL-GbsX;F>>gv~g!xFjhD$lh37Qk;UMW+5oja0CU&y(&QWGJr9573e_X|9>E94m8!7F@=Ha"
    "|3e1JbRfN^h{dITo&YFPKm;ShN2LfiMh5nb7tYO-PHg!5;|EByNK#1=G*o2`7#KJ>Kn50<fI}Q+JqH*8)dD?&EDpi}$q2O^5HSI$"
    "yabfyAd(N(Cj+!28O;u;xeO*ixhf=&gTy0%SRIJ@fmjKM1%X(K0b-aK#Ldb1NU3HIkWMO1DFLOHsN7UA4FZbDDFc|AiV_P7a*#t="
    "HxrWlR9BYdgA9~SNd#*K$B$29S(=%Vo*@t!7=c`tR+I`%Ta28!Kvh6~NNPtT1Ka<{n_bs9{XbY1abU(~qu;fH@78WVkRLwHEh@?O"
    "^JbIK^w-JvlWuG}8^zkz{c2X%l8aXNHphH#p0iK>(4t2>I?ip9I4W<qT}1QE`}=DBuR)GbcAUlG+x7q5Ihp+{=j(F6@8p~I<MC3f"
    "BVu+>-j$?>?|;U;T?eR)n{l3iy0ZPx>Ur*sK(3tQEP?J13Mr=&S@z#l-!W^YsZ?G5mxf>Gqc;7yzTgc|1ux?~iBymB|EF!AiaQ+y"
    "1*PLGiIX-Qaz4vg?ElZHGAhv5Ek07U6O`f^=P4{b0aVKQ_t-`tU&wKm!pj;C`N^6M&imbMd6mV@0roxPXa"
)


class InstantEngine:
    """Waits through a fixed number of steps and writes a prepared clip, a PNG, or a text.

    Args:
        step_s: Duration of a step in seconds.
    """

    name = "instant"
    is_placeholder = True
    schemas: tuple[ModelSchema, ...] | None = None

    def __init__(self, step_s: float = 0.0) -> None:
        self._step_s = step_s

    def unavailable(self, model: str) -> str | None:
        """Returns None: it runs any model."""
        return None

    async def run(self, job: Job, report: Report) -> Result:
        """Makes one output whose bytes depend on the model and the parameters alone."""
        await report(Progress("generate", 0, _STEPS))
        for step in range(1, _STEPS + 1):
            await asyncio.sleep(self._step_s)
            await report(Progress("generate", step, _STEPS))
        prompt = str(job.parameters.get("prompt", ""))
        match job.kind:
            case "text":
                output = Output(job.out_dir / "0.txt")
                output.path.write_text(f"You said: {prompt}", "utf-8")
            case "image":
                output = Output(job.out_dir / "0.png", _IMAGE_SIDE_PX, _IMAGE_SIDE_PX)
                output.path.write_bytes(_make_png(f"{prompt}|{job.parameters.get('seed', '')}"))
            case _:
                output = Output(job.out_dir / "0.mp4", 64, 36, frames=8, fps=8)
                request = json.dumps({"model": job.model, "parameters": job.parameters}, sort_keys=True)
                free_box = struct.pack(">I4s", 40, b"free") + hashlib.sha256(request.encode()).digest()
                output.path.write_bytes(zlib.decompress(base64.b85decode("".join(_CLIP))) + free_box)
        return Result((output,), {"engine": self.name})

    async def close(self) -> None:
        """Does nothing: it holds no resources."""


def _make_png(seed: str) -> bytes:
    """Returns a PNG of two colours blended from left to right, chosen by the seed text."""
    side = _IMAGE_SIDE_PX
    digest = hashlib.sha256(seed.encode()).digest()
    row = bytes(
        (digest[channel] * (side - 1 - x) + digest[channel + 3] * x) // (side - 1)
        for x in range(side)
        for channel in range(3)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress((b"\0" + row) * side, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
