"""At load: takes up the runs of this notebook that a former kernel left unfinished.

Looks into the ledger only when there is one, so that loading stays light for everybody else.
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
    """Follows unfinished runs again and says so in one line; says nothing when there are none.

    Args:
        shell: The IPython shell. A ledger that cannot be read does not keep the extension from loading.
    """
    notebook = current_context(shell).notebook
    path = ledger_path()
    if notebook is None or not path.exists():
        return
    try:
        if _has_unfinished(notebook):
            _take_up(notebook)
    except WiroError as error:
        # The first command tells the same error with its hint; here it would only be in the way.
        _log.warning("unfinished runs were not looked up: %s", error.message)


def _has_unfinished(notebook: str) -> bool:
    from wiro_nb.ledger.ledger import open_ledger

    ledger = open_ledger()
    try:
        found = any(row.notebook == notebook for row in ledger.unfinished())
        tell(ledger.take_notices())
        return found
    finally:
        ledger.close()


def tell(notices: Sequence[str]) -> None:
    """Shows what the person must know, each as a line: a damaged ledger was replaced, widgets need a word."""
    if not notices:
        return
    from wiro_nb.notebook.run.display import publish
    from wiro_nb.presentation.output import message

    for notice in notices:
        publish(message(notice))


def _take_up(notebook: str) -> None:
    from wiro_nb.notebook.document.bridge import bridge
    from wiro_nb.notebook.run.display import publish
    from wiro_nb.notebook.session import session
    from wiro_nb.presentation.formatting import format_count
    from wiro_nb.presentation.output import message

    runs = session.manager().resume(notebook)
    if not runs:
        return
    for run in runs:
        bridge.follow(run)
    names = ", ".join(run.short_id for run in runs)
    publish(
        message(f"{format_count(len(runs), 'run')} of this notebook not finished before: {names}. See %wiro runs")
    )
