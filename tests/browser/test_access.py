"""axe finds nothing serious in forms, cards, the model browser and static pages, light and dark."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import NotebookPage, OpenNotebook, expect
from .test_card import ALL_STATES
from .test_card import SETUP as CARD_SETUP
from .test_form import HOSTILE
from .test_form import SETUP as FORM_SETUP

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
RUNS = """
%load_ext wiro_nb
%wiro models
"""
PAGES = """
import wiro_nb
done = wiro_nb.run("sandbox/image", prompt="costs $5 and $6").wait()
display(done, wiro_nb.runs(), wiro_nb.status(), wiro_nb.info("sandbox/plain-clip"))
"""
CELLS = {
    ".wiro-form": ([FORM_SETUP + HOSTILE], 1),
    ".wiro-run": ([CARD_SETUP + ALL_STATES], 10),
    ".wiro-browser": ([RUNS.strip()], 1),
    ".jp-OutputArea .jp-RenderedHTMLCommon": ([PAGES], 4),
}


@pytest.mark.parametrize("selector", CELLS)
def test_axe_finds_no_serious_fault(open_notebook: OpenNotebook, selector: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    cells, count = CELLS[selector]
    notebook = open_notebook(cells)
    expect(notebook.page.locator(selector)).to_have_count(count)
    expect(notebook.page.locator(selector).last).to_be_visible()
    for theme in ("Light", "Dark"):
        notebook.use_theme(f"JupyterLab {theme}")
        if theme == "Light":
            notebook.page.evaluate(LAY_OPEN)
        notebook.page.evaluate(PAINTED)
        look_for_faults(notebook, axe)


def look_for_faults(notebook: NotebookPage, axe: Any) -> None:
    answer = axe.run(
        notebook.page, context="#laid-open", options={"resultTypes": ["violations", "passes", "incomplete"]}
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
