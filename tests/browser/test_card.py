"""The run card in a real browser: every state, focus, the ticking time, screen reader words."""

from __future__ import annotations

import pytest

from .conftest import OpenNotebook

pytestmark = pytest.mark.browser

SETUP = """
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from wiro_nb.notebook.widgets import RunCard
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
now = datetime.now(UTC)
version = 0
def moment(state, stage, **changes):
    global version
    version += 1
    base = dict(
        run_id="01J00000000000000000008C41", short_id="08c41", model="a/b", service="cloud", is_sandbox=False,
        prompt="a lighthouse <b>above</b> a stormy sea", estimated_usd=Decimal("0.04"), submitted=now,
        version=version,
    )
    return Snapshot(**{**base, "state": state, "stage": stage, **changes})
acted = []
"""
ALL_STATES = """
shape = dict(width=832, height=480, duration_s=5.06, fps=16, frames=81)
clip = RunOutput("a.mp4", "video/mp4", 172000, "9f3ad1c0ffff", path="gone/a.mp4", **shape)
steps = dict(step=6, steps=10, rate=1.2, rate_unit="it/s", remaining_s=3)
paid = dict(cost_usd=Decimal("0.038"), seed={"value": "7"}, outputs=(clip,))
broken = dict(message="The model ran out of memory.", exit_code="1")
for snapshot in [
    moment(RunState.PLANNED, Stage.WAITING, submitted=None, ahead=1),
    moment(RunState.SUBMITTING, Stage.WAITING, submitted=None),
    moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=12),
    moment(RunState.SUBMITTED, Stage.GENERATING, elapsed_s=5, percent=60, **steps),
    moment(RunState.SUBMITTED, Stage.SAVING, elapsed_s=9),
    moment(RunState.SUCCEEDED, Stage.DONE, elapsed_s=9, **paid),
    moment(RunState.FAILED, Stage.GENERATING, elapsed_s=7, percent=30, **broken),
    moment(RunState.CANCELLED, Stage.QUEUED, elapsed_s=4),
    moment(RunState.SUBMITTED, Stage.GENERATING, percent=60, lost_since=now - timedelta(seconds=38), retry_in_s=4),
    moment(RunState.UNCERTAIN, Stage.WAITING, submitted=None),
]:
    display(RunCard(snapshot, again_price="about $0.04"))
"""
ONE = """
card = RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=3))
stop = card.on_action(lambda shown, action: acted.append(action))
card
"""


