"""A wish to cancel, written down: it outlives the process that was told, and reaches the one that has the run.

For the I/O thread. What is submitted is ended at the service, by `watch`.
"""

from __future__ import annotations

import logging

from wiro_nb.errors import LedgerError
from wiro_nb.execution.active_run import Desk, cancelled_before_sending, error_to_dict, settle_from_row, utc_now
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState

_log = logging.getLogger(__name__)


async def note_wish(desk: Desk, run: Run) -> None:
    """Writes into the ledger that the person wants the end of a run; a ledger that cannot be written is logged."""
    try:
        # The handle keeps its row: the step that the run takes at this moment may be newer than this one.
        await desk.ledger_call(lambda: desk.ledger.ask_to_cancel(run.id, utc_now()))
    except LedgerError as error:
        _log.warning("the cancel of run %s was not written down: %s", run.short_id, error.message)


async def drop_plan(desk: Desk, run: Run, owner: str, lease_s: float) -> None:
    """Ends a planned run that no process works on; nothing happens when one does, or when it was sent.

    Args:
        desk: Where changes pass.
        run: Whose row says planned.
        owner: This process.
        lease_s: For how long it takes the run.
    """
    ledger = desk.ledger
    if run.row.state is not RunState.PLANNED:
        return
    if not await desk.ledger_call(lambda: ledger.claim(run.id, owner, utc_now(), lease_s)):
        return
    error = cancelled_before_sending(run)
    run._row = await desk.ledger_call(
        lambda: ledger.finish(
            run.id,
            RunState.CANCELLED,
            finished_at=utc_now(),
            error=error_to_dict(error),
            message=error.message,
        )
    )
    settle_from_row(run)
