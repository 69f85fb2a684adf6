"""Small real clips for the tests of this room, made with PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def make_clip(
    path: Path,
    *,
    flags: str = "",
    comment: str | None = None,
    tags: dict[str, str] | None = None,
    frames: int = 12,
    shade: int = 10,
    crf: str = "23",
) -> Path:
    """Writes a 64x48 H.264 clip at 16 frames a second whose frames brighten step by step."""
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        container.metadata.update((tags or {}) | ({"comment": comment} if comment is not None else {}))
        stream = container.add_stream("libx264", rate=16, options={"crf": crf})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), (index * shade) % 256, np.uint8)
            pixels[:, : 4 + index] = 200
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def media_data(path: Path) -> bytes:
    """Returns every compressed packet of the clip, which a tag must not change."""
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(video=0))


def metadata_of(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return dict(container.metadata)