@pytest.mark.parametrize(("theme", "width"), [("Light", 1200), ("Dark", 720)])
def test_every_state_is_drawn_within_its_frame(open_notebook: OpenNotebook, theme: str, width: int) -> None:
    notebook = open_notebook([SETUP + ALL_STATES], width=width)
    page = notebook.page
    page.wait_for_function("() => document.querySelectorAll('.wiro-run').length === 10")
    notebook.use_theme(f"JupyterLab {theme}")
    page.set_viewport_size({"width": width, "height": 2800})
    words = page.locator(".wiro-state").all_inner_texts()
    assert [word.strip() for word in words] == [
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
    notebook.shot(f"cards-{theme.lower()}-{width}", ".jp-OutputArea")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_run_moves_in_place_and_keeps_focus_and_log(open_notebook: OpenNotebook, app: str) -> None:
    notebook = open_notebook([SETUP + ONE], app=app)
    page = notebook.page
    cancel = page.get_by_role("button", name="Cancel run")
    cancel.wait_for()
    page.evaluate("() => { window.first = document.querySelector('.wiro-run'); }")
    cancel.focus()
    notebook.execute(
        "card.update(moment(RunState.SUBMITTED, Stage.GENERATING, percent=10, step=1, steps=10, elapsed_s=4, "
        "log_tail=('one', 'two'), log_count=2))"
    )
    page.get_by_text("step 1 of 10").wait_for()
    assert page.evaluate("() => window.first === document.querySelector('.wiro-run')")
    assert page.evaluate("() => document.activeElement.innerText.trim()") == "Cancel run"
    assert page.locator(".wiro-run [aria-live]").inner_text() == "Run 08c41: generating"
    page.locator(".wiro-acts summary").click()
    notebook.execute(
        "card.update(moment(RunState.SUBMITTED, Stage.GENERATING, percent=90, step=9, steps=10, elapsed_s=9, "
        "log_tail=('one', 'two', 'three'), log_count=3))"
    )
    page.get_by_text("three").wait_for()
    assert page.evaluate("() => document.querySelector('.wiro-acts details').open")
    cancel.click()
    notebook.wait_for_answer("acted", "['cancel']")
    notebook.execute("card.update(moment(RunState.CANCELLED, Stage.GENERATING, elapsed_s=9))")
    page.get_by_text("Cancelled", exact=True).wait_for()
    assert page.evaluate("() => document.activeElement === window.first"), "the card has the focus now"


def test_the_time_ticks_without_messages(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([SETUP + ONE])
    shown_s = """() => {
        const [, minutes, seconds] = /in the queue for (\\d+):(\\d\\d)/.exec(document.body.innerText) ?? [];
        return Number(minutes) * 60 + Number(seconds);
    }"""
    notebook.page.wait_for_function(f"() => ({shown_s})() >= 3")
    first_s = notebook.page.evaluate(shown_s)
    notebook.page.wait_for_function(f"(first) => ({shown_s})() >= first + 2", arg=first_s)
    notebook.execute("card.close()")


def test_a_card_beneath_a_form_is_drawn_by_the_form(open_notebook: OpenNotebook) -> None:
    cell = """
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.schema.catalog import find_bundled
def start(values):
    form.show_card(RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=1)))
form = ModelForm(find_bundled("Wan-AI/Wan2.2-TI2V-5B-text-to-video"), on_run=start, values={"prompt": "fog"})
form
"""
    notebook = open_notebook([SETUP + cell])
    page = notebook.page
    run = page.locator(".wiro-btn-run")
    run.wait_for()
    for count in (1, 2):
        run.click()
        page.wait_for_function(f"() => document.querySelectorAll('.wiro-below .wiro-run').length === {count}")
        page.wait_for_selector(".wiro-btn-run:not([aria-busy])")
    page.get_by_text("Run started.").wait_for()
    field = page.locator("[data-name=steps] input")
    field.fill("28")
    assert field.input_value() == "28", "the form stays usable"
    notebook.shot("form-with-cards", ".jp-OutputArea")


def test_twenty_updates_a_second_touch_only_what_changes(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([SETUP + ONE])
    page = notebook.page
    page.locator(".wiro-run").wait_for()
    page.evaluate(
        """() => {
            window.added = 0;
            window.painted = 0;
            window.begun = performance.now();
            const card = document.querySelector('.wiro-run');
            new MutationObserver((changes) => {
                window.painted += 1;
                const nodes = changes.flatMap((change) => [...change.addedNodes]);
                window.added += nodes.filter((node) => node.nodeType === 1).length;
            }).observe(card, {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    notebook.execute(
        "import time\n"
        "for n in range(1, 61):\n"
        "    steps = dict(step=n, steps=60, rate=20.0, rate_unit='it/s', elapsed_s=3 + n / 20)\n"
        "    done = dict(percent=n / 0.6, remaining_s=3 - n / 20)\n"
        "    card.update(moment(RunState.SUBMITTED, Stage.GENERATING, **done, **steps))\n"
        "    time.sleep(0.05)\n"
    )
    page.get_by_text("step 60 of 60").wait_for()
    page.wait_for_function("() => document.querySelector('.wiro-run [role=progressbar]').ariaValueNow === '100'")
    # The numbers appear once; after that their texts change and no element is made anew.
    assert page.evaluate("() => window.added") < 15
    painted, seconds = page.evaluate("() => [window.painted, (performance.now() - window.begun) / 1000]")
    assert painted <= 60 + 7 + seconds, "one change of the page for a message, and the clock"
    said = page.locator(".wiro-run [aria-live]").inner_text()
    assert said == "Run 08c41: generating", "sixty steps are one sentence for a screen reader"
    # A folded output goes on, and shows the present when it is opened again.
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:hide-all-cell-outputs')")
    notebook.execute("card.update(moment(RunState.SUBMITTED, Stage.SAVING, elapsed_s=9))")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:show-all-cell-outputs')")
    page.locator(".wiro-run .wiro-state", has_text="Saving").wait_for()
