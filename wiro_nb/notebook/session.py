"""The kernel: where its code runs, and its state: preferences, the latest run, notices, known schemas.

A headless runner (nbclient, papermill, nbconvert, nbval, Voila) executes cells with `allow_stdin`
false; live front ends send true. That one field of the request decides, and `WIRO_HEADLESS` (1 or 0)
overrides it. Facts are read at every use: one kernel can be driven by both, one after the other.

There is one `session` a process, as one process is one kernel. It makes the manager at first use and sets its
preferences; nothing heavy is imported before that.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wiro_nb.config import ANY_NOTEBOOK, SWEEP_LIMIT_RUNS, SWEEP_LIMIT_USD, ledger_path
from wiro_nb.errors import InputError, UnknownRun
from wiro_nb.execution.settings import Settings
from wiro_nb.ids import SHORT_LENGTH
from wiro_nb.json_values import dump_json

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.schema.types import ModelSchema
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.prices import Limits

_INJECTED_HEAD = "# Parameters\n"
_PASSED_ON = ("out_dir", "embed_record", "max_download_bytes", "budget_usd", "local_python")
"""Preferences that are settings of the manager."""
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential")

Kind = Literal["plain", "terminal", "kernel-live", "kernel-headless"]


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Facts of the present request.

    Attributes:
        kind: "plain" (no IPython), "terminal", "kernel-live" or "kernel-headless".
        notebook: Absolute path of the notebook; where no front end gives it, the kernel's folder and `*`, so
            that runs of one folder belong together; None in plain Python.
        cell_id: Id of the running cell, or None.
        source_sha256: Hash of the running cell's text, or None.
        execution_id: The same within one execution of a cell, and for no other.
    """

    kind: Kind
    notebook: str | None = None
    cell_id: str | None = None
    source_sha256: str | None = None
    execution_id: str | None = None

    @property
    def is_headless(self) -> bool:
        """True when a cell must wait for its runs and failures must raise."""
        return self.kind == "kernel-headless"

    @property
    def is_live(self) -> bool:
        """True when a user watches the notebook, so widgets and later updates are seen."""
        return self.kind == "kernel-live"

    @property
    def folder(self) -> Path:
        """The folder that relative paths in outputs start from."""
        return Path.cwd() if self.notebook is None else Path(self.notebook).parent


