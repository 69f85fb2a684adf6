"""Joins clips into one MP4: copies their streams where they agree, else encodes everything again. Needs PyAV.

`create_mp4` and `add_h264` write the sandbox's clips too.

Where a clip continues from the previous one, the same frame occurs twice. The last one of the clip before
is left out. A copied stream can lose its last frame only where that is also the last one in decoding order: then
no other frame refers to it.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from wiro_nb.errors import InputError
from wiro_nb.media.decode import (
    DECODE_ERRORS,
    SAMPLE_RATE,
    fitted_frames,
    frames,
    open_media,
    read_sound,
    require_decoder,
)

COPIED, ENCODED = "copied", "encoded again"
_SAME_LUMA = 3.0
"""Mean difference of luma, of 255, up to which two frames are the same one encoded twice."""
_CRF = 18


@dataclass(frozen=True, slots=True)
class Clip:
    """The facts of a clip that decide how it is joined.

    Attributes:
        path: The file.
        codec, header: Of its frames. width, height: Pixels. rate: Frames a second. frames: Count.
        has_sound: True when it has a sound track.
        ends_alone: True when no other frame refers to its last one.
        delay_s: Between the decoding and the display of a frame, in seconds.
        is_plain: True when the file shows all its frames, each as long as the others.
    """

    path: Path
    codec: str
    header: bytes
    width: int
    height: int
    rate: Fraction
    frames: int
    has_sound: bool
    ends_alone: bool
    delay_s: Fraction
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip in a film: its begin and end in it (seconds), its frames, those left out or blended at its end."""

    clip: Clip
    start_s: float
    end_s: float
    frames: int
    dropped: int
    blended: int


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """How clips are joined.

    Attributes:
        parts: The clips, in order.
        method: `COPIED` or `ENCODED`. reason: Why they cannot be copied, or "".
        width, height: Pixels. fps: Frames a second.
        notes: What was done to clips that do not fit the first one, a sentence each.
    """

    parts: tuple[Placed, ...]
    method: str
    reason: str
    width: int
    height: int
    fps: Fraction
    notes: tuple[str, ...]

    @property
    def frames(self) -> int:
        """How many frames the film has."""
        return sum(part.frames - part.dropped - part.blended for part in self.parts)

    def samples(self, frames: int) -> int:
        """Returns how many samples of sound so many frames last."""
        return round(frames / self.fps * SAMPLE_RATE)


def read_clip(path: Path) -> Clip:
    """Returns the facts of a clip.

    Raises:
        MissingExtra: PyAV is not installed.
        InputError: It cannot be read as a clip, or has no frames.
    """
    require_decoder()
    try:
        with open_media(path) as container:
            if not container.streams.video:
                raise InputError(f"{path.name} has no video track", hint="give a clip")
            stream = container.streams.video[0]
            packets = [item for item in container.demux(stream) if item.size]
            is_timed = all(item.pts is not None and item.dts is not None for item in packets)
            times = sorted(item.pts for item in packets) if is_timed else []
            steps = {after - before for before, after in pairwise(times)}
            rate = stream.average_rate or stream.guessed_rate
            context = stream.codec_context
            if not packets or not rate:
                raise InputError(f"{path.name} has no frames", hint="give a clip")
            return Clip(
                path,
                context.name,
                bytes(context.extradata or b""),
                context.width,
                context.height,
                Fraction(rate),
                len(packets),
                bool(container.streams.audio),
                bool(times) and times[-1] == packets[-1].pts,
                (times[0] - packets[0].dts) * packets[0].time_base if times else Fraction(0),
                is_timed and len(steps) <= 1 and not any(item.is_discard for item in packets),
            )
    except DECODE_ERRORS as error:
        raise InputError(f"{path.name} cannot be read as a clip: {error}", hint="give an MP4") from None


def repeats(before: Clip, after: Clip) -> bool:
    """Returns whether a clip begins with the frame that another one ends with."""
    if (before.width, before.height) != (after.width, after.height):
        return False
    try:
        both = [*deque(frames(before.path), maxlen=1), *islice(frames(after.path), 1)]
    except DECODE_ERRORS:
        return False
    luma = [frame.to_ndarray(format="gray").astype(int) for frame in both]
    return len(luma) == 2 and float(abs(luma[0] - luma[1]).mean()) <= _SAME_LUMA


