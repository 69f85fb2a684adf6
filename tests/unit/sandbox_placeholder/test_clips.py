"""Clips of the placeholder engine: repeatable, labelled, and as the parameters say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from wiro_nb.sandbox.engines import EngineError, Job, Progress
from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine
from wiro_nb.sandbox.engines.placeholder.camera import EFFECTS
from wiro_nb.sandbox.engines.placeholder.drawing import make_label
from wiro_nb.sandbox.engines.placeholder.request import CAMERA_MOVES, read_steps

from .conftest import SMALL, Make


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture with a blue left half, a red right half and a green square."""
    image = Image.new("RGB", (200, 120), (30, 60, 200))
    image.paste((200, 40, 30), (100, 0, 200, 120))
    image.paste((40, 220, 60), (80, 40, 120, 80))
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_importing_the_engine_loads_no_heavy_package() -> None:
    code = "import sys, wiro_nb.sandbox.engines.placeholder; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"numpy", "PIL", "av"} & set(loaded)


@pytest.mark.parametrize("prompt", ["a lake at night in the rain", "snow in the city", "forest", "x"])
def test_the_same_request_gives_the_same_bytes(make: Make, prompt: str) -> None:
    first = make(prompt=prompt, seed="7", **SMALL)
    assert first.data == make(prompt=prompt, seed="7", **SMALL).data
    assert np.array_equal(first.frames, make(prompt=prompt, seed=7, **SMALL).frames)


def test_a_callback_address_or_a_files_address_does_not_change_the_clip(make: Make, photo: Path) -> None:
    first = make(files=(photo,), prompt="x", inputImageUrl="http://127.0.0.1:1/a.png", **SMALL)
    other = make(
        files=(photo,), prompt="x", inputImageUrl="http://127.0.0.1:2/b.png", callbackUrl="http://c", **SMALL
    )
    assert np.array_equal(first.frames, other.frames)


def test_seeds_give_visibly_different_clips(make: Make) -> None:
    clips = [make(prompt="mountains", seed=str(seed), **SMALL).frames[0] for seed in range(4)]
    for one, other in combinations(clips, 2):
        assert np.abs(one - other).mean() > 6


def test_any_parameter_changes_the_details(make: Make) -> None:
    first = make(prompt="mountains at noon", seed="1", guidanceScale="5", **SMALL)
    other = make(prompt="mountains at noon", seed="1", guidanceScale="6", **SMALL)
    assert not np.array_equal(first.frames, other.frames)


