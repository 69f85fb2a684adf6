"""The state of this kernel: preferences, the latest run, notices, cached schemas; and lookup of runs by name.

There is one object a process, as one process is one kernel. It makes the manager at first use and sets its
preferences; nothing heavy is imported before that.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.config import SWEEP_LIMIT_RUNS, SWEEP_LIMIT_USD, Settings, ledger_path
from wiro_nb.errors import InputError, UnknownRun
from wiro_nb.ids import SHORT_LENGTH
from wiro_nb.notebook.context import ExecutionContext, current_context, current_shell

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.schema.types import ModelSchema
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.prices import Limits


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
    """The state of this kernel."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.preferences = Preferences()
        self.last_run: Run | None = None
        self._schemas: dict[str, ModelSchema] = {}
        self._notices: dict[str, str] = {}
        self._execution = _Execution(None)
        self._chosen: tuple[int, str] | None = None

    def set_preferences(self, preferences: Preferences) -> None:
        """Sets new preferences; the manager gets them at its next use."""
        self.preferences = preferences

    def manager(self, *, choose: bool = True) -> Manager:
        """Returns the manager, made at first use, with the present preferences.

        Args:
            choose: False leaves the service alone, for commands that have to work without a key.

        Raises:
            MissingCredentials, ConfigError: The preferred service cannot be used.
        """
        from wiro_nb.session import get_manager

        manager, present = get_manager(), self.preferences
        manager.settings = replace(
            manager.settings,
            out_dir=present.out_dir,
            embed_record=present.embed_record,
            max_download_bytes=present.max_download_bytes,
            budget_usd=present.budget_usd,
        )
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

    def set_notice(self, run_id: str, notice: str) -> None:
        """Sets a sentence that is shown above a run when it is shown next."""
        self._notices[run_id] = notice

    def take_notice(self, run_id: str) -> str:
        """Returns the sentence set for a run, once."""
        return self._notices.pop(run_id, "")

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
        if not _has_manager():
            return ()
        from wiro_nb.session import get_manager

        return tuple(get_manager().take_notices())

    def close(self, timeout_s: float = 5.0) -> None:
        """Closes the manager, if there is one, and forgets everything."""
        module = sys.modules.get("wiro_nb.session")
        if module is not None:
            module.close_manager(timeout_s)
        self._forget()


def _has_manager() -> bool:
    module = sys.modules.get("wiro_nb.session")
    return module is not None and module.has_manager()


session = Session()


def run_in_variable(name: str) -> Run | None:
    """Returns the run that a variable of this kernel holds, or None."""
    from wiro_nb.execution.run import Run

    held = getattr(current_shell(), "user_ns", {}).get(name)
    return held if isinstance(held, Run) else None


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
    last = session.last_run
    if query in ("last", "_") and last is not None:
        return last
    if (held := run_in_variable(query)) is not None:
        return held
    context = current_context()
    found = session.manager().get(query, context.notebook)
    if ends_it and found.snapshot.notebook != context.notebook and len(query.strip().lstrip("#")) < SHORT_LENGTH:
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
    if not isinstance(source, (str, Path)):
        run_id: object = getattr(source, "id", None)
        if not isinstance(run_id, str):
            raise InputError(f"a run, its id or a file is wanted, not {type(source).__name__}", hint="%wiro runs")
        return run_id
    last = session.last_run
    if source in ("last", "_") and last is not None:
        return last.id
    held = run_in_variable(str(source))
    return str(source) if held is None else held.id
