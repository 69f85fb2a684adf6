"""Estimates the cost of requests, and decides when the user must confirm before they are sent.

Sweeps, films and `rerun --all` send many runs for one word typed; all ask by the same rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from functools import partial
from typing import TYPE_CHECKING, Protocol

from wiro_nb.config import SWEEP_LIMIT_RUNS, SWEEP_LIMIT_USD
from wiro_nb.errors import BudgetExceeded, ConfirmationNeeded, WiroError
from wiro_nb.io_thread import IoThread
from wiro_nb.ledger.history import expected_seconds
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.schema.values import Prepared
from wiro_nb.services import Services

if TYPE_CHECKING:
    from wiro_nb.api.answers import ModelDetail
    from wiro_nb.api.pricing import Estimate
    from wiro_nb.schema.values import Prepared
    from wiro_nb.session.manager import Manager

_log = logging.getLogger(__name__)
_ASK_TIMEOUT_S = 45.0
_SHOWN_USD = Decimal("0.0001")
_LEAST_USD = Decimal("0.0005")
"""Less than this rounds to nothing."""


class Prices:
    """Prices of the present service. The methods that ask it block with a deadline.

    Args:
        services: Which service is in use.
        ledger: Gives the ledger, which knows how long earlier runs took.
        io_thread: Asks the service.
    """

    def __init__(self, services: Services, ledger: Callable[[], Ledger], io_thread: IoThread) -> None:
        self._services = services
        self._ledger = ledger
        self._io = io_thread

    def detail(self, model: str, *, ask_again: bool = True) -> ModelDetail | None:
        """Returns a model's page with its price, or None; `ask_again` as in `Catalogue.detail`."""
        try:
            return self._io.run(
                self._services.catalogue().detail(model, ask_again=ask_again), timeout_s=_ASK_TIMEOUT_S
            )
        except WiroError as error:
            _log.info("no page of %s: %s", model, error.message)
            return None

    def ask_ahead(self, model: str, then: Callable[[], object]) -> None:
        """Asks for a model's page without waiting; `then` is called on the I/O thread if it comes."""

        async def work() -> None:
            with contextlib.suppress(WiroError):
                await self._services.catalogue().detail(model)
                then()

        self._io.submit(work())

    def estimate(self, prepared: Prepared, *, ask: bool = True) -> Estimate:
        """Forecasts the price of a request; `known` is False when it is unknown.

        Args:
            prepared: The request.
            ask: False sends no request: the cached price of the model is used.
        """
        ((estimate, _),) = self.forecast([prepared], ask=ask)
        return estimate

    def forecast(self, requests: Sequence[Prepared], *, ask: bool = True) -> list[tuple[Estimate, float | None]]:
        """Forecasts price and seconds of work of several requests; asks the service once for each model.

        Args:
            requests: Of any models.
            ask: False sends no request: the cached prices are used.

        Returns:
            For each request its price and how long it should take, None where no earlier run compares.
        """
        ask_once = partial(self.detail, ask_again=False)
        return self._forecast(requests, ask_once if ask else self._services.catalogue().cached_detail)

    def check(self, requests: Sequence[Prepared], limits: Sequence[Decimal], *, ask: bool) -> list[Decimal | None]:
        """Returns the most that each request is expected to cost, in USD, or None when it is unknown.

        Args:
            requests: Of any models.
            limits: The most one of them may cost, in USD.
            ask: As in `forecast`.

        Raises:
            BudgetExceeded: The forecast of one is above a limit, or is unknown.
        """
        costs = [forecast_usd(estimate) for estimate, _ in self.forecast(requests, ask=ask)]
        for cost, limit in itertools.product(costs, limits):
            if cost is None or cost > limit:
                price = "unknown" if cost is None else f"about ${_shown(cost)}"
                raise BudgetExceeded(
                    f"the price of this run is {price}, and at most ${limit:f} was allowed",
                    hint="raise the limit, or leave it out",
                    budget_usd=str(limit),
                    spent_usd="0",
                    estimated_usd=None if cost is None else str(cost),
                )
        return costs

    async def price_of(self, prepared: Prepared) -> Decimal | None:
        """Returns as `check` what a request is expected to cost; for coroutines on the I/O thread.

        Raises:
            WiroError: The service cannot be asked.
        """
        detail = await self._services.catalogue().detail(prepared.schema.slug, ask_again=False)
        ((estimate, _),) = await asyncio.to_thread(self._forecast, [prepared], lambda _: detail)
        return forecast_usd(estimate)

    def _forecast(
        self, requests: Sequence[Prepared], detail_of: Callable[[str], ModelDetail | None]
    ) -> list[tuple[Estimate, float | None]]:
        from wiro_nb.api.pricing import Pricing, estimate

        ledger, service = self._ledger(), self._services.choice.name
        slugs = dict.fromkeys(prepared.schema.slug for prepared in requests)
        known = {slug: (detail_of(slug), ledger.past_runs(slug, service)) for slug in slugs}
        found: list[tuple[Estimate, float | None]] = []
        for prepared in requests:
            detail, past = known[prepared.schema.slug]
            pricing = detail.pricing if detail is not None else Pricing()
            seconds = expected_seconds(past, prepared.parameters)
            found.append((estimate(pricing, prepared.parameters, prepared.files, history_s=seconds), seconds))
        return found


