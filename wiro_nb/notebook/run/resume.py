"""Resumes the unfinished runs of this notebook when the extension loads.

Reads the ledger only when there is one, so that loading stays light for everybody else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from wiro_nb.config import ledger_path
from wiro_nb.errors import WiroError
from wiro_nb.notebook.context import current_context

_log = logging.getLogger(__name__)


def resume_runs(shell: Any) -> None:
    """Follows unfinished runs again and displays one line about them; displays nothing when there are none.

    Args:
        shell: The IPython shell. A ledger that cannot be read does not keep the extension from loading.
    """
    notebook = current_context(shell).notebook
    if notebook is None or not ledger_path().exists():
        return
    try:
        if _has_unfinished(notebook):
            _resume(notebook)
    except WiroError as error:
        # The first command raises the same error with its hint; here it would only be in the way.
        _log.warning("unfinished runs were not resumed: %s", error.message)


def _has_unfinished(notebook: str) -> bool:
    """True when a run of the notebook is not over, or lacks its cost or a file."""
    from wiro_nb.ledger.ledger import open_ledger

    ledger = open_ledger()
    try:
        rows = (*ledger.unfinished(notebook), *ledger.incomplete())
        found = any(row.notebook == notebook for row in rows)
        show_messages(ledger.take_notices())
        return found
    finally:
        ledger.close()


def show_messages(messages: Sequence[str]) -> None:
    """Displays messages, each as a line: a damaged ledger was replaced, widgets need a setting."""
    if not messages:
        return
    from wiro_nb.notebook.display import publish
    from wiro_nb.presentation.output import message

    for text in messages:
        publish(message(text))


def _resume(notebook: str) -> None:
    from wiro_nb.notebook.bridge import bridge
    from wiro_nb.notebook.session import session
    from wiro_nb.presentation.formatting import format_count

    runs = session.manager().resume(notebook)
    for run in runs:
        bridge.follow(run)
    if runs:
        count = format_count(len(runs), "unfinished run")
        names = ", ".join(run.short_id for run in runs)
        show_messages([f"Resumed {count}: {names}. See them with %wiro runs"])