def current_shell() -> Any | None:
    """Returns the running IPython shell, or None. Never imports IPython by itself."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def current_context(shell: Any | None = None) -> ExecutionContext:
    """Returns the facts of the present request.

    Args:
        shell: The IPython shell; None asks IPython.
    """
    shell = shell if shell is not None else current_shell()
    if shell is None:
        return ExecutionContext("plain")
    if getattr(shell, "kernel", None) is None:
        source = _sha256(next(reversed(_inputs(shell)), ""))
        execution_id = f"in-{getattr(shell, 'execution_count', 0)}"
        return ExecutionContext("terminal", _folder_identity(), None, source, execution_id)
    parent: Mapping[str, Any] = getattr(shell, "get_parent", dict)() or {}
    header, content = parent.get("header", {}), parent.get("content", {})
    is_cell, override = header.get("msg_type") == "execute_request", os.environ.get("WIRO_HEADLESS", "").strip()
    is_headless = override == "1" if override in ("0", "1") else is_cell and content.get("allow_stdin") is False
    kind: Kind = "kernel-headless" if is_headless else "kernel-live"
    cell_id = parent.get("metadata", {}).get("cellId") or None
    source = _sha256(content.get("code", "") if is_cell else "")
    return ExecutionContext(kind, _notebook(shell, kind), cell_id, source, header.get("msg_id"))


def _inputs(shell: Any) -> list[str]:
    """Returns the text of the cells that were executed, the running one last."""
    inputs = getattr(shell, "user_ns", {}).get("In")
    return inputs if isinstance(inputs, list) else []


def injected_parameters() -> dict[str, Any] | None:
    """Returns what papermill put into the running notebook, by name, or None when it put in nothing.

    A kernel does not get the notebook's metadata, so the injected cell is recognised by its first line. Names that
    may hold a secret are left out, because records travel with the clips.
    """
    injected = (text for text in reversed(_inputs(current_shell())) if str(text).startswith(_INJECTED_HEAD))
    if (source := next(injected, None)) is None:
        return None
    try:
        statements = ast.parse(source).body
        given = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
        dump_json(given)
    except (SyntaxError, TypeError, ValueError):
        return None  # a cell of the user's own that only begins like an injected one, or no record can hold it
    return {name: value for name, value in given.items() if not _SECRET_NAME.search(name)} or None


def _notebook(shell: Any, kind: Kind) -> str | None:
    if named := os.environ.get("WIRO_NOTEBOOK"):
        return str(Path(named).absolute())
    vscode = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__")
    if isinstance(vscode, str) and vscode:
        return vscode
    # A headless kernel may have inherited the variable from the notebook that started the runner.
    session = os.environ.get("JPY_SESSION_NAME", "")
    if kind == "kernel-live" and session.endswith(".ipynb"):
        return str(Path(session).absolute())
    return _folder_identity()


def _folder_identity() -> str:
    return str(Path.cwd() / ANY_NOTEBOOK)


def _sha256(text: str) -> str | None:
    return hashlib.sha256(text.encode()).hexdigest() if text else None


# State -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preferences(Settings):
    """User preferences, set through `WiroMagics`: settings of the manager, and notebook-only ones.

    Attributes:
        service: Service of new runs; None chooses as `services.resolve_service` does.
        wait: "auto", "always" or "never".
        sweep_limit_usd, sweep_limit_runs: A sweep above either needs a confirmation.
    """

    service: str | None = None
    wait: str = "auto"
    sweep_limit_usd: Decimal = SWEEP_LIMIT_USD
    sweep_limit_runs: int = SWEEP_LIMIT_RUNS

    def limits(self, yes: bool = False) -> Limits | None:
        """Returns what is sent without being asked; None where the user confirmed already."""
        from wiro_nb.session.prices import Limits

        return None if yes else Limits(self.sweep_limit_usd, self.sweep_limit_runs)


@dataclass(frozen=True, slots=True)
class _Execution:
    """One execution of a cell: ids of the runs that it returned, and of what it displayed."""

    id: str | None
    returned: set[str] = field(default_factory=set)
    displayed: set[str] = field(default_factory=set)


class Session:
    """The state of this kernel.

    Attributes:
        preferences: The user's; the manager gets them at its next use.
        last_run: The run that was started or shown last, or None.
        notices: By run id, a sentence that is shown above the run when it is shown next.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.preferences = Preferences()
        self.last_run: Run | None = None
        self._schemas: dict[str, ModelSchema] = {}
        self.notices: dict[str, str] = {}
        self._execution = _Execution(None)
        self._chosen: tuple[int, str] | None = None

    def manager(self, *, choose: bool = True) -> Manager:
        """Returns the manager, made at first use, with the present preferences.

        Args:
            choose: False leaves the service alone, for commands that have to work without a key.

        Raises:
            MissingCredentials, ConfigError: The preferred service cannot be used.
        """
        from wiro_nb.session import get_manager

        manager, present = get_manager(), self.preferences
        manager.settings = replace(manager.settings, **{name: getattr(present, name) for name in _PASSED_ON})
        if choose and present.service and self._chosen != (id(manager), present.service):
            manager.services.use(present.service)
            self._chosen = (id(manager), present.service)
        return manager

    def keep_choice(self) -> None:
        """A command chose a service: the preferred one no longer counts until it is set anew."""
        self._chosen = (id(self.manager(choose=False)), self.preferences.service or "")

    def should_wait(self, context: ExecutionContext, asked: bool | None = None) -> bool:
        """Returns whether a cell waits for its run.

        Args:
            context: Where it runs.
            asked: What the call itself says; None leaves it to the preferences.
        """
        if asked is not None:
            return asked
        if self.preferences.wait != "auto":
            return self.preferences.wait == "always"
        return context.is_headless

    def returned_in(self, context: ExecutionContext) -> set[str]:
        """Returns the ids of runs that calls of this execution of a cell, or of this script, have returned.

        A loop that asks three times for the same thing wants three clips, not the first one three times.
        """
        return self._in_execution(context).returned

    def displayed_in(self, context: ExecutionContext) -> set[str]:
        """Returns the ids of runs and sweeps that the present execution of a cell has displayed.

        A magic displays its handle and returns it too: as the value of the cell it is not displayed again.
        """
        return self._in_execution(context).displayed

    def _in_execution(self, context: ExecutionContext) -> _Execution:
        if context.execution_id != self._execution.id:
            self._execution = _Execution(context.execution_id)
        return self._execution

    def schema(self, model: str) -> ModelSchema:
        """Returns a model's inputs.

        Raises:
            UnknownModel: There is no such model; the message names similar ones.
        """
        schema = self.manager().schema(model)
        self.remember_schema(schema)
        return schema

    def remember_schema(self, schema: ModelSchema) -> None:
        """Keeps a schema for completion, which never asks the service."""
        self._schemas[schema.slug.lower()] = schema

    def known_schemas(self) -> tuple[ModelSchema, ...]:
        """Returns the schemas that completion may offer: bundled ones and those seen in this kernel."""
        from wiro_nb.schema import bundled_models

        known = {schema.slug.lower(): schema for schema in bundled_models()}
        return tuple({**known, **self._schemas}.values())

    def known_schema(self, model: str) -> ModelSchema | None:
        """Returns the schema of a model as far as it is known without asking."""
        wanted = model.lower()
        return next(
            (item for item in self.known_schemas() if wanted in (item.slug.lower(), item.run_path.lower())), None
        )

    def known_runs(self) -> list[Run]:
        """Returns this notebook's runs for completion, newest first; asks no service."""
        if not _has_manager() and not ledger_path().exists():
            return []
        return self.manager(choose=False).runs(notebook=current_context().notebook, limit=50)

    def take_notices(self) -> tuple[str, ...]:
        """Returns messages about the ledger, each once; none when no manager was made yet."""
        return tuple(self.manager(choose=False).take_notices()) if _has_manager() else ()

    def close(self, timeout_s: float = 5.0) -> None:
        """Closes the manager, if there is one, and forgets everything."""
        if "wiro_nb.session" in sys.modules:
            from wiro_nb.session import close_manager

            close_manager(timeout_s)
        self._forget()


