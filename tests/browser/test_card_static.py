"""What a run card's script does by itself: states, focus, the clock, text for screen readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from tests.snapshots import make_snapshot
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.notebook.widgets.card import RunCard

from .conftest import expect
from .static_page import StaticPage, jpeg_uri

pytestmark = pytest.mark.browser

_versions = count(1)


def moment(state: RunState, stage: Stage, **changes: Any) -> Snapshot:
    base: dict[str, Any] = {
        "run_id": "01J00000000000000000008C41",
        "model": "a/b",
        "prompt": "a lighthouse <b>above</b> a stormy sea",
        "estimated_usd": Decimal("0.04"),
        "submitted_at": datetime.now(UTC),
        "version": next(_versions),
    }
    return make_snapshot(state, stage, **{**base, **changes})


def every_state() -> list[RunCard]:
    shape: dict[str, Any] = {"width": 832, "height": 480, "duration_s": 5.06, "fps": 16, "frames": 81}
    clip = RunOutput("a.mp4", "video/mp4", 172000, "9f3ad1c0ffff", path="gone/a.mp4", **shape)
    steps = {"step": 6, "steps": 10, "rate": 1.2, "rate_unit": "it/s", "remaining_s": 3}
    paid = {"cost_usd": Decimal("0.038"), "seed": {"value": "7"}, "outputs": (clip,)}
    failure = {"message": "The model ran out of memory.", "exit_code": "1"}
    lost_since = datetime.now(UTC) - timedelta(seconds=38)
    submitted = RunState.SUBMITTED
    snapshots = [
        moment(RunState.PLANNED, Stage.WAITING, submitted_at=None, ahead=1),
        moment(RunState.SUBMITTING, Stage.WAITING, submitted_at=None),
        moment(submitted, Stage.QUEUED, elapsed_s=12),
        moment(submitted, Stage.GENERATING, elapsed_s=5, percent=60, **steps),
        moment(submitted, Stage.SAVING, elapsed_s=9),
        moment(RunState.SUCCEEDED, Stage.DONE, elapsed_s=9, **paid),
        moment(RunState.FAILED, Stage.GENERATING, elapsed_s=7, percent=30, **failure),
        moment(RunState.CANCELLED, Stage.QUEUED, elapsed_s=4),
        moment(submitted, Stage.GENERATING, percent=60, lost_since=lost_since, retry_in_s=4),
        moment(RunState.UNCERTAIN, Stage.WAITING, submitted_at=None),
    ]
    return [RunCard(snapshot, again_price="about $0.04") for snapshot in snapshots]


def update(static_page: StaticPage, card: RunCard, snapshot: Snapshot) -> None:
    card.update(snapshot)
    static_page.set_trait(card, "state", card.state)
    static_page.set_trait(card, "log", card.log)


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 720)])
def test_every_state_is_drawn_within_its_frame(static_page: StaticPage, theme: str, width: int) -> None:
    page = static_page.page
    page.set_viewport_size({"width": width, "height": 1000})
    static_page.use_theme(theme)
    for card in every_state():
        static_page.show(card)
    assert [word.strip() for word in page.locator(".wiro-state").all_inner_texts()] == [
        "Waiting for a slot", "Sending", "Queued", "Generating", "Saving", "Done", "Failed while generating",
        "Cancelled", "Lost contact", "Sent, answer lost",
    ]  # fmt: skip
    bar = page.locator(".wiro-run [role=progressbar]").nth(1)
    assert bar.get_attribute("aria-valuenow") == "60"
    assert bar.get_attribute("aria-valuetext") == "Generating, 60 percent, step 6 of 10, about 3 seconds left"
    assert "<b>above</b>" in page.locator(".wiro-prompt").first.inner_text()
    outside = page.evaluate(
        """() => [...document.querySelectorAll('.wiro-run')].filter((card) => {
            const edge = card.getBoundingClientRect().right + 1;
            const parts = [...card.querySelectorAll('button, p, li, dd')];
            return parts.some((node) => node.getBoundingClientRect().right > edge);
        }).length"""
    )
    assert outside == 0


def test_a_run_changes_in_place_and_keeps_focus_and_log(static_page: StaticPage) -> None:
    card = RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=3))
    page = static_page.show(card)
    page.evaluate("() => { window.first = document.querySelector('.wiro-run'); }")
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    change: dict[str, Any] = {"percent": 10, "step": 1, "steps": 10, "log_tail": ("one", "two"), "log_count": 2}
    update(static_page, card, moment(RunState.SUBMITTED, Stage.GENERATING, elapsed_s=4, **change))
    expect(page.get_by_text("step 1 of 10")).to_be_visible()
    assert page.evaluate("() => window.first === document.querySelector('.wiro-run')")
    expect(cancel).to_be_focused()
    expect(page.locator(".wiro-run [aria-live]")).to_have_text("Run 08c41: generating")
    page.locator(".wiro-acts summary").click()
    change |= {"percent": 90, "step": 9, "log_tail": ("one", "two", "three"), "log_count": 3}
    update(static_page, card, moment(RunState.SUBMITTED, Stage.GENERATING, elapsed_s=9, **change))
    expect(page.locator(".wiro-log")).to_contain_text("three")
    assert page.evaluate("() => document.querySelector('.wiro-acts details').open")
    cancel.click()
    assert [message["action"] for message in page.evaluate("() => window.sent")] == ["cancel"]
    update(static_page, card, moment(RunState.CANCELLED, Stage.GENERATING, elapsed_s=9))
    expect(page.get_by_text("Cancelled", exact=True)).to_be_visible()
    assert page.evaluate("() => document.activeElement === window.first"), "the card has the focus now"


def test_the_time_ticks_without_messages(static_page: StaticPage) -> None:
    page = static_page.page
    page.clock.install()
    static_page.show(RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=3)))
    line = page.locator(".wiro-line")
    expect(line).to_contain_text("in the queue for 0:03")
    page.clock.run_for(3000)
    expect(line).to_contain_text("in the queue for 0:06")


def test_the_time_left_counts_down_and_silence_is_said(static_page: StaticPage) -> None:
    page = static_page.page
    page.clock.install(time=0)
    page.clock.pause_at(1)  # from here on it moves by `run_for` alone
    steps: dict[str, Any] = {"percent": 20, "step": 2, "steps": 10, "remaining_s": 8, "elapsed_s": 2}
    card = RunCard(moment(RunState.SUBMITTED, Stage.GENERATING, **steps))
    static_page.show(card)
    line = page.locator(".wiro-line")
    expect(line).to_contain_text("about 8 s left")
    page.clock.run_for(5000)
    expect(line).to_contain_text("about 3 s left")
    page.clock.run_for(4000)
    expect(line).not_to_contain_text("left")
    page.clock.run_for(31_000)
    expect(line).to_contain_text("no news for 40 s")
    expect(page.locator(".wiro-run [aria-live]")).to_have_text("Run 08c41: no news")
    update(static_page, card, moment(RunState.SUBMITTED, Stage.GENERATING, percent=30, elapsed_s=43))
    expect(line).not_to_contain_text("no news")
    update(static_page, card, moment(RunState.SUBMITTED, Stage.GENERATING, lost_since=datetime.now(UTC)))
    expect(page.locator(".wiro-note")).to_contain_text("Still running on the service, as far as known.")


def test_sixty_steps_change_texts_and_are_one_announcement(static_page: StaticPage) -> None:
    card = RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=3))
    page = static_page.show(card)
    page.evaluate(
        """() => {
            window.added = window.painted = 0;
            new MutationObserver((changes) => {
                window.painted += 1;
                const nodes = changes.flatMap((change) => [...change.addedNodes]);
                window.added += nodes.filter((node) => node.nodeType === 1).length;
            }).observe(document.querySelector('.wiro-run'),
                {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    for step in range(1, 61):
        steps: dict[str, Any] = {"step": step, "steps": 60, "rate": 20.0, "rate_unit": "it/s"}
        done = {"percent": step / 0.6, "remaining_s": 3 - step / 20, "elapsed_s": 3 + step / 20}
        update(static_page, card, moment(RunState.SUBMITTED, Stage.GENERATING, **steps, **done))
    expect(page.locator(".wiro-run [role=progressbar]")).to_have_attribute("aria-valuenow", "100")
    # The numbers appear once; after that their texts change and no element is made anew.
    assert page.evaluate("() => window.added") < 15
    assert page.evaluate("() => window.painted") <= 60 + 15, "one change of the page for a message, and the clock"
    expect(page.locator(".wiro-run [aria-live]")).to_have_text("Run 08c41: generating")


def test_what_a_button_opens_stands_below_the_card_with_the_focus(static_page: StaticPage) -> None:
    card, other = (RunCard(moment(RunState.SUCCEEDED, Stage.DONE, elapsed_s=9)) for _ in range(2))
    page = static_page.show(card, other)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Edit in form").dblclick()
    star = page.get_by_role("button", name="Pick as best").first
    star.click()
    assert [message["action"] for message in page.evaluate("() => window.sent")] == ["compare", "edit", "star"]
    card.update(moment(RunState.SUCCEEDED, Stage.DONE, elapsed_s=9, starred=True))
    static_page.set_trait(card, "state", card.state)
    expect(page.get_by_role("button", name="Picked as best", pressed=True)).to_be_focused()
    static_page.set_trait(card, "attached", other.model_id)
    below = page.get_by_role("group", name="Opened below")
    expect(below.locator(".wiro-run")).to_be_in_viewport()
    expect(below).to_be_focused()
    static_page.set_trait(card, "attached", "")
    expect(below.locator(".wiro-run")).to_have_count(0)


def test_a_preview_is_replaced_in_place_stays_in_no_model_and_goes_at_the_end(static_page: StaticPage) -> None:
    def look(colour: tuple[int, int, int]) -> dict[str, Any]:
        return {"image": jpeg_uri(colour), "width": 104, "height": 60}

    generating = {"percent": 12, "step": 3, "steps": 25, "elapsed_s": 40}
    card = RunCard(moment(RunState.SUBMITTED, Stage.GENERATING, **generating))
    page = static_page.show(card)
    picture = page.locator(".wiro-preview")
    expect(picture).to_be_hidden()
    red, blue = look((200, 40, 40)), look((40, 40, 200))
    static_page.set_trait(card, "preview", red)
    expect(picture).to_be_visible()
    page.evaluate("() => { window.first = document.querySelector('.wiro-preview'); }")
    box = picture.bounding_box()
    static_page.set_trait(card, "preview", blue)
    expect(picture).to_have_attribute("src", blue["image"])
    assert page.evaluate("() => window.first === document.querySelector('.wiro-preview')")
    assert (picture.bounding_box(), picture.get_attribute("alt")) == (box, "Preview of run 08c41")
    # What a notebook could save is empty again, and nothing was sent to the kernel for that.
    assert page.evaluate("() => [window.model.get('preview'), window.saved]") == [{}, []]
    update(static_page, card, moment(RunState.FAILED, Stage.GENERATING, elapsed_s=41))
    expect(picture).to_be_hidden()