def plan_join(
    clips: Sequence[Clip], continues: Sequence[bool], *, crossfade_s: float = 0, has_audio: bool = False
) -> JoinPlan:
    """Works out how clips are joined; writes nothing.

    Args:
        clips: At least two, from `read_clip`.
        continues: For each clip, whether it continues from the last frame of the previous one.
        crossfade_s: Length of the blend at each other seam, in seconds.
        has_audio: True when a sound file replaces the clips' own sound.

    Raises:
        InputError: A clip is too short for the crossfade.
    """
    first, fps = clips[0], max(clip.rate for clip in clips)
    width, height = (max(2, side // 2 * 2) for side in (first.width, first.height))
    parts: list[Placed] = []
    start = blended_before = 0
    for clip, is_continued in zip(clips, [*continues[1:], None], strict=True):  # None: it is the last one
        count = math.ceil(clip.frames / clip.rate * fps)
        dropped = 1 if is_continued and count > 1 else 0
        blended = round(crossfade_s * fps) if is_continued is False else 0
        if count - dropped - blended - blended_before < 1:
            raise InputError(
                f"{clip.path.name} is {float(clip.frames / clip.rate):.3g} s long: too short for a crossfade of "
                f"{crossfade_s:g} s",
                hint="a shorter --crossfade",
            )
        end = start + count - dropped
        parts.append(Placed(clip, float(start / fps), float(end / fps), count, dropped, blended))
        start, blended_before = end - blended, blended
    reason = _why_not_copied(parts, has_audio)
    notes = []
    for clip in clips:
        if (clip.width, clip.height) != (width, height):
            notes.append(f"{clip.path.name} is {clip.width} × {clip.height}: fitted into {width} × {height}.")
        if clip.rate != fps:
            notes.append(f"{clip.path.name} has {float(clip.rate):g} frames a second: shown at {float(fps):g}.")
    method = ENCODED if reason else COPIED
    return JoinPlan(tuple(parts), method, reason, width, height, fps, tuple(notes))


def _why_not_copied(parts: Sequence[Placed], has_audio: bool) -> str:
    clips = [part.clip for part in parts]
    checks = (
        ("a crossfade blends frames", any(part.blended for part in parts)),
        ("they have sound", any(clip.has_sound for clip in clips) and not has_audio),
        ("their sizes differ", len({(clip.width, clip.height) for clip in clips}) > 1),
        ("their rates differ", len({clip.rate for clip in clips}) > 1),
        ("their codecs differ", len({(clip.codec, clip.header) for clip in clips}) > 1),
        ("the frames of one are not evenly spaced", not all(clip.is_plain for clip in clips)),
        ("their frames are ordered differently", len({clip.delay_s for clip in clips}) > 1),
        (
            "other frames refer to the doubled one at a seam",
            any(p.dropped and not p.clip.ends_alone for p in parts),
        ),
    )
    return next((reason for reason, applies in checks if applies), "")


# Writing -------------------------------------------------------------------------------------


def write_join(
    plan: JoinPlan,
    target: Path,
    *,
    audio: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Writes the film in one step: `target` is whole or untouched.

    Args:
        plan: From `plan_join`.
        target: The MP4.
        audio: Sound in place of the clips' own; cut to the film's length.
        on_progress: Called with the frames written and their number.

    Raises:
        OSError: It cannot be written. InputError: A clip cannot be decoded.
    """
    work = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        work.touch()
        with create_mp4(work) as container:
            video = _add_video(plan, container)
            sound: Iterator[list[Any]] = iter(())
            if audio is not None or any(part.clip.has_sound for part in plan.parts):
                track = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
                pieces = _own_sound(plan) if audio is None else [read_sound(audio, plan.samples(plan.frames))]
                sound = _encode_sound(track, pieces)
            part = 0
            for done, number, packets in (_copy if plan.method == COPIED else _encode)(plan, video):
                if audio is None and number >= part:  # the sound of a part stands beside its first frame
                    container.mux(next(sound, []))
                    part += 1
                container.mux(packets)
                on_progress(done, plan.frames)
            for packets in sound:
                container.mux(packets)
        work.replace(target)
    except DECODE_ERRORS as error:
        if str(getattr(error, "filename", "")) == str(work):
            raise  # the disk is full, say: that is no fault of the clips
        raise InputError(f"the clips cannot be joined: {error}", hint="wiro-nb verify CLIP") from None
    finally:
        work.unlink(missing_ok=True)


def create_mp4(path: Path) -> Any:
    """Returns PyAV's container of a new MP4, which keeps metadata keys of any name."""
    import av

    return av.open(str(path), "w", format="mp4", options={"movflags": "+faststart+use_metadata_tags"})


def add_h264(
    container: Any, width: int, height: int, rate: int | Fraction, *, crf: int, params: Sequence[str] = ()
) -> Any:
    """Adds an H.264 stream to a container, whose bytes are the same on every run and every machine of one build.

    Args:
        container: From `create_mp4`.
        width: Pixels, even.
        height: Pixels, even.
        rate: Frames a second.
        crf: x264's; lower is better and larger.
        params: Further parameters of x264.
    """
    # One thread and no CPU-specific code paths.
    fixed = ("cpu-independent=1", "threads=1", "lookahead-threads=1", "sliced-threads=0")
    options = {"preset": "faster", "crf": str(crf), "x264-params": ":".join((*fixed, *params))}
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.thread_count = 1
    return stream


def _add_video(plan: JoinPlan, container: Any) -> Any:
    with open_media(plan.parts[0].clip.path) as first:
        source = first.streams.video[0]
        if plan.method == COPIED:
            return container.add_stream_from_template(source)
        stream = add_h264(container, plan.width, plan.height, plan.fps, crf=_CRF)
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):  # as the first clip says it
            setattr(stream.codec_context, name, getattr(source.codec_context, name))
        return stream


def _copy(plan: JoinPlan, stream: Any) -> Iterator[tuple[int, int, list[Any]]]:
    """Yields the packets of each part, with the frames written by then and the part's number."""
    written = 0
    for number, part in enumerate(plan.parts):
        with open_media(part.clip.path) as source:
            packets = [item for item in source.demux(source.streams.video[0]) if item.size]
            start = round(Fraction(written) / plan.fps / packets[0].time_base)
            offset = start - min(item.pts for item in packets)
            del packets[len(packets) - part.dropped :]
            for packet in packets:
                packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                packet.stream = stream
            written += part.frames - part.dropped
            yield written, number, packets


def _encode(plan: JoinPlan, stream: Any) -> Iterator[tuple[int, int, list[Any]]]:
    """Yields the packets of each frame, with the frames encoded by then and the number of its part."""
    import av

    for count, (number, pixels) in enumerate(_blend(plan)):
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts, frame.time_base = count, 1 / plan.fps
        yield count + 1, number, stream.encode(frame)
    yield plan.frames, -1, stream.encode()


def _blend(plan: JoinPlan) -> Iterator[tuple[int, Any]]:
    """Yields the frames of a film with the number of the part that each begins in."""
    tail: list[Any] = []
    for number, part in enumerate(plan.parts):
        held: deque[Any] = deque()
        pictures = fitted_frames(part.clip.path, plan.width, plan.height, part.clip.rate, plan.fps)
        for count, picture in enumerate(pictures):
            if count < len(tail):
                share = (count + 1) / (len(tail) + 1)
                picture = (tail[count] * (1 - share) + picture * share + 0.5).astype(picture.dtype)
            held.append(picture)
            if len(held) > part.dropped + part.blended:
                yield number, held.popleft()
        tail = list(held)[: len(held) - part.dropped]
        if not part.blended:
            yield from ((number, picture) for picture in tail)
            tail = []


def _own_sound(plan: JoinPlan) -> Iterator[Any]:
    """Yields the sound of each part, blended into that of the next one where the frames are."""
    import numpy as np

    tail = np.zeros((2, 0), np.float32)
    for part in plan.parts:
        sound = read_sound(part.clip.path, plan.samples(part.frames - part.dropped))
        length, end = tail.shape[1], sound.shape[1] - plan.samples(part.blended)
        share = np.linspace(0, 1, length, dtype=np.float32)
        sound[:, :length] = tail * (1 - share) + sound[:, :length] * share
        tail = sound[:, end:]
        yield sound[:, :end]


def _encode_sound(stream: Any, pieces: Iterable[Any]) -> Iterator[list[Any]]:
    """Yields the packets of each piece of sound, at last those that the encoder held back."""
    import av
    import numpy as np

    written = 0
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, written, Fraction(1, SAMPLE_RATE)
        written += piece.shape[1]
        yield stream.encode(frame)
    yield stream.encode()