def _has_manager() -> bool:
    module = sys.modules.get("wiro_nb.session")
    return module is not None and module.has_manager()


session = Session()


def held_run(name: str) -> Run | None:
    """Returns the run that "last" or a variable of this kernel means, or None.

    In a kernel that has started none, "last" is the latest run of the notebook.
    """
    from wiro_nb.execution.run import Run

    if name in ("last", "_") and session.last_run is not None:
        return session.last_run
    held = getattr(current_shell(), "user_ns", {}).get(name)
    if isinstance(held, Run):
        return held
    notebook = current_context().notebook
    if name != "last" or notebook is None:
        return None
    return next(iter(session.manager(choose=False).runs(notebook, limit=1)), None)


def find_run(query: str | Run, *, ends_it: bool = False) -> Run:
    """Returns the run of an id, of a variable that holds one, or the handle itself.

    Args:
        query: A handle, "last", the name of a variable, or an id.
        ends_it: True asks for the whole short id where the run is not of this notebook.

    Raises:
        UnknownRun: None, or several; or too little of the id of another notebook's run.
    """
    if not isinstance(query, str):
        return query
    if (held := held_run(query)) is not None:
        return held
    notebook = current_context().notebook
    found = session.manager().get(query, notebook)
    if ends_it and found.snapshot.notebook != notebook and len(query.strip().lstrip("#")) < SHORT_LENGTH:
        raise UnknownRun(
            f"{query!r} fits run {found.short_id}, which is not of this notebook",
            hint=f"give its whole short id: {found.short_id}",
            query=query,
            near=[found.id],
        )
    return found


def source_text(source: str | Path | Run) -> str:
    """Returns a path or address as text, and the id of the run that a handle, "last" or a variable means.

    Raises:
        InputError: It can hold no run.
    """
    if isinstance(source, (str, Path)):
        held = held_run(str(source))
        return str(source) if held is None else held.id
    run_id: object = getattr(source, "id", None)
    if not isinstance(run_id, str):
        raise InputError(f"a run, its id or a file is wanted, not {type(source).__name__}", hint="%wiro runs")
    return run_id
