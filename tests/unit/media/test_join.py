"""Clips become one: what is copied, what is encoded again, and which pictures are in it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from wiro_nb.errors import InputError
from wiro_nb.media.decode import frames, probe
from wiro_nb.media.join import COPIED, ENCODED, JoinPlan, plan_join, read_clip, repeats, write_join

MakeClip = Callable[..., Path]


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Makes a clip whose pictures are numbered by their brightness: 8 steps of it each."""

    def make(name: str, count: int, *, start: int = 0, size: tuple[int, int] = (64, 48), **more: Any) -> Path:
        fps, bframes = more.get("fps", 8), more.get("bframes", 0)
        with av.open(str(tmp_path / name), "w") as container:
            options = {"crf": "8", "bf": str(bframes), "x264-params": "b-adapt=0:scenecut=0"}
            stream = container.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            sound = container.add_stream("aac", rate=48_000, layout="stereo") if more.get("sound") else None
            for number in range(start, start + count):
                picture = np.full((size[1], size[0], 3), number * 8, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
            for at in range(0, int(48_000 * count / fps), 1024) if sound is not None else ():
                wave = np.sin(np.arange(at, at + 1024, dtype=np.float32) / 20) / 2
                frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 48_000, at
                container.mux(sound.encode(frame))
            if sound is not None:
                container.mux(sound.encode())
        return tmp_path / name

    return make


def numbers(path: Path) -> list[int]:
    """Returns the number of each picture of a film."""
    return [round(float(frame.to_ndarray(format="rgb24")[20:28, 28:36].mean()) / 8) for frame in frames(path)]


def join(paths: list[Path], continues: list[bool], audio: Path | None = None, **options: Any) -> JoinPlan:
    plan = plan_join([read_clip(path) for path in paths], continues, has_audio=audio is not None, **options)
    seen: list[tuple[int, int]] = []
    target = paths[0].with_name("film.mp4")
    write_join(plan, target, audio=audio, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (plan.frames, plan.frames)
    assert probe(target).frames == plan.frames
    assert [path.name for path in target.parent.iterdir() if "film" in path.name] == ["film.mp4"]
    return plan


def test_clips_that_agree_are_copied_and_the_doubled_picture_is_left_out(make_clip: MakeClip) -> None:
    parts = [make_clip("a.mp4", 8), make_clip("b.mp4", 6, start=7), make_clip("c.mp4", 4, start=20)]
    plan = join(parts, [False, True, False])
    assert (plan.method, plan.reason) == (COPIED, "")
    assert numbers(parts[0].with_name("film.mp4")) == [*range(8), *range(8, 13), *range(20, 24)]
    assert [(part.start_s, part.end_s) for part in plan.parts] == [(0, 0.875), (0.875, 1.625), (1.625, 2.125)]


def test_a_picture_that_others_refer_to_makes_it_be_encoded_again(make_clip: MakeClip) -> None:
    parts = [make_clip("a.mp4", 9, bframes=2), make_clip("b.mp4", 9, start=8, bframes=2)]
    assert join(parts, [False, False]).method == COPIED, "nothing has to be left out"
    plan = join(parts, [False, True])
    assert plan.method == ENCODED
    assert "doubled" in plan.reason
    assert numbers(parts[0].with_name("film.mp4")) == list(range(17))


@pytest.mark.parametrize(
    ("second", "options", "reason", "shown"),
    [
        ({"fps": 16}, {}, "their rates differ", [0, 0, 1, 1, 2, 2, 3, 3, 10, 11, 12, 13]),
        ({"size": (48, 64)}, {}, "their sizes differ", [0, 1, 2, 3, 10, 11, 12, 13]),
        ({"sound": True}, {}, "they have sound", [0, 1, 2, 3, 10, 11, 12, 13]),
        ({}, {"crossfade_s": 0.25}, "a crossfade blends frames", [0, 1, 5, 8, 12, 13]),
    ],
    ids=["rate", "size", "sound", "crossfade"],
)
def test_clips_that_differ_are_fitted_to_the_first(
    make_clip: MakeClip, second: dict[str, Any], options: dict[str, Any], reason: str, shown: list[int]
) -> None:
    parts = [make_clip("a.mp4", 4), make_clip("b.mp4", 4, start=10, **second)]
    plan = join(parts, [False, False], **options)
    assert (plan.method, plan.reason) == (ENCODED, reason)
    assert numbers(parts[0].with_name("film.mp4")) == shown
    with av.open(str(parts[0].with_name("film.mp4"))) as film:
        assert bool(film.streams.audio) is ("sound" in second)
        assert film.streams.video[0].width == 64


def test_a_sound_file_is_cut_to_the_film_and_the_pictures_are_still_copied(make_clip: MakeClip) -> None:
    parts = [make_clip("a.mp4", 4), make_clip("b.mp4", 4, start=4)]
    assert join(parts, [False, False], audio=make_clip("sound.mp4", 24, sound=True)).method == COPIED
    with av.open(str(parts[0].with_name("film.mp4"))) as film:
        lengths = {stream.type: float(stream.duration * stream.time_base) for stream in film.streams}
    assert lengths["video"] == 1
    assert lengths["audio"] == pytest.approx(1, abs=0.03)


def test_joining_again_gives_the_same_bytes(make_clip: MakeClip) -> None:
    parts = [make_clip("a.mp4", 4), make_clip("b.mp4", 4, start=10, size=(48, 64))]
    join(parts, [False, False])
    first = parts[0].with_name("film.mp4").read_bytes()
    join(parts, [False, False])
    assert parts[0].with_name("film.mp4").read_bytes() == first


def test_pictures_are_compared_where_no_record_says_what_continues_what(make_clip: MakeClip) -> None:
    one, two, other = (read_clip(make_clip(f"{at}.mp4", 4, start=at)) for at in (0, 3, 9))
    assert repeats(one, two)
    assert not repeats(one, other)


def test_a_film_that_cannot_be_written_is_no_fault_of_its_clips(make_clip: MakeClip, tmp_path: Path) -> None:
    plan = plan_join([read_clip(make_clip(f"{name}.mp4", 4)) for name in "ab"], [False, False])
    with pytest.raises(FileNotFoundError):
        write_join(plan, tmp_path / "nowhere" / "film.mp4")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # fails as a full disk does
    try:
        with pytest.raises(OSError, match="File too large"):
            write_join(plan, tmp_path / "film.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.iterdir() if "film" in path.name]


def test_what_cannot_be_joined_is_a_sentence_and_leaves_no_file(make_clip: MakeClip, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(InputError, match=r"text\.mp4 cannot be read as a clip"):
        read_clip(tmp_path / "text.mp4")
    clips = [read_clip(make_clip("a.mp4", 4)), read_clip(make_clip("b.mp4", 4))]
    with pytest.raises(InputError, match=r"a\.mp4 is 0\.5 s long: too short for a crossfade of 0\.5 s"):
        plan_join(clips, [False, False], crossfade_s=0.5)
    plan = plan_join(clips, [False, False])
    clips[1].path.write_bytes(b"gone")
    with pytest.raises(InputError, match="cannot be joined"):
        write_join(plan, tmp_path / "film.mp4")
    assert not [path for path in tmp_path.iterdir() if "film" in path.name]
