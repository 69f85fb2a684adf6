"""axe finds nothing serious in forms and cards, light and dark."""

from __future__ import annotations

import pytest

from .conftest import OpenNotebook
from .test_card import ALL_STATES
from .test_card import SETUP as CARD_SETUP
from .test_form import HOSTILE
from .test_form import SETUP as FORM_SETUP

pytestmark = pytest.mark.browser

LAY_OPEN = """() => {
    const page = document.createElement('main');
    page.id = 'laid-open';
    page.style.cssText = 'position:absolute;inset:0 0 auto 0;width:1000px;background:var(--jp-layout-color0)';
    page.append(...document.querySelectorAll('.wiro'));
    document.body.replaceChildren(page);
    document.body.style.overflow = 'auto';
    for (const more of page.querySelectorAll('details')) more.open = true;
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize(
    ("source", "selector"), [(FORM_SETUP + HOSTILE, ".wiro-form"), (CARD_SETUP + ALL_STATES, ".wiro-run")]
)
def test_axe_finds_no_serious_fault(open_notebook: OpenNotebook, source: str, selector: str, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    notebook = open_notebook([source])
    notebook.page.wait_for_selector(selector, timeout=30_000)
    notebook.use_theme(f"JupyterLab {theme}")
    # Inside Lab's scrolling panels axe takes much for invisible: the widgets are laid open on the page.
    notebook.spoiled = True
    notebook.page.evaluate(LAY_OPEN)
    answer = axe.run(
        notebook.page, context="#laid-open", options={"resultTypes": ["violations", "passes"]}
    ).response
    contrast = [rule for rule in answer["passes"] if rule["id"] == "color-contrast"]
    assert contrast, "axe saw the text"
    assert len(contrast[0]["nodes"]) > 30
    serious = [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in answer["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []
