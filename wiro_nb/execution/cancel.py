"""A wish to cancel, written down: it outlives the process that was told, and reaches the one that has the run.

For the I/O thread. What is submitted is ended at the service, by `watch`.
"""

from __future__ import annotations

import logging

from wiro_nb.errors import LedgerError
from wiro_nb.execution.active_run import (
    StateWriter,
    cancelled_before_sending,
    complete_from_row,
    error_to_dict,
    utc_now,
)
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState

_log = logging.getLogger(__name__)


async def request_cancel(writer: StateWriter, run: Run) -> None:
    """Writes into the ledger that the person wants the end of a run; a ledger that cannot be written is logged."""
    try:
        # The handle keeps its row: the step that the run takes at this moment may be newer than this one.
        await writer.ledger_call(lambda: writer.ledger.request_cancel(run.id, utc_now()))
    except LedgerError as error:
        _log.warning("the cancel of run %s was not written down: %s", run.short_id, error.message)


async def cancel_unsent(writer: StateWriter, run: Run, owner: str, lease_s: float) -> None:
    """Ends a planned run that no process works on; nothing happens when one does, or when it was sent.

    Args:
        writer: Where changes pass.
        run: Whose row says planned.
        owner: This process.
        lease_s: For how long it takes the run.
    """
    ledger = writer.ledger
    if run.row.state is not RunState.PLANNED:
        return
    if not await writer.ledger_call(lambda: ledger.claim(run.id, owner, utc_now(), lease_s)):
        return
    error = cancelled_before_sending(run)
    run._row = await writer.ledger_call(
        lambda: ledger.finish(
            run.id,
            RunState.CANCELLED,
            finished_at=utc_now(),
            error=error_to_dict(error),
            message=error.message,
        )
    )
    complete_from_row(run)
