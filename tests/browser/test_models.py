"""The model browser in a real front end: searching, keys, choosing; what is saved and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CARDS = ".wiro-model"
TYPED = "'a fox in the snow' in str(__import__('ipywidgets').Widget.get_manager_state())"


def slugs(notebook: NotebookPage) -> list[str]:
    found: list[str] = notebook.page.locator(CARDS).evaluate_all(
        "(cards) => cards.map((card) => card.dataset.slug)"
    )
    return found


def views_in(saved: dict[str, Any]) -> list[str]:
    return [
        output["metadata"].get("wiro_view", {}).get("key", "?")
        for cell in saved["cells"]
        for output in cell.get("outputs", [])
        if WIDGET_VIEW in output.get("data", {})
    ]


def test_a_model_is_found_chosen_and_its_form_filled_in(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", "%wiro models"])
    page = notebook.page
    page.locator(CARDS).first.wait_for()
    every = slugs(notebook)
    assert "pruna/vace" in every
    page.locator('.wiro-filter[data-word="image-to-video"]').click()
    assert set(slugs(notebook)) < set(every)
    page.locator('.wiro-filter[data-word=""]').click()
    search = page.get_by_label("Search models")
    search.fill("vace")
    page.wait_for_function(f"() => document.querySelectorAll('{CARDS}').length === 1")
    assert slugs(notebook) == ["pruna/vace"]
    search.fill("")
    page.wait_for_function(f"() => document.querySelectorAll('{CARDS}').length > 4")
    search.fill("vace")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector('.wiro-form [data-name="prompt"] textarea')
    page.wait_for_function("() => document.activeElement?.closest('[data-name=prompt]')")
    page.keyboard.type("a fox in the snow")
    expect(page.locator(".wiro-browser")).to_contain_text("%wiro form pruna/vace")
    notebook.wait_for_answer(TYPED, "True")
    saved = notebook.saved()
    assert views_in(saved) == [], "the file holds static forms alone"
    assert "pruna/vace" in json.dumps(saved)
    notebook.reopen()
    page.locator(CARDS).first.wait_for()
    prompt = page.locator('.wiro-form [data-name="prompt"] textarea')
    expect(prompt).to_have_value("a fox in the snow")
    dirty = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty")
    assert not dirty, "a page opened again changes nothing"
