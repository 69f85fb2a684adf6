"""The extension: the magics with their settings; what `%load_ext` and `%unload_ext` add to the shell and remove.

Google Colab shows widgets of other packages only after a setting; what to type is said when the extension loads.
Source: `google/colab/output/_widgets.py` in googlecolab/colabtools.
"""

from __future__ import annotations

import ast
import logging
import sys
from contextlib import closing
from decimal import Decimal
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand
from traitlets import All, Bool, Enum, Float, Int, TraitError, Unicode, observe, validate

from wiro_nb.config import ledger_path
from wiro_nb.errors import WiroError
from wiro_nb.formatting import MAX_USD, format_count, parse_usd
from wiro_nb.notebook.display import publish, show_messages
from wiro_nb.notebook.magic.completion import match_wiro
from wiro_nb.notebook.session import Preferences, current_context, session
from wiro_nb.presentation.command_table import CELL, FILM
from wiro_nb.presentation.output import error_output

_log = logging.getLogger(__name__)
_MB = 1_000_000
_DEFAULTS = Preferences()
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


def load_ipython_extension(shell: Any) -> None:
    """Registers magics and completion, and resumes this notebook's unfinished runs: `%load_ext wiro_nb`.

    Args:
        shell: The IPython shell.
    """
    if _find_magics(shell) is not None:
        return
    shell.register_magics(WiroMagics(shell, parent=shell))
    for hooks, hook in _hooks(shell):
        hooks.insert(0, hook)
    resume_runs(shell)
    if (hint := missing_widgets_hint()) is not None and current_context(shell).is_live:
        show_messages([hint])


def unload_ipython_extension(shell: Any) -> None:
    """Removes all that from the shell and closes the manager; finished outputs stay: `%unload_ext wiro_nb`."""
    magics = _find_magics(shell)
    if magics is None:
        return
    for kind in shell.magics_manager.magics.values():
        for name in [name for name, magic in kind.items() if getattr(magic, "__self__", None) is magics]:
            del kind[name]
    shell.magics_manager.registry.pop(WiroMagics.__name__, None)
    for hooks, hook in (*_hooks(shell), (shell.configurables, magics)):
        hooks[:] = [item for item in hooks if item is not hook]
    if (live := sys.modules.get("wiro_nb.notebook.live")) is not None:
        live.end_views()
    if (bridge := sys.modules.get("wiro_nb.notebook.bridge")) is not None:
        bridge.bridge.close()
    WiroError.debug = False
    session.close(CLOSE_TIMEOUT_S)


def _find_magics(shell: Any) -> WiroMagics | None:
    return next((item for item in shell.configurables if isinstance(item, WiroMagics)), None)


def _hooks(shell: Any) -> list[tuple[list[Any], Any]]:
    """Returns the lists of a shell that the extension is in, each with its member."""
    return [
        (shell.Completer.custom_matchers, match_wiro),
        # First, before IPython's own step, which refuses a `%%` cell that has no body in words that name no model.
        (shell.input_transformer_manager.line_transforms, let_through_without_body),
    ]


def let_through_without_body(lines: list[str]) -> list[str]:
    """Appends an empty line to a lone `%%wiro ...` or `%%wiro_film` line, so that the magic handles it.

    Args:
        lines: A cell's, with their line ends.
    """
    is_lone = len(lines) == 1 and lines[0].split(maxsplit=1)[:1] in ([CELL.words], [FILM.words])
    return [*lines, "\n"] if is_lone else lines


def resume_runs(shell: Any) -> None:
    """Follows unfinished runs again and displays one line about them; displays nothing when there are none.

    Args:
        shell: The IPython shell. A ledger that cannot be read does not keep the extension from loading.
    """
    notebook = current_context(shell).notebook
    if notebook is None or not ledger_path().exists():
        return
    try:
        if not _has_unfinished(notebook):
            return
        from wiro_nb.notebook.bridge import bridge

        runs = session.manager().resume(notebook)
        for run in runs:
            bridge.follow(run)
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
    from wiro_nb.ledger.ledger import Ledger

    with closing(Ledger(ledger_path())) as ledger:
        rows = (*ledger.unfinished(notebook), *ledger.incomplete())
        show_messages(ledger.take_notices())
        return any(row.notebook == notebook for row in rows)


# Magics --------------------------------------------------------------------------------------


