"""Values worked out before a run is planned: its folders, its price, how long it should take."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.errors import NOTHING_SENT, BudgetExceeded, ConfigError
from wiro_nb.execution.requests import notebook_dir_of
from wiro_nb.ledger.history import expected_seconds
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.recovery import remember_folder
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.provenance.reading import is_there

if TYPE_CHECKING:
    from wiro_nb.api.answers import ModelDetail
    from wiro_nb.api.pricing import Estimate
    from wiro_nb.schema.values import Prepared


def notebook_dir_of_row(row: LedgerRow) -> Path:
    """Returns the folder that a run's output paths start from."""
    if row.notebook is None and row.scope is not None:
        return Path(row.scope).parent
    if row.notebook or not row.folder:
        return notebook_dir_of(row.notebook)
    # Earlier versions did not note the folder; by default they saved two levels below it.
    return Path(row.folder).parent.parent


def out_folder_of(home: Path, out_dir: str | Path) -> Path:
    """Returns the folder of all runs' folders; raises ConfigError for "~name" of nobody on this machine."""
    try:
        return home / Path(out_dir).expanduser()
    except RuntimeError:
        raise _not_writable(
            f"the folder {str(out_dir)[:80]} cannot be written: its user is not known here"
        ) from None


def make_folder(folder: Path, scope: str | None) -> None:
    """Makes the folder of all runs' folders and notes what for: better refused now than after paying.

    Raises:
        ConfigError: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        is_file = is_there(folder) and folder.is_file()
        name = folder.name[:80]
        raise _not_writable(f"{name} is a file" if is_file else f"the folder {name} cannot be written")
    remember_folder(folder, scope or "")


def _not_writable(problem: str) -> ConfigError:
    return ConfigError(
        f"clips cannot be saved: {problem}",
        hint="%config WiroMagics.out_dir = 'FOLDER', a folder you can write to",
        billed=NOTHING_SENT,
    )


def forecast_usd(estimate: Estimate) -> Decimal | None:
    """Returns the most that a request is expected to cost, or None when it is unknown."""
    if not estimate.known:
        return None
    return estimate.low_usd if estimate.high_usd is None else estimate.high_usd


_SHOWN_USD = Decimal("0.0001")


def check_costs(estimates: Sequence[Estimate], limits: Sequence[Decimal]) -> None:
    """Refuses requests when the forecast of one is above a limit, or is unknown.

    Raises:
        BudgetExceeded: So it is.
    """
    for estimate, limit in itertools.product(estimates, limits):
        cost = forecast_usd(estimate)
        if cost is None or cost > limit:
            price = "unknown" if cost is None else f"about ${cost.quantize(_SHOWN_USD, ROUND_UP).normalize():f}"
            raise BudgetExceeded(
                f"the price of this run is {price}, and at most ${limit:f} was allowed",
                hint="raise the limit, or leave it out",
                budget_usd=str(limit),
                spent_usd="0",
                estimated_usd=None if cost is None else str(cost),
            )


def forecast_requests(
    ledger: Ledger,
    service: str,
    requests: Sequence[Prepared],
    detail_of: Callable[[str], ModelDetail | None],
) -> list[tuple[Estimate, float | None]]:
    """Forecasts price and seconds of work of requests; None where no earlier run compares.

    Args:
        ledger: Knows how long earlier runs took.
        service: Name of the service.
        requests: Of any models.
        detail_of: Returns a model's page with its prices; called once for each model.
    """
    from wiro_nb.api.pricing import Pricing, estimate

    slugs = dict.fromkeys(prepared.schema.slug for prepared in requests)
    known = {slug: (detail_of(slug), ledger.past_runs(slug, service)) for slug in slugs}
    found: list[tuple[Estimate, float | None]] = []
    for prepared in requests:
        detail, past = known[prepared.schema.slug]
        pricing = detail.pricing if detail is not None else Pricing()
        seconds = expected_seconds(past, prepared.parameters)
        found.append((estimate(pricing, prepared.parameters, prepared.files, history_s=seconds), seconds))
    return found
