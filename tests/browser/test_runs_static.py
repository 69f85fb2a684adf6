"""What a list of runs does by itself: rows that open, move and cancel, clips that are gone, notices at the end."""

from __future__ import annotations

from typing import Any

import pytest

from wiro_nb.notebook.widgets.views import RunTable

from .conftest import expect
from .static_page import StaticPage

pytestmark = pytest.mark.browser


def row(p: int, run: str, **changes: Any) -> dict[str, Any]:
    base = {
        "p": p, "run": run, "icon": "done", "variant": "ok", "label": "Done", "percent": None,
        "when": "14:02", "prompt": f"a lighthouse <b>{run}</b>", "about": "a/b, seed 7", "money": "$0.038, 0:09",
        "thumb": "", "note": "", "final": True, "cancel": False,
    }  # fmt: skip
    return base | changes


def make_table(**head: Any) -> RunTable:
    moving = {
        "icon": "ring",
        "variant": "brand",
        "label": "Generating",
        "final": False,
        "cancel": True,
        "percent": 35,
    }
    gone = "File gone. Get it again at no cost: %wiro download cc3cc"
    lost = row(2, "cc3cc", note=gone, thumb="data:image/jpeg;base64,AAAA")
    rows, shown = (
        [row(0, "aa1aa", **moving), row(1, "bb2bb"), lost],
        {"title": "3 runs", "lines": ["Spent $1 of $2."]},
    )
    return RunTable(head={**shown, **head}, items=rows, on_action=print)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 700)])
def test_runs_open_by_click_and_enter_and_move(static_page: StaticPage, theme: str, width: int) -> None:
    page = static_page.page
    page.set_viewport_size({"width": width, "height": 700})
    static_page.use_theme(theme)
    static_page.show(make_table())
    rows = page.locator(".wiro-list-row")
    expect(rows.first).to_contain_text("Generating 35%")
    expect(rows.nth(2)).to_contain_text("File gone")
    expect(rows.nth(2).locator("img")).to_have_count(0)
    rows.nth(1).click()
    rows.first.get_by_role("button", name="aa1aa").first.press("Enter")
    rows.first.get_by_role("button", name="Cancel run aa1aa").click()
    sent = [(message["action"], message.get("p")) for message in page.evaluate("() => window.sent")]
    assert sent == [("handshake", None), ("open", 1), ("open", 0), ("cancel", 0)]
    static_page.receive({"type": "items", "items": [row(0, "aa1aa")]})
    expect(rows.first).to_contain_text("Done")
    static_page.receive({"type": "items", "items": [row(3, "dd4dd")]})
    expect(rows.first).to_contain_text("dd4dd")


def test_the_end_of_a_run_is_notified_and_marks_a_hidden_tab(static_page: StaticPage) -> None:
    page = static_page.page
    page.evaluate(
        """() => {
            window.notices = [];
            window.Notification = class {
                constructor(title, options) { window.notices.push([title, options.body]); }
                static permission = 'default';
                static async requestPermission() { return (Notification.permission = 'granted'); }
            };
            document.title = 'book';
        }"""
    )
    static_page.show(make_table(notify=True))
    page.get_by_role("button", name="Notify me when a run ends").click()
    expect(page.get_by_role("button", name="You will be notified")).to_be_visible()
    page.evaluate("() => Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    static_page.receive({"type": "items", "items": [row(0, "aa1aa")]})
    assert page.evaluate("() => window.notices") == [["Run aa1aa: done", "a lighthouse <b>aa1aa</b>"]]
    assert page.title() == "● book"
    page.evaluate(
        """() => {
            Object.defineProperty(document, 'hidden', {value: false, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    assert page.title() == "book"
