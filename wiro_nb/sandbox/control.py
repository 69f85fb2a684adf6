"""What the service does not have: looking into the sandbox's books and turning its knobs, for tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from starlette.requests import Request
from starlette.responses import Response

from wiro_nb.sandbox.endpoints import find_task
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.incoming import read_body
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.wire import Failure, answer

__all__ = ["Control"]


@dataclass(frozen=True)
class Control:
    """The endpoints below `/sandbox`; each needs a project's key."""

    store: Store
    runner: Runner
    faults: Faults
    requests: Counter[str]

    async def audit(self, request: Request) -> Response:
        """The books: balance, slots in use, requests so far, and every task with what it billed."""
        return answer(
            balance_usd=str(self.store.balance_usd),
            busy=self.runner.busy,
            requests=dict(self.requests),
            tasks=self.store.audit(),
        )

    async def set_balance(self, request: Request) -> Response:
        """Sets the balance, for trying slots and an empty account."""
        async with read_body(request) as body:
            try:
                amount = Decimal(body.text("usd"))
            except InvalidOperation as error:
                raise Failure(0, "usd must be an amount") from error
        self.store.set_meta("balance_usd", str(amount))
        return answer(balance_usd=str(amount))

    async def release(self, request: Request) -> Response:
        """Lets a task go on that a `[queue]` or `[hold]` mark holds."""
        async with read_body(request) as body:
            self.runner.release(find_task(self.runner, body))
        return answer()

    async def set_faults(self, request: Request) -> Response:
        """Replaces the faults; an empty spec ends them."""
        async with read_body(request) as body:
            try:
                self.faults.replace(body.text("spec"), body.number("seed", 0))
            except ValueError as error:
                raise Failure(0, str(error)) from error
        return answer()
