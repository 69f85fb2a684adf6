"""What `%wiro` shows: service, account, budget and the runs in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from wiro_nb.ledger.state import Snapshot
from wiro_nb.presentation.formatting import format_budget
from wiro_nb.presentation.output import Output, compose, facts, heading, next_steps
from wiro_nb.presentation.status import DONE, tally


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Service and account of a notebook.

    Attributes:
        service: Name of the service.
        is_sandbox: True when nothing costs money.
        account: Where the key comes from.
        spent_usd: In this notebook.
        budget_usd: Its budget, or None.
        in_flight: Unfinished runs of this notebook.
        files: What its finished runs keep on disk.
        notes: Further lines.
    """

    service: str
    is_sandbox: bool
    account: str
    spent_usd: Decimal
    budget_usd: Decimal | None
    in_flight: Sequence[Snapshot] = ()
    files: str = ""
    notes: tuple[str, ...] = ()


def status_output(status: AccountStatus) -> Output:
    """Returns the answer of `%wiro`."""
    service = "sandbox: local, free, no account" if status.is_sandbox else status.service
    budget = "nothing to spend in the sandbox"
    if not status.is_sandbox or status.budget_usd is not None:
        budget = format_budget(status.spent_usd, status.budget_usd)
        budget += " (make-believe money: the sandbox costs nothing)" if status.is_sandbox else ""
    now = tally(status.in_flight) or "no runs in flight"
    rows = [("Service", service), ("Account", status.account), ("Budget", budget), ("Now", now)]
    rows += [("Files", status.files)] if status.files else []
    rows += [("Note", note) for note in status.notes]
    other = ("%wiro use sandbox", "for free practice")
    if status.is_sandbox:
        other = ("%wiro login", "to use your Wiro account")
    return compose(
        heading("Ready", status=DONE),
        facts(rows),
        next_steps(
            ("%wiro models", "to browse"),
            ("%wiro form MODEL", "to fill in a form"),
            other,
            ("%wiro help", "for everything"),
        ),
    )