def _shown(cost_usd: Decimal) -> str:
    return format(cost_usd.quantize(_SHOWN_USD, ROUND_UP).normalize(), "f")


def forecast_usd(estimate: Estimate) -> Decimal | None:
    """Returns the most that a request is expected to cost, or None when it is unknown."""
    if not estimate.known:
        return None
    return estimate.low_usd if estimate.high_usd is None else estimate.high_usd


# All runs together ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TotalCost:
    """What the runs that are still to be sent may cost and take.

    Attributes:
        low_usd, high_usd: Together; high is None when it is unknown.
        known: False when the price of at least one run is unknown.
        seconds: Of work in all, or None when no earlier run compares.
    """

    low_usd: Decimal
    high_usd: Decimal | None
    known: bool
    seconds: float | None

    @property
    def most_usd(self) -> Decimal | None:
        """The most it should cost, or None when that is unknown."""
        if not self.known:
            return None
        return self.low_usd if self.high_usd is None else self.high_usd


def total_of(manager: Manager, requests: Sequence[Prepared]) -> TotalCost:
    """Returns the forecasts of these requests added up. Sends nothing."""
    return add_up(manager.prices.forecast(requests))


def add_up(forecasts: Sequence[tuple[Estimate, float | None]]) -> TotalCost:
    """Returns prices and seconds of work from `Prices.forecast` added up."""
    low, high, known, seconds = Decimal(0), Decimal(0), True, 0.0
    has_high = has_seconds = True
    for price, expected in forecasts:
        known = known and price.known
        low += price.low_usd
        has_high = has_high and price.high_usd is not None
        high += price.high_usd or Decimal(0)
        has_seconds = has_seconds and expected is not None
        seconds += expected or 0.0
    return TotalCost(low, high if has_high else None, known, seconds if has_seconds and forecasts else None)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is sent without being asked: US dollars, and runs."""

    usd: Decimal = SWEEP_LIMIT_USD
    runs: int = SWEEP_LIMIT_RUNS


class SendPlan(Protocol):
    """The plan of a sweep or film: the runs that answer parts of it already, and what is missing."""

    @property
    def made(self) -> Mapping[int, object]:
        """Runs by position."""

    @property
    def missing(self) -> Sequence[int]:
        """Positions."""

    @property
    def cost(self) -> TotalCost:
        """Of what is missing."""

    @property
    def free_label(self) -> str:
        """What a free service's price is called, else ""."""


def describe_plan(plan: SendPlan, *, with_time: bool = True) -> str:
    """Returns what a plan would send as text: "6 runs, about $0.24; 2 of 8 already made or under way"."""
    text = describe_total(len(plan.missing), plan.cost, plan.free_label, with_time=with_time)
    made, count = len(plan.made), len(plan.made) + len(plan.missing)
    return f"{text}; {made} of {count} already made or under way" if made else text


