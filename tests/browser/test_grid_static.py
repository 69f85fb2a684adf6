"""What the scripts of grid and comparison do by themselves: clips in step, keys, loading."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.notebook.test_sweep_views import CLIP, plan_of, snapshot
from tests.unit.provenance.clips import make_clip
from wiro_nb.api.answers import Preview
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.notebook.sweep.rendering import grid_plan, head_data, sweep_tiles
from wiro_nb.notebook.widgets.views import ComparisonWidget, SweepGrid

from .conftest import expect
from .static_page import StaticPage, jpeg_uri

pytestmark = pytest.mark.browser

FRAME_S = 1 / 16
FRAMES = 32
SMOOTH_DEADLINE_S = 60

SPREAD = """async (seconds) => {
    // The widest gap between the times of any two clips in every frame the page draws; loop ends apart.
    const clips = [...document.querySelectorAll('video')];
    let widest = 0, looks = 0, furthest = 0;
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until) {
        await new Promise(requestAnimationFrame);
        if (clips.some((clip) => clip.seeking || clip.paused)) continue;
        const times = clips.map((clip) => clip.currentTime);
        widest = Math.max(widest, Math.max(...times) - Math.min(...times));
        furthest = Math.max(furthest, ...times);
        looks += 1;
    }
    return {widest, looks, furthest};
}"""
TIMES = "() => [...document.querySelectorAll('video')].map((clip) => clip.currentTime)"


@pytest.fixture(scope="module")
def clip_data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES).read_bytes()


def make_grid(*axes: str) -> SweepGrid:
    plan = plan_of(*axes)
    output = replace(CLIP, path="clip.mp4", poster_path="", width=64, height=48, frames=FRAMES)
    snapshots = [snapshot(outputs=(output,)) for _ in plan.points]
    return SweepGrid(
        plan=grid_plan(plan, snapshots, []),
        head=head_data(plan, snapshots),
        items=sweep_tiles(plan, snapshots),
        on_action=print,
    )


def watch(page: Any) -> None:
    """Fails unless the clips play in step for two seconds.

    While the machine is too busy to decode them, clips fall behind and catch up: then the next seconds count.
    """
    deadline = time.monotonic() + SMOOTH_DEADLINE_S
    while True:
        seen: dict[str, Any] = page.evaluate(SPREAD, 2)
        if seen["looks"] > 10 and seen["furthest"] > 1 and seen["widest"] < FRAME_S:
            return
        assert time.monotonic() < deadline, seen


def wait_until_loaded(page: Any, count: int) -> None:
    page.wait_for_function(
        """(count) => {
            const clips = [...document.querySelectorAll('video')];
            return clips.length === count && clips.every((clip) => clip.readyState >= 3);
        }""",
        arg=count,
    )


def test_clips_of_a_sweep_play_in_step_loop_and_step_by_keyboard(
    static_page: StaticPage, clip_data: bytes
) -> None:
    page = static_page.show(
        make_grid("seed=1..2", "loraType=ZoomIn,PanLeft,PanRight"), files={"clip.mp4": clip_data}
    )
    wait_until_loaded(page, 6)
    page.get_by_role("button", name="Play all finished clips together").click()
    watch(page)
    page.get_by_role("button", name="Pause all clips").click()
    times = page.evaluate(TIMES)
    assert max(times) - min(times) < 0.01
    slider = page.get_by_role("slider", name="Position in all clips")
    slider.fill("8")
    page.locator(".wiro-grid-card").focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("9")
    page.wait_for_function(f"() => ({TIMES})().every((at) => Math.abs(at - 9 / 16) < 0.02)")
    page.keyboard.press("Home")
    expect(slider).to_have_value("0")
    page.get_by_role("button", name="Open seed 1, PanLeft").click()
    assert page.evaluate("() => window.sent.at(-1)").items() >= {"action": "open", "p": 1}.items()
    page.get_by_role("button", name="Pick seed 1, PanLeft as best").click()
    assert page.evaluate("() => window.sent.at(-1)").items() >= {"action": "star", "p": 1}.items()


def test_only_the_clips_in_sight_are_loaded(static_page: StaticPage, clip_data: bytes) -> None:
    page = static_page.page
    page.set_viewport_size({"width": 700, "height": 700})
    static_page.show(make_grid("seed=1..36"), files={"clip.mp4": clip_data})
    expect(page.locator("video")).to_have_count(36)
    count = "() => [...document.querySelectorAll('video')].filter((clip) => clip.src).length"
    page.wait_for_function(f"() => {{ const count = ({count})(); return count > 0 && count < 30; }}")


def test_a_tile_whose_clip_is_gone_says_so(static_page: StaticPage) -> None:
    page = static_page.show(make_grid("seed=1..2"), files={"clip.mp4": b"no clip any more"})
    expect(page.get_by_text("File gone. Get it again at no cost: %wiro download")).to_have_count(2)


def test_a_tile_under_way_shows_the_latest_look_at_its_clip_until_it_ends(static_page: StaticPage) -> None:
    grid = make_grid("seed=1..2")
    page = static_page.show(grid)
    generating = snapshot(state=RunState.SUBMITTED, stage=Stage.GENERATING, percent=40.0, step=10, steps=25)
    moving, done = sweep_tiles(plan_of("seed=1..2"), [generating, snapshot()])
    static_page.receive({"type": "items", "items": [moving]})
    sent: list[dict[str, Any]] = []
    grid.send = sent.append
    first, second = (Preview(jpeg_uri(colour), 104, 60) for colour in ((200, 40, 40), (40, 40, 200)))
    for previews in ((first, None), (first, None), (second, None)):
        grid.send_previews(previews)
    assert [content["image"] for content in sent] == [first.image, second.image]
    picture = page.locator(".wiro-tile-preview").first
    expect(picture).to_be_hidden()
    for content in sent:
        static_page.receive(content)
        expect(picture).to_have_attribute("src", content["image"])
        expect(picture).to_be_visible()
    expect(page.get_by_text("step 10 of 25")).to_be_visible()
    static_page.receive({"type": "items", "items": [{**done, "p": 0}]})
    expect(picture).to_be_hidden()


def test_a_comparison_plays_in_step_and_wipes(static_page: StaticPage, clip_data: bytes) -> None:
    shown = {
        "model": "a/b", "word": "Done", "path": "clip.mp4", "poster": "", "type": "video", "duration": FRAMES / 16,
        "fps": 16, "width": 64, "height": 48,
    }  # fmt: skip
    clips = [{"letter": letter, "run": f"run{letter}", **shown} for letter in "AB"]
    differ = [{"name": "loraType", "cells": [[["ZoomIn", False]], [["PanLeft", False]]]}]
    titles = {"title": "1 setting differs", "same_title": "1 setting is the same"}
    view = {"clips": clips, "differ": differ, "results": [], "same": ["seed"], **titles}
    widget = ComparisonWidget(view=view, stars=[False, False], on_action=print)
    page = static_page.show(widget, files={"clip.mp4": clip_data})
    wait_until_loaded(page, 2)
    expect(page.locator(".wiro-diff")).to_contain_text("1 setting differs")
    expect(page.locator(".wiro-diff")).to_contain_text("ZoomIn")
    page.get_by_role("button", name="Play all").click()
    watch(page)
    page.get_by_role("button", name="Pause all").click()
    page.get_by_role("button", name="Wipe", exact=True).click()
    # A pointer over the clips moves the bar as well, also when the clips move beneath the pointer.
    page.mouse.move(1, 1)
    page.get_by_role("slider", name="Wipe between A and B").fill("30")
    assert page.locator(".wiro-wipe").evaluate("node => node.style.getPropertyValue('--wiro-cut')") == "30%"
    page.get_by_role("button", name="Pick B as best").click()
    assert page.evaluate("() => window.sent.at(-1)").items() >= {"action": "star", "p": 1}.items()
    static_page.set_trait(widget, "stars", [False, True])
    expect(page.get_by_role("button", name="B is picked: take it back")).to_have_attribute("aria-pressed", "true")