def test_the_clip_moves(make: Make) -> None:
    frames = make(prompt="mountains", seed="1", **{**SMALL, "frames": 24}).frames
    assert np.abs(frames[0] - frames[-1]).mean() > 1


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        ("some/model", {"steps": 1}, (512, 288, 33, 16)),
        ("wiro/animate-diff", {"width": 128, "height": 96}, (128, 96, 18, 8)),
        ("wiro/animate-diff", {"width": 129, "height": 97, "frameNumber": 3}, (128, 96, 3, 8)),
        ("pruna/vace", {"frameNum": "2"}, (832, 480, 2, 16)),
        ("pruna/vace", {"frameNum": "1", "resolution": "720p", "ratio": "9:16"}, (720, 1280, 1, 16)),
        ("Wan-AI/Wan2.2-TI2V-5B-text-to-video", {"size": "480*832", "numFrames": 5, "fps": 12}, (480, 832, 5, 12)),
        ("wiro/SkyReels-V1", {"size": "544x960", "numFrames": "3"}, (544, 960, 3, 24)),
    ],
)
def test_size_frames_and_fps_are_those_asked_for(
    make: Make, model: str, values: dict[str, object], expected: tuple[int, int, int, int]
) -> None:
    made = make(model, prompt="x", **values)
    with av.open(str(made.path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (stream.width, stream.height, stream.frames, float(stream.average_rate)) == expected
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    assert made.data.index(b"moov") < made.data.index(b"mdat")


def test_ratio_auto_follows_the_picture(make: Make, tmp_path: Path) -> None:
    Image.new("RGB", (90, 160)).save(tmp_path / "tall.png")
    made = make("pruna/vace", files=(tmp_path / "tall.png",), ratio="auto", resolution="480p", frameNum="1")
    _, height, width, _ = made.frames.shape
    assert width < height
    assert width / height == pytest.approx(9 / 16, rel=0.05)


@pytest.mark.parametrize(
    "values",
    [
        {"width": 4096, "height": 512},
        {"width": 32, "height": 512},
        {"frames": 1001},
        {"frames": 0},
        {"frames": "many"},
        {"frames": "1e999"},
        {"fps": "nan"},
        {"fps": 0},
        {"size": "wide"},
        {"size": "9999999*2"},
        {"resolution": "4k"},
        {"ratio": "1:1"},
        {"width": "12.5"},
    ],
)
def test_what_cannot_be_rendered_is_refused_with_a_sentence(make: Make, values: dict[str, object]) -> None:
    with pytest.raises(EngineError, match=r"\w+ .*[\d,'].*\.$"):
        make(prompt="x", **values)


def test_the_smallest_and_a_single_frame_work(make: Make) -> None:
    assert make(prompt="a city by the sea in the rain", width=64, height=64, frames=1).frames.shape == (
        1,
        64,
        64,
        3,
    )


@pytest.mark.parametrize(("steps", "frames"), [(3, 6), (25, 4), (1, 5), (6, 6)])
def test_each_step_is_reported_once_in_order(make: Make, steps: int, frames: int) -> None:
    made = make(prompt="x", **{**SMALL, "steps": steps, "frames": frames})
    assert made.progress == [Progress("generate", done, steps) for done in range(steps + 1)]


@pytest.mark.parametrize(("value", "expected"), [("7", 7), (None, 16), ("soon", 16), ("-3", 1), ("9e9", 1000)])
def test_estimated_steps_never_fail(value: str | None, expected: int, tmp_path: Path) -> None:
    assert read_steps(Job("wiro/animate-diff", "clip", {"steps": value}, {}, tmp_path)) == expected


@pytest.mark.parametrize("step", [0, 1, 2])
def test_cancelling_leaves_no_file(tmp_path: Path, step: int) -> None:
    async def cancel() -> None:
        async def report(progress: Progress) -> None:
            if progress.step == step:
                running.cancel()
                await asyncio.sleep(60)

        job = Job("some/model", "clip", {"prompt": "x", **SMALL}, {}, tmp_path)
        running = asyncio.ensure_future(PlaceholderEngine().run(job, report))
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancel())
    assert list(tmp_path.iterdir()) == []


def test_a_failing_report_leaves_no_file_and_frees_the_engine(tmp_path: Path) -> None:
    async def fail_often() -> None:
        async def report(progress: Progress) -> None:
            if progress.step:
                raise RuntimeError("report")

        engine = PlaceholderEngine()
        job = Job("some/model", "clip", {"prompt": "x", **SMALL}, {}, tmp_path)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="report"):
                await engine.run(job, report)

    asyncio.run(fail_often())
    assert list(tmp_path.iterdir()) == []


def test_the_request_is_in_the_clips_comment(make: Make) -> None:
    with av.open(str(make(prompt="gün batımı 🍊", **SMALL).path)) as container:
        comment = json.loads(container.metadata["comment"])["sandbox"]
    assert comment["parameters"]["prompt"] == "gün batımı 🍊"
    assert comment["model"] == "some/model"


def _moved(before: np.ndarray, after: np.ndarray, axis: int) -> int:
    """How many pixels the picture moved along an axis: the shift at which both are most alike."""

    def likeness(shift: int) -> float:
        length = before.shape[axis]
        kept = before.take(range(max(0, -shift), length - max(0, shift)), axis)
        came = after.take(range(max(0, shift), length - max(0, -shift)), axis)
        return float(np.corrcoef(kept.ravel(), came.ravel())[0, 1])

    return max(range(-60, 61), key=likeness)


@pytest.mark.parametrize(
    ("move", "axis", "sign"), [("PanLeft", 1, 1), ("PanRight", 1, -1), ("TiltUp", 0, 1), ("TiltDown", 0, -1)]
)
@pytest.mark.parametrize("with_picture", [False, True])
def test_pan_and_tilt_move_the_picture_the_other_way(
    make: Make, dots: Path, move: str, axis: int, sign: int, with_picture: bool
) -> None:
    option = next(value for value, name in CAMERA_MOVES.items() if name == move)
    size = {"width": 256, "height": 192, "frameNumber": 5}
    files = (dots,) if with_picture else ()
    frames = make("wiro/animate-diff", files=files, prompt="mountains", seed="1", loraType=option, **size).frames
    grey = frames.mean(-1)[:, :160]  # without the label's band
    moved = _moved(grey[0], grey[-1], axis)
    assert np.sign(moved) == sign
    assert abs(moved) > 8


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    """A picture full of soft blobs."""
    small = np.random.default_rng(3).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(small).resize((512, 384), Image.Resampling.BICUBIC).save(tmp_path / "dots.png")
    return tmp_path / "dots.png"


def _best(before: np.ndarray, after: np.ndarray, views: dict[str, Image.Image]) -> str:
    def likeness(name: str) -> float:
        return float(np.corrcoef(np.asarray(views[name], np.float32).ravel(), after.ravel())[0, 1])

    return max(views, key=likeness)


@pytest.mark.parametrize("move", ["ZoomIn", "ZoomOut", "RollingClockwise", "RollingAnticlockwise"])
def test_zoom_and_roll_match_the_move(make: Make, move: str) -> None:
    option = next(value for value, name in CAMERA_MOVES.items() if name == move)
    frames = make(prompt="mountains at noon", seed="1", loraType=option, width=256, height=256, frames=5).frames
    before, after = frames.mean(-1)[0], frames.mean(-1)[-1]
    image, (height, width) = Image.fromarray(before), before.shape

    def zoomed(factor: float) -> Image.Image:
        x, y = width / 2 / factor, height / 2 / factor
        box = (int(width / 2 - x), int(height / 2 - y), int(width / 2 + x), int(height / 2 + y))
        return image.transform((width, height), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)

    views = {
        "ZoomIn": zoomed(1.38),
        "ZoomOut": zoomed(1 / 1.38),
        "RollingClockwise": image.rotate(-18, Image.Resampling.BILINEAR),
        "RollingAnticlockwise": image.rotate(18, Image.Resampling.BILINEAR),
    }
    middle = np.s_[60:196, 60:196]
    cut = {name: Image.fromarray(np.asarray(view)[middle]) for name, view in views.items()}
    assert _best(before, after[middle], cut) == move


def test_every_frame_says_sandbox(make: Make) -> None:
    frames = make(prompt="snow", seed="1", **SMALL).frames.mean(-1)
    label = np.zeros((3, SMALL["height"], SMALL["width"]), np.float32)
    make_label("snow", "1", SMALL["width"], SMALL["height"])(label)
    for frame in frames:
        assert np.corrcoef(label[0, -16:].ravel(), frame[-16:].ravel())[0, 1] > 0.8
        assert np.ptp(frame[-16:]) > 100


def test_the_style_tints_the_clip(make: Make) -> None:
    def colour(style: str) -> np.ndarray:
        size = {"width": 96, "height": 64, "frameNumber": 1}
        frames = make("wiro/animate-diff", prompt="hills", selectedModel=style, **size).frames
        return np.asarray(frames[:, :40].mean((0, 1, 2)))

    assert np.abs(colour("") - colour("969")).max() > 4


def test_the_nineteen_effects_are_told_from_one_another(make: Make, photo: Path) -> None:
    model, size = "wiro/wan2.2-effects-extra", {"width": 160, "height": 96, "frames": 8}
    clips = {
        name: make(model, files=(photo,), effectType=name, seed="42", **size).frames[:, :80] for name in EFFECTS
    }
    assert len(clips) == 19
    for one, other in combinations(clips, 2):
        assert np.abs(clips[one] - clips[other]).mean((1, 2, 3)).max() > 4, (one, other)
    again = make(model, files=(photo,), effectType="crash", seed="42", **size).frames[:, :80]
    assert np.array_equal(again, clips["crash"])


def test_an_unknown_effect_and_a_missing_picture_are_refused(make: Make, photo: Path) -> None:
    with pytest.raises(EngineError, match="no effect called 'sneezing'"):
        make("wiro/wan2.2-effects-extra", files=(photo,), effectType="sneezing")
    with pytest.raises(EngineError, match="needs an input image"):
        make("wiro/wan2-2-effects-extra", effectType="crash")
