"""What the model browser's script does by itself, on a page without a server: search, categories, keys, choice."""

from __future__ import annotations

import pytest

from wiro_nb.notebook.widgets.views import ModelBrowser

from .conftest import expect
from .static_page import StaticPage

pytestmark = pytest.mark.browser


def make_browser() -> ModelBrowser:
    models = [
        {
            "slug": f"owner/model-{number}",
            "title": f"Model {number}",
            "description": "<b>fast</b>, not image to video" if number % 2 else "slow",
            "categories": ["text-to-video" if number % 2 else "image-to-video"],
            "price": f"about $0.{20 - number:02}",
            "usd": (20 - number) / 100 if number else None,
            "runs": number,
            "cover": "",
            "thumb": "",
        }
        for number in range(12)
    ]
    return ModelBrowser(models=models, on_action=print, service="Wiro cloud")


def test_models_are_searched_narrowed_down_sorted_and_chosen(static_page: StaticPage) -> None:
    page = static_page.show(make_browser())
    cards = page.locator(".wiro-model")
    expect(cards).to_have_count(8)
    expect(cards.first).to_have_attribute("data-slug", "owner/model-11")
    expect(cards.first).to_contain_text("<b>fast</b>")
    page.get_by_role("button", name="Show 4 more").click()
    expect(cards).to_have_count(12)
    page.locator('.wiro-filter[data-word="image-to-video"]').click()
    expect(cards).to_have_count(6)
    page.locator('.wiro-filter[data-word=""]').click()
    page.get_by_label("Sort").select_option("name")
    expect(cards.first).to_have_attribute("data-slug", "owner/model-0")
    page.get_by_label("Sort").select_option("price")
    expect(cards.first).to_have_attribute("data-slug", "owner/model-11")
    search = page.get_by_label("Search models")
    search.fill("image to video")  # those of the category come first, however cheap others are that name it
    expect(page.get_by_role("status").first).to_contain_text("of 12")
    expect(cards.first).to_have_attribute("data-slug", "owner/model-10")
    search.fill("model-1")
    expect(cards).to_have_count(3)
    page.wait_for_function("() => window.sent.some((message) => message.action === 'search')")
    assert static_page.sent("search")[-1]["query"] == "model-1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert [message["slug"] for message in static_page.sent("choose")] == ["owner/model-10"]
    static_page.receive({"type": "message", "lines": ["The form costs $5."]})
    expect(page.get_by_text("The form costs $5.")).to_be_visible()


def test_a_browser_whose_kernel_is_gone_sends_nothing(static_page: StaticPage) -> None:
    browser = make_browser()
    page = static_page.show(browser)
    static_page.set_trait(browser, "gone", "ended")
    page.locator(".wiro-model").first.press("Enter")
    expect(page.get_by_text("The kernel is gone.")).to_be_visible()
    assert static_page.sent("choose") == []
