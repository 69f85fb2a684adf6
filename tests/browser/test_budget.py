"""A budget lives in the notebook's own metadata: written there, taken out again, read on another machine."""

from __future__ import annotations

import json

import pytest

from .conftest import OpenNotebook

pytestmark = pytest.mark.browser

BUDGET = (
    "() => window.jupyterapp.shell.currentWidget.context.model.sharedModel.getMetadata('wiro')?.budget ?? 'none'"
)


def test_a_notebook_brings_its_budget_which_is_changed_and_taken_out_again(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", "1"], run=False)
    notebook.page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.context.model.sharedModel
            .setMetadata('wiro', {format: 1, budget: '2.50', runs: {}})"""
    )
    notebook.saved()
    assert json.loads(notebook.path.read_text("utf-8"))["metadata"]["wiro"]["budget"] == "2.50"
    notebook.run_all()
    notebook.execute(
        "from wiro_nb.notebook.bridge import bridge\n"
        "from wiro_nb.notebook.session import current_context\n"
        "bridge.open(current_context().notebook)"
    )
    notebook.wait_for_answer(
        "str(__import__('wiro_nb.notebook.session').notebook.session.session.manager().ledger"
        ".get_budget(current_context().notebook))",
        "'2.50'",
    )
    notebook.execute("get_ipython().run_line_magic('wiro', 'budget 5')")
    notebook.page.wait_for_function(f"() => ({BUDGET})() === '5'")
    assert notebook.saved()["metadata"]["wiro"]["budget"] == "5"
    notebook.execute("get_ipython().run_line_magic('wiro', 'budget none')")
    notebook.page.wait_for_function(f"() => ({BUDGET})() === 'none'")
