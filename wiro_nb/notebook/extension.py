"""Loads and unloads the extension. Unloading removes everything that loading added to the shell.

Google Colab shows widgets of other packages only after a setting; what to type is said when the extension loads.
Source: `google/colab/output/_widgets.py` in googlecolab/colabtools.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from wiro_nb.config import ledger_path
from wiro_nb.errors import WiroError
from wiro_nb.notebook.display import show_messages
from wiro_nb.notebook.magic.magics import WiroMagics
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.command_table import CELL, FILM
from wiro_nb.presentation.formatting import format_count

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

_log = logging.getLogger(__name__)
CLOSE_TIMEOUT_S = 5.0
HINT = (
    "Forms and cards in Colab need: from google.colab import output; output.enable_custom_widget_manager(). "
    "It loads their script from a public CDN; without it runs end as poster and text all the same."
)


def missing_widgets_hint() -> str | None:
    """Returns what to type for widgets, or None where nothing is missing: outside Colab, or once it is done."""
    if "google.colab" not in sys.modules:
        return None
    enabled = getattr(sys.modules.get("google.colab.output._widgets"), "_installed_url", None)
    return None if enabled else HINT


def load(shell: Any) -> None:
    """Registers magics and completion, and resumes this notebook's unfinished runs.

    Args:
        shell: The IPython shell.
    """
    if _find_magics(shell) is not None:
        return
    # The shell keeps magics and configurables in lists of its own: `unload` looks them up by class.
    magics = WiroMagics(shell, parent=shell)
    shell.register_magics(magics)
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        from wiro_nb.notebook.magic.completion import match_wiro

        completer.custom_matchers.append(match_wiro)
    # Before IPython's own step, which refuses a `%%` cell that has no body in words that name no model.
    shell.input_transformer_manager.line_transforms.insert(0, let_through_without_body)
    resume_runs(shell)
    if (hint := missing_widgets_hint()) is not None and current_context(shell).is_live:
        show_messages([hint])


def unload(shell: Any) -> None:
    """Removes everything from the shell and closes the manager; finished outputs stay as they are."""
    magics = _find_magics(shell)
    if magics is None:
        return
    for kind in shell.magics_manager.magics.values():
        for name in [name for name, magic in kind.items() if getattr(magic, "__self__", None) is magics]:
            del kind[name]
    shell.magics_manager.registry.pop(WiroMagics.__name__, None)
    shell.configurables[:] = [item for item in shell.configurables if item is not magics]
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        from wiro_nb.notebook.magic.completion import match_wiro

        completer.custom_matchers[:] = [item for item in completer.custom_matchers if item is not match_wiro]
    steps = shell.input_transformer_manager.line_transforms
    steps[:] = [step for step in steps if step is not let_through_without_body]
    live = sys.modules.get("wiro_nb.notebook.live")
    if live is not None:
        live.end_views()
    bridge = sys.modules.get("wiro_nb.notebook.bridge")
    if bridge is not None:
        bridge.bridge.close()
    WiroError.debug = False
    session.close(CLOSE_TIMEOUT_S)


def let_through_without_body(lines: list[str]) -> list[str]:
    """Appends an empty line to a lone `%%wiro ...` or `%%wiro_film` line, so that the magic handles it.

    Args:
        lines: A cell's, with their line ends.
    """
    is_lone = len(lines) == 1 and lines[0].split(maxsplit=1)[:1] in ([CELL.words], [FILM.words])
    return [*lines, "\n"] if is_lone else lines


def _find_magics(shell: Any) -> WiroMagics | None:
    return next((item for item in shell.configurables if isinstance(item, WiroMagics)), None)


def resume_runs(shell: Any) -> None:
    """Follows unfinished runs again and displays one line about them; displays nothing when there are none.

    Args:
        shell: The IPython shell. A ledger that cannot be read does not keep the extension from loading.
    """
    notebook = current_context(shell).notebook
    if notebook is None or not ledger_path().exists():
        return
    try:
        runs = _resume(notebook) if _has_unfinished(notebook) else []
    except WiroError as error:
        # The first command raises the same error with its hint; here it would only be in the way.
        _log.warning("unfinished runs were not resumed: %s", error.message)
        return
    if runs:
        names = ", ".join(run.short_id for run in runs)
        see = f"it with %wiro show {names}" if len(runs) == 1 else "them with %wiro runs"
        show_messages([f"Resumed {format_count(len(runs), 'unfinished run')}: {names}. See {see}"])


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


def _resume(notebook: str) -> list[Run]:
    from wiro_nb.notebook.bridge import bridge

    runs = session.manager().resume(notebook)
    for run in runs:
        bridge.follow(run)
    return runs
