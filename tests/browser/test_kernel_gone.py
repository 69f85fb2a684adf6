"""What a form, a card and the model browser say and do once their kernel is gone."""

from __future__ import annotations

import re

import pytest

from .conftest import OpenNotebook, expect

pytestmark = pytest.mark.browser

FORM = """
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.schema import find_bundled
ModelForm(
    find_bundled("Wan-AI/Wan2.2-TI2V-5B-text-to-video"), on_run=lambda values: None,
    price=lambda values: ("about $0.04", ""), badge="cloud", values={"prompt": "a harbour at dawn"},
)
"""
CARD = """
from datetime import UTC, datetime
from wiro_nb.notebook.widgets.card import RunCard
from wiro_nb.ledger.state import RunState, Snapshot, Stage
now = datetime.now(UTC)
RunCard(Snapshot(
    run_id="01J00000000000000000008C41", model="a/b", run_path="a/b", service="cloud", base_url="", created=now,
    request={"parameters": {"prompt": "a lighthouse"}}, submitted_at=now, version=1,
    state=RunState.SUBMITTED, stage=Stage.GENERATING, elapsed_s=5,
))
"""
BROWSER = """
from wiro_nb.notebook.widgets.views import ModelBrowser
asked = []
model = dict.fromkeys(["title", "description", "price", "cover", "thumb"], "") | {
    "slug": "a/b", "categories": [], "runs": None,
}
note = lambda action, content: asked.append(action)
ModelBrowser(models=[model], on_action=note, service="sandbox")
"""
CLOCK = re.compile(r"\d:\d\d")


def test_form_card_and_browser_say_that_the_kernel_is_gone(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([FORM, CARD, BROWSER])
    page = notebook.page
    page.wait_for_selector(".wiro-form")
    card = page.locator(".wiro-run")
    card.wait_for()
    page.wait_for_selector(".wiro-browser .wiro-model")
    expect(card.locator(".wiro-line")).to_contain_text(CLOCK)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")

    page.wait_for_selector(".wiro-run[data-gone=restarted]")
    assert card.locator(".wiro-reply").inner_text() == (
        "The kernel was restarted; the run continues at the service. "
        "To follow it again: %load_ext wiro_nb, then %wiro show 08c41"
    )
    assert card.locator(".wiro-state").inner_text() == "Disconnected"
    assert not CLOCK.search(card.locator(".wiro-line").inner_text()), "the clock has stopped"
    buttons = card.locator("button")
    assert buttons.count() > 0
    assert buttons.evaluate_all("(all) => all.every((node) => node.getAttribute('aria-disabled') === 'true')")

    notice = page.locator(".wiro-notice")
    expect(notice).to_have_text("The kernel is gone. Run this cell again to use the form.")
    run = page.locator(".wiro-btn-run")
    assert run.get_attribute("aria-disabled") == "true"
    run.click(force=True)
    assert run.get_attribute("aria-busy") is None, "nothing was sent"
    assert page.locator('.wiro-form [data-name="prompt"] textarea').input_value() == "a harbour at dawn"

    model = page.locator(".wiro-browser .wiro-model")
    expect(model).to_have_attribute("aria-disabled", "true")
    model.click(force=True)
    announcement = page.locator(".wiro-browser .wiro-announcement")
    assert announcement.inner_text() == "The kernel is gone. Run this cell again to choose a model."