def require_confirmation(
    count: int, cost: TotalCost, limits: Limits | None, *, is_free: bool, summary: str
) -> None:
    """Refuses so many runs, or so much money, that the user should confirm first.

    On a free service only the number of runs counts: nothing is billed there, but this machine does the work.

    Args:
        count: Runs to be sent.
        cost: Of all of them.
        limits: None where the user confirmed already.
        is_free: True where nothing is billed.
        summary: What would be sent; the reason is put behind it.

    Raises:
        ConfirmationNeeded: More runs or US dollars than `limits`, or an unknown price.
    """
    if limits is None:
        return
    reason = ""
    if count > limits.runs:
        reason = f"more than {limits.runs} run{'' if limits.runs == 1 else 's'}"
    elif count and not is_free and cost.most_usd is None:
        reason = "their price is unknown"
    elif count and not is_free and cost.most_usd is not None and cost.most_usd > limits.usd:
        reason = f"more than ${limits.usd}"
    if reason:
        raise ConfirmationNeeded(
            f"{summary}: {reason}",
            runs=count,
            low_usd=str(cost.low_usd) if cost.known else None,
            high_usd=str(cost.high_usd) if cost.known and cost.high_usd is not None else None,
        )


def confirm_plan(plan: SendPlan, limits: Limits | None, *, what: str) -> None:
    """Refuses a plan that the user should confirm first; raises as `require_confirmation`.

    Args:
        plan: Of a sweep or film.
        limits: None where the user confirmed already.
        what: "this sweep" or "this film".
    """
    summary = f"{what} would send {describe_plan(plan)}"
    require_confirmation(len(plan.missing), plan.cost, limits, is_free=bool(plan.free_label), summary=summary)


def confirm_total(manager: Manager, requests: Sequence[Prepared], limits: Limits | None) -> str:
    """Asks for confirmation before many runs, or expensive ones, are sent; a single one needs none.

    Args:
        manager: Knows the prices.
        requests: All that would be sent.
        limits: None where the user confirmed already.

    Returns:
        Number, price, time and service of them all as text.

    Raises:
        ConfirmationNeeded: As in `require_confirmation`.
    """
    cost, choice = total_of(manager, requests), manager.choice
    summary = f"{describe_total(len(requests), cost, choice.free_label)}, on {manager.service_name}"
    if len(requests) > 1:
        would = f"that would send {summary}"
        require_confirmation(len(requests), cost, limits, is_free=choice.is_free, summary=would)
    return summary


def describe_total(count: int, cost: TotalCost, free: str, *, with_time: bool = True) -> str:
    """Returns number, price (or a free service's label) and time: "6 runs, about $0.24, about 1:30 of work"."""
    parts = [f"{count:,} run" if count == 1 else f"{count:,} runs"]
    if count:
        parts.append(format_total(cost, free))
        if with_time and cost.seconds is not None and cost.seconds >= 0.5:
            parts.append(f"about {_clock(cost.seconds)} of work")
    return ", ".join(parts)


def format_total(cost: TotalCost, free: str) -> str:
    """Returns the price of all runs together as text; `free` is the label of a free service, else ""."""
    if not cost.known:
        price = "price unknown"
    elif cost.high_usd is not None and cost.high_usd != cost.low_usd:
        price = f"{_usd(cost.low_usd)} to {_usd(cost.high_usd)}"
    else:
        price = ("" if 0 < cost.low_usd < _LEAST_USD else "about ") + _usd(cost.low_usd)
    if free and not cost.high_usd:
        return free
    return f"{free} (simulated price: {price})" if free else price


def _usd(amount: Decimal) -> str:
    if 0 < amount < _LEAST_USD:
        return "under $0.001"
    return f"${amount:,.3f}" if amount < Decimal("0.1") else f"${amount:,.2f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