@magics_class
class WiroMagics(Magics):
    """`%wiro` and `%%wiro`. Settings: `%config WiroMagics.NAME = VALUE`, or in `ipython_config.py`.

    No key or secret is ever a setting: `%config` prints settings and profiles are shared.
    """

    service = Unicode(
        "",
        help="Service of new runs: sandbox, local, cloud, a name. Empty: cloud when a key is found, else sandbox.",
    ).tag(config=True)
    wait = Enum(
        ("auto", "always", "never"),
        _DEFAULTS.wait,
        help="Whether a cell waits for its run. auto: only under papermill, nbclient, nbconvert and the like.",
    ).tag(config=True)
    out_dir = Unicode(_DEFAULTS.out_dir, help="Folder of the clips, beside the notebook.").tag(config=True)
    embed_record = Bool(_DEFAULTS.embed_record, help="Write the run's record into the finished clip.").tag(
        config=True
    )
    max_download_mb = Float(
        _DEFAULTS.max_download_bytes / _MB, help="Larger files are not downloaded, in MB (10^6 bytes)."
    ).tag(config=True)
    budget_usd = Unicode(
        "",
        help="Most that any one notebook may spend, in USD as decimal text; a lower %wiro budget holds.",
    ).tag(config=True)
    sweep_limit_usd = Unicode(
        str(_DEFAULTS.sweep_limit_usd),
        help="A sweep that may cost more (or whose price is unknown) needs --yes; USD as decimal text.",
    ).tag(config=True)
    sweep_limit_runs = Int(
        _DEFAULTS.sweep_limit_runs, min=0, help="A sweep that sends more runs needs --yes."
    ).tag(config=True)
    local_python = Unicode(
        _DEFAULTS.local_python,
        help="Python in which the service local runs its models when it starts next. "
        "Empty: WIRO_LOCAL_PYTHON, else the notebook's own.",
    ).tag(config=True)
    debug = Bool(False, help="Show whole tracebacks in place of one-line errors.").tag(config=True)

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell, **settings)
        self._apply()

    @no_var_expand
    @line_cell_magic
    def wiro(self, line: str, cell: str | None = None) -> Any:
        """Run generative-video models: a cell is a request, its card turns into the clip.

        %%wiro MODEL [name=value ...] [--as VAR] [--wait] [--max-cost USD] [--fresh] [--dry-run] [--sweep NAME=A,B]
        the prompt, word for word

        A setting may be a Python value: seed={n + 1}.

        %wiro                 service, account, spent and budget, runs in flight, what to type next
        %wiro models WORDS    find a model
        %wiro info MODEL      its inputs, choices and price
        %wiro form MODEL      fill them in
        %wiro runs            what this notebook made
        %wiro rerun RUN       make it again
        %wiro help            every command; %wiro help rerun: everything about one

        Without an account everything runs in the sandbox, a free service on this machine; %wiro login asks for
        a key.
        """
        return self._call("call_line", line) if cell is None else self._call("call_cell", line, cell)

    @no_var_expand
    @cell_magic
    def wiro_film(self, line: str, cell: str) -> Any:
        """Make a film of several shots; run again, only changed shots are sent.

        %%wiro_film [MODEL] [name=value ...] [--out film.mp4] [--crossfade S] [--audio FILE] [--yes] [--dry-run]
        --- opening seed=7
        the first prompt, word for word
        --- waves from=previous
        the second one: it continues from the last frame of the shot before
        """
        return self._call("call_film", line, cell)

    def _call(self, handler: str, *texts: str) -> Any:
        """Returns the value of a handler; an error is shown as one line, or as a card where a user watches."""
        from wiro_nb.notebook.magic import handlers

        try:
            return _keep_displayed(self.shell, getattr(handlers, handler)(*texts))
        except WiroError as error:
            caught = error
        finally:
            show_messages(session.take_notices())
        # Outside the handler: a group of exceptions in the context would bring the long traceback back.
        if self.debug:
            raise caught  # with its cause
        if current_context(self.shell).is_live:
            publish(error_output(caught))
            caught.is_shown = True
        raise caught from None

    @validate("max_download_mb")
    def _check_size(self, proposal: Any) -> float:
        if not 0 < proposal["value"] < float("inf"):
            raise TraitError("max_download_mb must be above 0, in MB")
        return float(proposal["value"])

    @validate("budget_usd", "sweep_limit_usd")
    def _check_amount(self, proposal: Any) -> str:
        name, text = proposal["trait"].name, str(proposal["value"]).strip().removeprefix("$")
        if text and parse_usd(text) is None:
            raise TraitError(f"{name} must be an amount from 0 to {MAX_USD} USD such as 2.00, not {text!r}")
        return text

    @validate("out_dir")
    def _check_folder(self, proposal: Any) -> str:
        text = str(proposal["value"]).strip()
        if not text:
            raise TraitError("out_dir must name a folder, for example wiro_outputs")
        return text

    @observe(All)
    def _apply(self, _change: Any = None) -> None:
        WiroError.debug = self.debug
        session.preferences = Preferences(
            service=self.service.strip() or None,
            wait=self.wait,
            out_dir=self.out_dir,
            embed_record=self.embed_record,
            max_download_bytes=int(self.max_download_mb * _MB),
            budget_usd=Decimal(self.budget_usd) if self.budget_usd else None,
            sweep_limit_usd=Decimal(self.sweep_limit_usd or "0"),
            sweep_limit_runs=self.sweep_limit_runs,
            local_python=self.local_python.strip(),
        )


def _keep_displayed(shell: Any, value: Any) -> Any:
    """Returns the value of a magic, or None where it would only leave an empty `Out[n]:` in a terminal.

    A terminal writes the prompt before it asks a value for its display. A run that the cell has displayed already
    becomes `_` and `Out[n]` here instead, if every magic of the cell stands as a statement of its own.
    """
    context = current_context(shell)
    if context.kind != "terminal" or getattr(value, "id", None) not in session.displayed_in(context):
        return value
    if not _are_statements((shell.user_ns.get("In") or [""])[-1]):
        return value
    shell.displayhook.update_user_ns(value)
    return None


def _are_statements(source: str) -> bool:
    """True when every magic of a cell is a statement: nothing uses its value."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    statements = [node.value for node in tree.body if isinstance(node, ast.Expr)]
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    magics = [call for call in calls if ast.unparse(call.func).startswith("get_ipython().run_")]
    return bool(magics) and all(call in statements for call in magics)
