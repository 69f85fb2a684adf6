"""An engine that costs nothing: its clip was encoded once and is kept here as text.

For tests and benches, where hundreds of tasks must end without rendering. The clip is a real H.264 MP4
(64 x 36, 8 frames, 1 s); every task gets its own bytes, so that content addressing has something to tell
apart. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from wiro_nb.sandbox.engine import EngineCancelled, Job, Step

__all__ = ["INSTANT_STEPS", "InstantEngine", "make_png"]

INSTANT_STEPS = 10
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
    """Writes the prepared clip and is done. Its steps are played by the service's clock, not by work."""

    name = "instant"

    def estimate_steps(self, job: Job) -> int:
        """Returns the number of steps every job has."""
        return INSTANT_STEPS

    def start(self, job: Job, on_progress: Callable[[Step], None], is_cancelled: Callable[[], bool]) -> list[Path]:
        """Writes one clip whose bytes depend on model and parameters alone.

        Raises:
            EngineCancelled: `is_cancelled` said so.
        """
        if is_cancelled():
            raise EngineCancelled(job.task_id)
        core = json.dumps({"model": job.model, "parameters": job.parameters}, sort_keys=True)
        mark = hashlib.sha256(core.encode()).digest()
        path = job.out_dir / "0.mp4"
        path.write_bytes(zlib.decompress(base64.b85decode("".join(_CLIP))) + _box(b"free", mark))
        on_progress(Step(INSTANT_STEPS, INSTANT_STEPS))
        return [path]


def make_png(seed: str, *, width: int = 256, height: int = 256) -> bytes:
    """Returns a PNG of two colours blended from left to right, chosen by the seed text."""
    digest = hashlib.sha256(seed.encode()).digest()
    left, right = digest[:3], digest[3:6]
    row = bytes(
        (left[channel] * (width - 1 - x) + right[channel] * x) // (width - 1)
        for x in range(width)
        for channel in range(3)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * height, 9)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data
