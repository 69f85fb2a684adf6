"""What requests cost: the service's pages with prices, forecasts, and limits for one run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING

from wiro_nb.errors import BudgetExceeded, WiroError
from wiro_nb.io_thread import IoThread
from wiro_nb.ledger.history import expected_seconds
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.services.services import Services

if TYPE_CHECKING:
    from wiro_nb.api.answers import ModelDetail
    from wiro_nb.api.pricing import Estimate
    from wiro_nb.schema.values import Prepared

_log = logging.getLogger(__name__)
_ASK_TIMEOUT_S = 45.0
_SHOWN_USD = Decimal("0.0001")


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

    def detail(self, model: str) -> ModelDetail | None:
        """Returns a model's page with its price, or None when the service has none or cannot be asked."""
        try:
            return self._io.run(self._services.catalogue().detail(model), timeout_s=_ASK_TIMEOUT_S)
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
        return self._forecast(requests, self.detail if ask else self._services.catalogue().cached_detail)

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
        detail = await self._services.catalogue().detail(prepared.schema.slug)
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
