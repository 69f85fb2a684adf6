"""axe finds nothing serious in forms, cards, the model browser, grids and static pages, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ipywidgets import Widget

import wiro_nb
from tests.conftest import SandboxProcess
from tests.manager_tools import own_folders, point_at  # noqa: F401
from wiro_nb.notebook.run.display import static_output
from wiro_nb.session import close_manager

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
    await document.fonts.ready;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""
# What JupyterLab's rendermime package adds to the theme for HTML outputs, as far as colours go.
OUTPUT_STYLES = """
.jp-RenderedHTMLCommon { color: var(--jp-content-font-color1); font-family: var(--jp-content-font-family); }
.jp-RenderedHTMLCommon a { color: var(--jp-content-link-color); text-decoration: none; }
.jp-RenderedHTMLCommon table { color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1); }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: var(--jp-layout-color0); }
.jp-RenderedHTMLCommon tbody tr:nth-child(even) { background: var(--jp-rendermime-table-row-background); }
.jp-RenderedHTMLCommon code { background-color: var(--jp-layout-color2); }
"""
ADD_OUTPUT = """(html) => {
    const output = document.createElement('div');
    output.className = 'jp-RenderedHTMLCommon';
    output.innerHTML = html;
    document.body.append(output);
}"""
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
        look_for_faults(static_page.page, axe, theme)


def test_axe_finds_no_serious_fault_in_static_outputs(
    static_page: StaticPage,
    axe: Any,
    sandbox: SandboxProcess,
    point_at: Callable[[Any], None],  # noqa: F811
) -> None:
    point_at(sandbox)
    try:
        done = wiro_nb.run("sandbox/image", prompt="costs $5 and $6").wait()
        shown = [static_output(done), wiro_nb.runs(), wiro_nb.status(), wiro_nb.info("sandbox/plain-clip")]
        pages = [output._repr_mimebundle_()[0]["text/html"] for output in shown]
    finally:
        close_manager()
    static_page.page.add_style_tag(content=OUTPUT_STYLES)
    for html in pages:
        static_page.page.evaluate(ADD_OUTPUT, html)
    for theme in ("light", "dark"):
        static_page.use_theme(theme)
        if theme == "light":
            static_page.page.evaluate(LAY_OPEN)
        static_page.page.evaluate(PAINTED)
        look_for_faults(static_page.page, axe, theme)


def look_for_faults(page: Any, axe: Any, theme: str) -> None:
    """Contrast in each theme; all other rules, which know no colours, in one."""
    wanted: dict[str, Any] = {"runOnly": ["color-contrast"], "resultTypes": ["violations", "passes", "incomplete"]}
    answer = axe.run(page, context="#laid-open", options=wanted).response
    contrast = answer["passes"]
    unclear = [
        node["any"][0]["message"] for rule in answer["incomplete"] for node in rule["nodes"][:3] if node["any"]
    ]
    assert contrast, f"axe saw the text; unclear: {unclear}"
    assert len(contrast[0]["nodes"]) > 15
    faults = answer["violations"]
    if theme == "light":
        others = {"rules": {"color-contrast": {"enabled": False}}, "resultTypes": ["violations"]}
        answer = axe.run(page, context="#laid-open", options=others).response
        assert len(answer["passes"]) > 5, "it looked at what is there"
        faults += answer["violations"]
    serious = [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []
