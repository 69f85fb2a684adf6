"""Small real clips for the tests of this package, made with PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 30,
            "cfg": 6.0,
            "sampler_name": "euler",
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 480, "length": 81}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox in snow", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
}


def make_clip(
    path: Path,
    *,
    flags: str = "",
    comment: str | None = None,
    tags: dict[str, str] | None = None,
    frames: int = 12,
    shade: int = 10,
    crf: str = "23",
    codec: str = "libx264",
) -> Path:
    """Writes a 64x48 clip at 16 frames a second whose frames brighten step by step."""
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        container.metadata.update((tags or {}) | ({"comment": comment} if comment is not None else {}))
        stream = container.add_stream(codec, rate=16, options={"crf": crf} if codec == "libx264" else {})
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


def remux(clip: Path, target: Path, *, flags: str = "") -> Path:
    """Copies the streams into another container, as `ffmpeg -c copy` does."""
    options = {"movflags": flags} if flags else {}
    with av.open(str(clip)) as source, av.open(str(target), "w", options=options) as copy:
        copy.metadata.update(source.metadata)
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return target
