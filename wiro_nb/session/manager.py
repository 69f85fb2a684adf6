"""The manager: plans, prices, submits and lists runs, for magics, forms, the command line and plain Python.

Its methods may be called from any thread but the I/O thread. Those that ask the service block with a
deadline; `submit` does not wait for anything but the disk.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from wiro_nb.api.answers import ModelCard
from wiro_nb.config import cache_dir, data_dir, ledger_path
from wiro_nb.errors import ConfigError, LedgerError, WiroError
from wiro_nb.execution.driver import Worker
from wiro_nb.execution.requests import Origin, notebook_dir_of_row, resolve_inputs, store_inputs
from wiro_nb.execution.run import Run
from wiro_nb.execution.settings import Settings
from wiro_nb.execution.state_writer import StateWriter, session_closed_error
from wiro_nb.files import INPUTS_FOLDER, OUTPUTS_FOLDER
from wiro_nb.io_thread import IoThread
from wiro_nb.ledger.budget import BudgetState
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.schema import find_bundled, free_form_schema
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared, prepare
from wiro_nb.services import Services
from wiro_nb.services.catalogue import archive_schema
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.lineage import take_frame
from wiro_nb.session.prices import Prices
from wiro_nb.session.submission import Batch, Submission, attach_task, make_folder, out_folder_of, read_task

_Result = TypeVar("_Result")
_ASK_TIMEOUT_S = 45.0
_FETCH_TIMEOUT_S = 3600.0
_MOST_INCOMPLETE = 20


class Manager:
    """All runs of this process.

    Args:
        service: Name of the service to begin with; None chooses as `services.resolve_service` does.
        settings: To begin with; replaced as a whole by assigning `manager.settings`.
        sandbox_arguments: Further arguments of the sandbox's command line (tests: `--faults SPEC`).

    Attributes:
        settings: As given. is_closed: True after `close`.
        services: The services of this process. prices: Of the present one.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        settings: Settings | None = None,
        sandbox_arguments: tuple[str, ...] = (),
    ) -> None:
        self.settings = settings or Settings()
        self._lock = threading.RLock()
        self._io = IoThread()
        self._ledger: Ledger | None = None
        self.services = Services(self._io, service, sandbox_arguments, lambda: self.settings.local_python)
        self.prices = Prices(self.services, lambda: self.ledger, self._io)
        self._worker: Worker | None = None
        self._runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self.is_closed = False

    # Service ---------------------------------------------------------------------------------

    @property
    def choice(self) -> ServiceChoice:
        """The current service; chosen at first use.

        Raises:
            MissingCredentials, ConfigError: As `Services.use`.
        """
        return self.services.choice

    @property
    def service_name(self) -> str:
        """The present service's name."""
        return self.choice.name

    # Models ----------------------------------------------------------------------------------

    def schema(self, model: str) -> ModelSchema:
        """Returns the inputs of a model, "owner/name".

        Raises:
            UnknownModel: With near matches. TransportError: the service cannot be asked.
        """
        is_bundled = find_bundled(model) is not None
        return self._known_schema(model) if is_bundled else self._ask(self.services.catalogue().schema(model))

    def models(self, query: str = "", categories: Sequence[str] = (), limit: int = 20) -> tuple[ModelCard, ...]:
        """Lists models of the service that fit; the bundled ones when it cannot be asked."""
        return self._ask(self.services.catalogue().models(query, categories, limit))

    def prepare(
        self, model: str | ModelSchema, values: Mapping[str, object], *, origin: Origin | None = None
    ) -> Prepared:
        """Types values by the model's inputs; what cannot be used is refused before anything is sent.

        Args:
            model: "owner/name", or the model's inputs.
            values: By input: text or Python values. Files may be paths, URLs, bytes, PIL images, arrays, runs.
            origin: Whose notebook relative paths start from; None: the process's folder.

        Raises:
            UnknownModel, InvalidParameter, InvalidFile.
        """
        schema = model if isinstance(model, ModelSchema) else self.schema(model)
        folder = origin.folder if origin is not None else None
        return prepare(schema, resolve_inputs(schema, values, find_run=self.get, folder=folder))

    # Runs ------------------------------------------------------------------------------------

    def submit(
        self, batch: Batch, *, max_cost_usd: Decimal | None = None, out_dir: str | Path | None = None
    ) -> list[Submission]:
        """Returns a run for each request at once: the one that answers it already, or a new one.

        All new runs are on disk when this returns, or none is.

        Args:
            batch: The requests.
            max_cost_usd: Refuse when the forecast of one of them is above, or is unknown.
            out_dir: Folder for the clips, in place of the one beside the notebook.

        Raises:
            BudgetExceeded: One may cost more than `max_cost_usd`, or all more than the budget has.
            InvalidFile, ConfigError: Input files cannot be stored, or clips cannot be saved.
            MissingCredentials, LedgerError: Nothing was written and nothing is sent.
        """
        settings, worker, ledger, origin = self.settings, self._get_worker(), self.ledger, batch.origin
        notebook_dir = origin.folder
        out_folder = out_folder_of(notebook_dir, out_dir or settings.out_dir)
        plans = batch.plan(ledger, self.choice, out_folder)
        rows = ledger.answer_plans(plans, batch.reuse())
        stored: dict[str, Prepared] = {}
        # Price, limits and files concern only what is missing: a run that is there already is never refused.
        if missing := [place for place, plan in enumerate(plans) if rows[place] is plan]:
            requests = [batch.requests[place] for place in missing]
            # The service is asked only where a limit depends on it.
            limits = (max_cost_usd, settings.budget_usd, ledger.get_budget(origin.notebook))
            prices = self.prices.check(requests, max_cost_usd, ask=limits != (None, None, None))
            make_folder(out_folder, origin.scope)
            archive_schema(requests[0].schema, data_dir())
            new = []
            for place, request, price in zip(missing, requests, prices, strict=True):
                stored[plans[place].run_id] = store_inputs(request, notebook_dir)
                new.append(worker.own(replace(plans[place], estimated_usd=price)))
            reuse = batch.reuse(used=[row.run_id for row in rows])
            inserted = ledger.insert_plans(new, budget_usd=settings.budget_usd, reuse=reuse)
            for place, row in zip(missing, inserted, strict=True):
                rows[place] = row
        submissions = []
        for row in rows:
            run, prepared = self._handle(row), stored.get(row.run_id)
            self.follow(run, prepared)
            submissions.append(Submission(run, is_new=prepared is not None))
        return submissions

    def find_made(self, batch: Batch) -> list[Run | None]:
        """Returns for each request the run that already answers it: done, under way or uncertain; or None.

        `submit` asks again, inside the transaction that plans what is missing.
        """
        plans = batch.plan(self.ledger, self.choice, Path())
        rows = self.ledger.answer_plans(plans, batch.reuse())
        return [None if row is plan else self._handle(row) for row, plan in zip(rows, plans, strict=True)]

    def get(self, query: str, notebook: str | None = None) -> Run:
        """Returns the run that an id, its beginning or its short id means.

        Raises:
            UnknownRun: None, or several.
        """
        return self._handle(self.ledger.find(query, notebook))

    def runs(
        self,
        notebook: str | None = None,
        model: str | None = None,
        state: RunState | str | None = None,
        text: str | None = None,
        limit: int | None = 50,
        since: datetime | None = None,
    ) -> list[Run]:
        """Returns the runs that fit all that is given, latest first."""
        rows = self.ledger.list(notebook=notebook, model=model, state=state, text=text, since=since, limit=limit)
        return [self._handle(row) for row in rows]

    def resume(self, notebook: str | None = None) -> list[Run]:
        """Resumes the runs that an earlier process left unfinished; returns them, oldest first."""
        found = [self._handle(row) for row in self.ledger.unfinished(notebook)]
        for run in found:
            self.follow(run)
        self.complete_ended()
        return found

    def complete_ended(self) -> None:
        """Asks the service for the costs and files that ended runs lack; returns at once."""
        with contextlib.suppress(ConfigError, LedgerError):  # without a key nothing can be asked
            for row in self.ledger.incomplete(self.service_name)[:_MOST_INCOMPLETE]:
                pauses_s = (0.0, *self.settings.late_checks_s)
                self._io.call_soon(self._get_worker().finisher.complete, self._handle(row), pauses_s)

    def attach(self, task_id: str, *, origin: Origin | None = None) -> Run:
        """Takes a task into the ledger and follows it; an uncertain run that asked for it adopts it.

        A run that was given up as lost continues when the service knows its task again.

        Raises:
            NotAccessible: The service has no such task for this account.
        """
        task = self._ask(read_task(self.services.connection(self.service_name), task_id))
        row = attach_task(self.ledger, task, self.choice, origin or Origin(), self.settings.out_dir)
        run = self._handle(row)
        if not run.snapshot.state.is_final:
            run._reopen()
            self.follow(run)
        return run

    def budget(self, notebook: str | None = None) -> BudgetState:
        """Returns the budget of a notebook (None: of work outside notebooks), and what of it is used."""
        return self.ledger.read_budget(notebook, self.service_name, self.settings.budget_usd)

    # For handles -----------------------------------------------------------------------------

    def follow(self, run: Run, prepared: Prepared | None = None) -> None:
        """Keeps a run of the ledger up to date; returns at once.

        One that stopped without an end is taken up again: the service is asked about an uncertain one anew, and
        for the files of a success whose download failed.

        Args:
            run: The run.
            prepared: The request of a run that was just planned, with this process's lease on it.
        """
        is_over, lacks_files = run.state.is_final, run.snapshot.lacks_downloads
        if is_over and not (run.done and lacks_files):
            return  # it lacks nothing, or its files are being asked for
        if run.done:
            if self.is_closed:
                return
            run._reopen()
        try:
            worker = self._get_worker()
            if is_over:
                self._io.call_soon(worker.finisher.complete, run)
            else:
                self._io.call_soon(worker.follow, run, prepared)
        except ConfigError:
            if not self.is_closed:
                raise
            run._complete(session_closed_error(run))  # nothing else would wake the waiters

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run; returns at once."""
        if run.snapshot.state.is_final or (run.done and run.snapshot.state is RunState.UNCERTAIN):
            return
        self._io.call_soon(self._get_worker().cancel, run)

    def star(self, run: Run, is_starred: bool) -> None:
        """Marks a run as the best of its sweep, or removes the mark; notifies listeners."""
        sweep_id = run.snapshot.sweep_id if is_starred else None
        siblings = self.ledger.list(sweep_id=sweep_id, limit=None) if sweep_id else ()
        before = [self._handle(row) for row in siblings if row.starred and row.run_id != run.id]
        for changed in before if run.snapshot.starred == is_starred else [*before, run]:
            self.ledger.amend(changed.id, starred=changed is run and is_starred)
            self._io.run(self._get_worker().star(changed, changed is run and is_starred))

    def fetch(self, run: Run) -> None:
        """Downloads a run's files again.

        Raises:
            DownloadFailed: They cannot be had.
        """
        self._io.run(self._get_worker().finisher.fetch(run), timeout_s=_FETCH_TIMEOUT_S)

    def frame_png(self, run: Run, index: int) -> bytes:
        """Returns one picture of a run's clip as PNG, with the same bytes each time; see `take_frame`."""
        kept = notebook_dir_of_row(run.snapshot) / OUTPUTS_FOLDER / INPUTS_FOLDER
        return take_frame(self.ledger, run, index, (kept, cache_dir() / "inputs"))

    def is_io_thread(self) -> bool:
        """True on the thread that must never block."""
        return self._io.is_current

    @property
    def ledger(self) -> Ledger:
        """The ledger; opened at first use.

        Raises:
            LedgerError: It cannot be opened.
        """
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(ledger_path())
            return self._ledger

    def take_notices(self) -> tuple[str, ...]:
        """Returns what to tell the user (a damaged ledger was replaced), once; opens no ledger for it."""
        with self._lock:
            return self._ledger.take_notices() if self._ledger is not None else ()

    def close(self, timeout_s: float = 5.0) -> None:
        """Releases the runs for other processes, and closes connections, thread and sandbox."""
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            worker, ledger = self._worker, self._ledger
        if self._io.is_running:
            with contextlib.suppress(WiroError):
                self._io.run(self._close_on_loop(worker, timeout_s * 0.6), timeout_s=timeout_s)
        self._io.close(timeout_s * 0.4)
        self.services.close_processes()
        if ledger is not None:
            ledger.close()

    # Inside ----------------------------------------------------------------------------------

    def _ask(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._io.run(work, timeout_s=_ASK_TIMEOUT_S)

    def _get_worker(self) -> Worker:
        with self._lock:
            if self.is_closed:
                raise ConfigError("wiro_nb was closed in this process", hint="%load_ext wiro_nb")
            if self._worker is None:
                writer = StateWriter(self.ledger, lambda: self.settings)
                self._worker = Worker(
                    writer,
                    connection_for=self.services.connection,
                    schema_for=self._known_schema,
                    price_of=self.prices.price_of,
                )
            return self._worker

    def _known_schema(self, model: str) -> ModelSchema:
        """Returns the inputs of a model as far as they are known here; sends no request."""
        with contextlib.suppress(ConfigError):  # a bundled model can be shown without a service
            if (known := self.services.catalogue().known_schema(model)) is not None:
                return known
        return find_bundled(model) or free_form_schema(model)

    def _handle(self, row: LedgerRow) -> Run:
        with self._lock:
            run = self._runs.get(row.run_id)
            if run is None:
                run = self._runs[row.run_id] = Run(self, row)
            elif run.done:
                if row.state is not run.snapshot.state:
                    # The row may have been read before the run's last step: what it says now is true of both.
                    row = self.ledger.get(row.run_id)
                run._refresh(row)
            return run

    async def _close_on_loop(self, worker: Worker | None, timeout_s: float) -> None:
        try:
            if worker is not None:
                await worker.close(timeout_s)
        finally:
            await self.services.close_connections()
