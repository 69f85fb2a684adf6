"""Estimates the cost of requests, and decides when the user must confirm before they are sent.

Sweeps, films and `rerun --all` send many runs for one word typed; all ask by the same rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from wiro_nb.api.pricing import Estimate, Pricing, estimate
from wiro_nb.config import SWEEP_LIMIT_RUNS, SWEEP_LIMIT_USD
from wiro_nb.errors import BudgetExceeded, ConfirmationNeeded, WiroError
from wiro_nb.formatting import format_count, format_duration, format_estimate
from wiro_nb.io_thread import IoThread
from wiro_nb.ledger.budget import format_rounded_up
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.queries import expected_seconds
from wiro_nb.schema.values import Prepared
from wiro_nb.services import Services

if TYPE_CHECKING:
    from wiro_nb.api.answers import ModelDetail
    from wiro_nb.session.manager import Manager

_log = logging.getLogger(__name__)
_ASK_TIMEOUT_S = 45.0


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
        """Forecasts price and seconds of work of a request; `ask` as in `forecast`."""
        return self.forecast([prepared], ask=ask)[0]

    def forecast(self, requests: Sequence[Prepared], *, ask: bool = True) -> list[Estimate]:
        """Forecasts price and seconds of work of several requests; asks the service once for each model.

        Args:
            requests: Of any models.
            ask: False sends no request: the cached prices are used.
        """
        ask_once = partial(self.detail, ask_again=False)
        return self._forecast(requests, ask_once if ask else self._services.catalogue().cached_detail)

    def check(self, requests: Sequence[Prepared], limit: Decimal | None, *, ask: bool) -> list[Decimal | None]:
        """Returns the most that each request is expected to cost, in USD, or None when it is unknown.

        Args:
            requests: Of any models.
            limit: The most one of them may cost, in USD, or None.
            ask: As in `forecast`.

        Raises:
            BudgetExceeded: The forecast of one is above the limit, or is unknown.
        """
        costs = [estimate.most_usd for estimate in self.forecast(requests, ask=ask)]
        for cost in costs:
            if limit is not None and (cost is None or cost > limit):
                price = "unknown" if cost is None else f"about {format_rounded_up(cost)}"
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
        (found,) = await asyncio.to_thread(self._forecast, [prepared], lambda _: detail)
        return found.most_usd

    def _forecast(
        self, requests: Sequence[Prepared], detail_of: Callable[[str], ModelDetail | None]
    ) -> list[Estimate]:
        ledger, service = self._ledger(), self._services.choice.name
        slugs = dict.fromkeys(prepared.schema.slug for prepared in requests)
        known = {slug: (detail_of(slug), ledger.past_runs(slug, service)) for slug in slugs}
        found: list[Estimate] = []
        for prepared in requests:
            detail, past = known[prepared.schema.slug]
            pricing = detail.pricing if detail is not None else Pricing()
            seconds = expected_seconds(past, prepared.parameters)
            price = estimate(pricing, prepared.parameters, prepared.files, history_s=seconds)
            found.append(replace(price, seconds=seconds))
        return found


# All runs together ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is sent without being asked: US dollars, and runs."""

    usd: Decimal = SWEEP_LIMIT_USD
    runs: int = SWEEP_LIMIT_RUNS


@dataclass(frozen=True, slots=True)
class Total:
    """All that a sweep, a film or several replays would send.

    Attributes:
        count: Runs that would be sent.
        cost: Price and time of all of them; unknown when that of one is.
        free_label: What a free service's price is called, else "".
        made: Further parts that runs answer already.
    """

    count: int
    cost: Estimate
    free_label: str
    made: int = 0

    @classmethod
    def of(cls, estimates: Sequence[Estimate], free_label: str, made: int = 0) -> Total:
        """Adds up estimates, one for each run that would be sent."""
        highs, seconds = ([getattr(item, name) for item in estimates] for name in ("high_usd", "seconds"))
        cost = Estimate(
            sum((item.low_usd for item in estimates), Decimal(0)),
            None if None in highs else sum(highs, Decimal(0)),
            "",
            all(item.known for item in estimates),
            None if None in seconds or not seconds else sum(seconds),
        )
        return cls(len(estimates), cost, free_label, made)

    @property
    def price(self) -> str:
        """The price of all runs together as text; that of a free service is simulated."""
        price = format_estimate(self.cost)
        if self.free_label and not self.cost.high_usd:
            return self.free_label
        return f"{self.free_label} (simulated price: {price})" if self.free_label else price

    def describe(self, *, with_time: bool = True) -> str:
        """Returns "6 runs, about $0.24, about 1:30 of work; 2 of 8 already made or under way"."""
        text, seconds = format_count(self.count, "run"), self.cost.seconds
        if self.count:
            text += f", {self.price}"
            if with_time and seconds is not None and seconds >= 0.5:
                text += f", about {format_duration(seconds)} of work"
        return f"{text}; {self.made} of {self.made + self.count} already made or under way" if self.made else text

    def describe_sent(self, parts: str) -> str:
        """Returns as a sentence what is sent, without the time; or that all parts ("clips") are made."""
        if not self.count:
            return f"All {parts} already made. No charge. To run them again: --fresh"
        return f"{self.describe(with_time=False)}."

    def confirm(self, limits: Limits | None, summary: str) -> None:
        """Refuses so many runs, or so much money, that the user should confirm first.

        On a free service only the number of runs counts: nothing is billed there, but this machine does the work.

        Args:
            limits: None where the user confirmed already.
            summary: What would be sent; the reason is put behind it.

        Raises:
            ConfirmationNeeded: More runs or US dollars than `limits`, or an unknown price.
        """
        if limits is None:
            return
        cost, most, reason = self.cost, self.cost.most_usd, ""
        if self.count > limits.runs:
            reason = f"more than {format_count(limits.runs, 'run')}"
        elif self.count and not self.free_label and (most is None or most > limits.usd):
            reason = "their price is unknown" if most is None else f"more than ${limits.usd}"
        if reason:
            raise ConfirmationNeeded(
                f"{summary}: {reason}",
                runs=self.count,
                low_usd=str(cost.low_usd) if cost.known else None,
                high_usd=str(cost.high_usd) if cost.known and cost.high_usd is not None else None,
            )


def confirm_total(manager: Manager, requests: Sequence[Prepared], limits: Limits | None) -> str:
    """Asks for confirmation before many runs, or expensive ones, are sent; a single one needs none.

    Args:
        manager: Knows the prices.
        requests: All that would be sent.
        limits: None where the user confirmed already.

    Returns:
        Number, price, time and service of them all as text.

    Raises:
        ConfirmationNeeded: As in `Total.confirm`.
    """
    total = Total.of(manager.prices.forecast(requests), manager.choice.free_label)
    summary = f"{total.describe()}, on {manager.choice.name}"
    if len(requests) > 1:
        total.confirm(limits, f"that would send {summary}")
    return summary
