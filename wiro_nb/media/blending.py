"""Frames and sound of several clips as one stream: fitted to one size and rate, blended at seams. Needs PyAV.

A frame is an array of planar YUV 4:2:0 of shape (height * 3 / 2, width); sound is an array of float samples of
shape (2, n) at 48 kHz.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from wiro_nb.media.decode import DECODE_ERRORS, open_media

SAMPLE_RATE = 48_000
_BLACK_LUMA, _GREY_CHROMA = 16, 128


def fitted_frames(path: Path, width: int, height: int, rate: Fraction, fps: Fraction) -> Iterator[Any]:
    """Yields a clip's frames at another size and rate: with bars where the shape differs, repeated or left out.

    Args:
        path: The clip.
        width: Pixels, even.
        height: Pixels, even.
        rate: Frames a second of the clip.
        fps: Frames a second that are wanted.
    """
    made = 0
    with open_media(path) as container:
        for number, frame in enumerate(container.decode(container.streams.video[0])):
            picture = None
            while Fraction(made) / fps < Fraction(number + 1) / rate:
                picture = _fit(frame, width, height) if picture is None else picture
                made += 1
                yield picture


def _fit(frame: Any, width: int, height: int) -> Any:
    if (frame.width, frame.height) == (width, height):
        return frame.reformat(format="yuv420p").to_ndarray()
    import numpy as np

    scale = min(width / frame.width, height / frame.height)
    inner = [
        max(2, min(side, round(own * scale / 2) * 2))
        for side, own in zip((width, height), (frame.width, frame.height), strict=True)
    ]
    small = frame.reformat(width=inner[0], height=inner[1], format="yuv420p").to_ndarray()
    page = np.full((height * 3 // 2, width), _BLACK_LUMA, np.uint8)
    page[height:] = _GREY_CHROMA
    left, top = (width - inner[0]) // 4 * 2, (height - inner[1]) // 4 * 2
    page[top : top + inner[1], left : left + inner[0]] = small[: inner[1]]
    chroma = page[height:].reshape(2, height // 2, width // 2)
    x, y = left // 2, top // 2
    chroma[:, y : y + inner[1] // 2, x : x + inner[0] // 2] = small[inner[1] :].reshape(
        2, inner[1] // 2, inner[0] // 2
    )
    return page


def blend(parts: Iterable[tuple[Iterator[Any], int, int]]) -> Iterator[tuple[int, Any]]:
    """Yields the frames of a film with the number of the part that each begins in.

    Args:
        parts: Of each part its frames, how many to leave out at its end, how many to blend into the next part.
    """
    tail: list[Any] = []
    for number, (pictures, dropped, blended) in enumerate(parts):
        held: deque[Any] = deque()
        for count, picture in enumerate(pictures):
            if count < len(tail):
                share = (count + 1) / (len(tail) + 1)
                picture = (tail[count] * (1 - share) + picture * share + 0.5).astype(picture.dtype)
            held.append(picture)
            if len(held) > dropped + blended:
                yield number, held.popleft()
        kept = list(held)[: len(held) - dropped] if dropped else list(held)
        tail = kept if blended else []
        if not blended:
            yield from ((number, picture) for picture in kept)
    yield from ((number, picture) for picture in tail)


def read_sound(path: Path, count: int) -> Any:
    """Returns the sound of a file as exactly this many samples: cut, or silent at the end, or silent throughout.

    Args:
        path: A clip or a sound file.
        count: Samples at 48 kHz.
    """
    import av
    import numpy as np

    sound = np.zeros((2, count), np.float32)
    at = 0
    resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE)
    try:
        with open_media(path) as container:
            for frame in container.decode(audio=0) if container.streams.audio else ():
                if at >= count:
                    break
                for piece in resampler.resample(frame):
                    samples = piece.to_ndarray()[:, : count - at]
                    sound[:, at : at + samples.shape[1]] = samples
                    at += samples.shape[1]
    except DECODE_ERRORS:
        pass  # what could be read is kept
    return sound


class SoundWriter:
    """Encodes sound as AAC into a container, and blends the pieces that overlap."""

    def __init__(self, container: Any) -> None:
        import numpy as np

        self._container = container
        self._stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        self._tail = np.zeros((2, 0), np.float32)
        self._written = 0

    def write(self, sound: Any, *, overlap: int = 0, is_last: bool = False) -> None:
        """Adds a piece; its last `overlap` samples are blended into the next piece."""
        import av
        import numpy as np

        if length := self._tail.shape[1]:
            share = np.linspace(0, 1, length, dtype=np.float32)
            sound = np.concatenate(
                [self._tail * (1 - share) + sound[:, :length] * share, sound[:, length:]], axis=1
            )
        end = sound.shape[1] - overlap
        self._tail = sound[:, end:]
        if end:
            samples = np.ascontiguousarray(sound[:, :end])
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLE_RATE, self._written
            frame.time_base = Fraction(1, SAMPLE_RATE)
            self._written += end
            self._container.mux(self._stream.encode(frame))
        if is_last:
            self._container.mux(self._stream.encode())
