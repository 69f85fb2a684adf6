"""What the ledger answers. The half of `Ledger` that never writes, apart so that each half stays readable."""

from __future__ import annotations

import builtins
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from wiro_nb.errors import UnknownRun
from wiro_nb.ledger import audit, queries
from wiro_nb.ledger.database import Database
from wiro_nb.ledger.history import PastRun
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunState

_PAST_KEPT_S = 1.0


class LedgerReader:
    """Questions to the ledger.

    Args:
        database: The open file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._past: dict[tuple[str, str, int], tuple[float, tuple[PastRun, ...]]] = {}

    def together(self, calls: Sequence[Callable[[], Any]]) -> builtins.list[Any] | None:
        """Makes several calls of this ledger in one transaction; see `Database.together`."""
        return self._database.together(calls)

    def get(self, run_id: str) -> LedgerRow:
        """Returns the row of a whole id.

        Raises:
            UnknownRun: There is none.
        """
        return self._database.read(lambda connection: get_row(connection, run_id))

    def find(self, query: str, notebook: str | None = None) -> LedgerRow:
        """Returns the one run that an id, a prefix or a short id means; the notebook's own runs come first.

        Raises:
            UnknownRun: None, or several; `near` has ids to choose from.
        """
        return self._database.read(lambda connection: queries.find(connection, query, notebook))

    def find_task(self, service: str, base_url: str, task_id: str) -> LedgerRow | None:
        """Returns the run that owns a task of a service, or None."""
        return self._database.read(lambda connection: queries.find_task(connection, service, base_url, task_id))

    def find_done(self, request_sha256: str, service: str, notebook: str | None) -> LedgerRow | None:
        """Returns the latest success of this very request in this notebook, or None."""
        return self._database.read(
            lambda connection: queries.find_done(connection, request_sha256, service, notebook)
        )

    def find_maker(self, sha256: str) -> queries.Made | None:
        """Returns which run made a file of this content, or the clip it is a frame of; None when none did."""
        return self._database.read(lambda connection: queries.find_maker(connection, sha256))

    def find_output_url(self, url: str) -> LedgerRow | None:
        """Returns the latest run with an output that the service served at this address, or None."""
        return self._database.read(lambda connection: queries.find_output_url(connection, url))

    def unfinished(self, notebook: str | None = None, service: str | None = None) -> tuple[LedgerRow, ...]:
        """Returns the runs that are not over, oldest first."""

        def work(connection: sqlite3.Connection) -> tuple[LedgerRow, ...]:
            return queries.select(connection, notebook=notebook, service=service, states=queries.UNFINISHED)

        return self._database.read(work)[::-1]

    def list(
        self,
        *,
        notebook: str | None = None,
        model: str | None = None,
        state: RunState | str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        service: str | None = None,
        parent: str | None = None,
        limit: int | None = 50,
    ) -> tuple[LedgerRow, ...]:
        """Returns the runs that fit all that is given, latest first. `text` looks in ids, model and parameters."""
        states = () if state is None else (str(state),)

        def work(connection: sqlite3.Connection) -> tuple[LedgerRow, ...]:
            return queries.select(
                connection,
                notebook=notebook,
                model=model,
                states=states,
                text=text,
                since=since,
                service=service,
                parent=parent,
                limit=limit,
            )

        return self._database.read(work)

    def spent(
        self, notebook: str | None = None, service: str | None = None, since: datetime | None = None
    ) -> Decimal:
        """Returns what was billed, in USD; forgotten runs count. `notebook` None: everywhere."""
        return self._money(notebook, service, since)[0]

    def reserved(
        self, notebook: str | None = None, service: str | None = None, since: datetime | None = None
    ) -> Decimal:
        """Returns the estimates of runs in flight, and of successes whose price is not known yet, in USD."""
        return self._money(notebook, service, since)[1]

    def spending(self, by: str, *, service: str | None = None) -> tuple[queries.Spending, ...]:
        """Returns what was billed by "model", "day" (UTC) or "notebook"; largest first, days newest first."""
        return self._database.read(lambda connection: queries.spending(connection, by, service))

    def get_budget(self, notebook: str | None) -> Decimal | None:
        """Returns a notebook's budget in USD (None: of work outside notebooks), or None when none is set."""
        return self._database.read(lambda connection: queries.budget(connection, notebook))

    def _money(self, notebook: str | None, service: str | None, since: datetime | None) -> tuple[Decimal, Decimal]:
        return self._database.read(
            lambda connection: queries.money(
                connection, notebook=notebook, everywhere=notebook is None, service=service, since=since
            )
        )

    def past_runs(self, model: str, service: str, limit: int = 50) -> tuple[PastRun, ...]:
        """Returns how long the latest successful runs of a model took, latest first.

        What was read within the last second is given again until a run of this process ends: many requests planned
        at once need one answer.
        """
        kept = self.kept_past_runs(model, service, limit)
        if kept is None:
            asked_at = time.monotonic()
            kept = self._database.read(lambda connection: queries.past_runs(connection, model, service, limit))
            self._past[model, service, limit] = asked_at, kept
        return kept

    def kept_past_runs(self, model: str, service: str, limit: int = 50) -> tuple[PastRun, ...] | None:
        """Returns what `past_runs` would give without reading the file, or None when it has to be read."""
        asked_at, found = self._past.get((model, service, limit), (-math.inf, None))
        return found if time.monotonic() - asked_at < _PAST_KEPT_S else None

    def history_seconds(self, model: str, service: str, signature: str, limit: int = 20) -> builtins.list[float]:
        """Returns the seconds of work of the latest successes with this work signature, latest first."""
        return [run.elapsed_s for run in self.past_runs(model, service, 500) if run.signature == signature][:limit]

    def verify(self) -> audit.Report:
        """Checks the file, and reads and hashes again every output that was saved.

        A damaged file is replaced on the way, as at any other moment; `take_notices` then tells of it.
        """
        integrity = self._database.read(audit.check_integrity)
        if integrity != "ok":
            self._database.rescue()
        return audit.check_media(self.list(limit=None), integrity)

    def export_lines(self) -> Iterator[str]:
        """Gives every run as one line of JSON, without tokens and without what concerns this machine only."""
        yield from (audit.export_line(row) for row in self.list(limit=None))

    def take_notices(self) -> tuple[str, ...]:
        """Returns what the person must be told (a damaged ledger was replaced), once."""
        return self._database.take_notices()


def get_row(connection: sqlite3.Connection, run_id: str) -> LedgerRow:
    """Returns the row of a whole id.

    Raises:
        UnknownRun: There is none.
    """
    row = queries.get(connection, run_id)
    if row is None:
        raise unknown_run(run_id)
    return row


def unknown_run(run_id: str) -> UnknownRun:
    """Returns the error that no run has this whole id."""
    return UnknownRun(f"No run {run_id!r} in the ledger.", query=run_id, near=[])
