"""axe finds nothing serious in forms, cards, the model browser, grids and static pages, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ipywidgets import Widget

from .conftest import OpenNotebook, expect
from .static_page import StaticPage
from .test_card_static import every_state
from .test_form_static import hostile_form
from .test_grid_static import make_grid
from .test_models_static import make_browser
from .test_runs_static import make_table

pytestmark = pytest.mark.browser

# Inside Lab's scrolling panels axe takes much for invisible: our own DOM is laid open on the page.
LAY_OPEN = """() => {
    const page = document.createElement('main');
    page.id = 'laid-open';
    page.style.cssText = 'position:absolute;inset:0 0 auto 0;width:1000px;background:var(--jp-layout-color0)';
    page.append(...document.querySelectorAll('.wiro, .jp-RenderedHTMLCommon'));
    document.querySelectorAll('.jp-RenderedHTMLCommon .wiro').forEach((node) => page.append(node));
    document.body.replaceChildren(page);
    document.body.style.overflow = 'auto';
    for (const more of page.querySelectorAll('details')) more.open = true;
}"""
PAINTED = """async () => {
    document.getElementById('jupyterlab-splash')?.remove();
    await document.fonts.ready;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""
PAGES = """
import wiro_nb
from wiro_nb.notebook.run.display import static_output
done = wiro_nb.run("sandbox/image", prompt="costs $5 and $6").wait()
display(static_output(done), wiro_nb.runs().output(), wiro_nb.status(), wiro_nb.info("sandbox/plain-clip"))
"""
WIDGETS: dict[str, Callable[[], list[Any]]] = {
    "form": lambda: [hostile_form()],
    "cards": every_state,
    "browser": lambda: [make_browser()],
    "runs": lambda: [make_table(notify=True)],
    "grid": lambda: [make_grid("seed=1..2", "loraType=ZoomIn,PanLeft,PanRight")],
}


@pytest.fixture
def axe() -> Any:
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


@pytest.mark.parametrize("name", WIDGETS)
def test_axe_finds_no_serious_fault_in_a_widget(static_page: StaticPage, axe: Any, name: str) -> None:
    for widget in WIDGETS[name]():
        parts: list[Widget] = list(widget.fields.values()) if name == "form" else []
        static_page.show(widget, *parts)
    for theme in ("light", "dark"):
        static_page.use_theme(theme)
        static_page.page.evaluate(LAY_OPEN)
        static_page.page.evaluate(PAINTED)
        look_for_faults(static_page.page, axe)


def test_axe_finds_no_serious_fault_in_static_pages(open_notebook: OpenNotebook, axe: Any) -> None:
    notebook = open_notebook([PAGES])
    outputs = notebook.page.locator(".jp-OutputArea .jp-RenderedHTMLCommon")
    expect(outputs).to_have_count(4)
    expect(outputs.last).to_be_visible()
    for theme in ("Light", "Dark"):
        notebook.use_theme(f"JupyterLab {theme}")
        if theme == "Light":
            notebook.page.evaluate(LAY_OPEN)
        notebook.page.evaluate(PAINTED)
        look_for_faults(notebook.page, axe)


def look_for_faults(page: Any, axe: Any) -> None:
    answer = axe.run(
        page, context="#laid-open", options={"resultTypes": ["violations", "passes", "incomplete"]}
    ).response
    contrast = [rule for rule in answer["passes"] if rule["id"] == "color-contrast"]
    unclear = [
        node["any"][0]["message"] for rule in answer["incomplete"] for node in rule["nodes"][:3] if node["any"]
    ]
    assert contrast, f"axe saw the text; unclear: {unclear}"
    assert len(contrast[0]["nodes"]) > 15
    serious = [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in answer["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []
