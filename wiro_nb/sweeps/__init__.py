"""Sweeps: many runs of one model that differ in a few inputs, with one handle.

A sweep has no state of its own: its runs are rows of the ledger like any others.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.display_registry import present
from wiro_nb.errors import MissingExtra, RunCancelled, RunFailed, TimedOut, UnknownRun
from wiro_nb.execution.run import Run
from wiro_nb.formatting import tally
from wiro_nb.ledger.state import Stage
from wiro_nb.sweeps.plan import SweepPlan

if TYPE_CHECKING:
    from wiro_nb.session.manager import Manager


class Sweep:
    """The handle of a sweep: iterate over its runs, wait, compare, pick the best. Safe from any thread.

    Args:
        manager: That follows the runs.
        plan: What was started.
        runs: One for each point.
    """

    def __init__(self, manager: Manager, plan: SweepPlan, runs: Sequence[Run]) -> None:
        self._manager = manager
        self.plan = plan
        self.runs: tuple[Run, ...] = tuple(runs)

    @classmethod
    def start(
        cls,
        manager: Manager,
        plan: SweepPlan,
        *,
        max_cost_usd: Decimal | None = None,
        out_dir: str | None = None,
        parents: Sequence[Mapping[str, Any] | None] = (),
    ) -> Sweep:
        """Sends what is missing and returns the handle at once; every intent is on disk when it returns.

        Args:
            manager: Sends them.
            plan: From `plan_sweep`.
            max_cost_usd: Refuse when one run may cost more.
            out_dir: Folder of the clips; beside the notebook when None.
            parents: For each point the run it continues, or empty.

        Raises:
            BudgetExceeded: Together they would go over the budget; then none is sent.
        """
        batch = replace(plan.batch, parents=parents)
        sent = manager.submit(batch, max_cost_usd=max_cost_usd, out_dir=out_dir)
        return cls(manager, plan, [submission.run for submission in sent])

    # What it is ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The same for the same sweep in the same notebook."""
        return self.plan.sweep_id

    @property
    def model(self) -> str:
        """The model's slug."""
        return self.plan.schema.slug

    @property
    def points(self) -> tuple[dict[str, object], ...]:
        """The values that vary, one mapping for each run."""
        return tuple(dict(point) for point in self.plan.points)

    @property
    def done(self) -> bool:
        """True when nothing changes any more without a call by the user."""
        return all(run.done for run in self.runs)

    @property
    def failed(self) -> list[Run]:
        """The runs that gave no result and were not cancelled."""
        return [run for run in self.runs if run.done and run.error and not isinstance(run.error, RunCancelled)]

    @property
    def cost_usd(self) -> Decimal:
        """What its runs were billed, those of an earlier time included."""
        return sum((run.cost_usd or Decimal(0) for run in self.runs), Decimal(0))

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, index: int) -> Run:
        """Returns a run by its place, from 0."""
        return self.runs[index]

    def at(self, **values: object) -> Run:
        """Returns the run of a point: `sweep.at(seed=3, loraType="ZoomIn")`.

        Raises:
            UnknownRun: No point has these values, or several have.
        """
        wanted = {name: str(value) for name, value in values.items()}
        found = [
            run
            for run, point in zip(self.runs, self.plan.points, strict=True)
            if all(wanted[name] in (str(point.get(name)), str(run.parameters.get(name))) for name in wanted)
        ]
        if len(found) != 1:
            wanted_text = ", ".join(f"{name}={value}" for name, value in wanted.items())
            raise UnknownRun(
                f"{len(found) or 'no'} points of this sweep have {wanted_text}",
                hint="sweep.points lists them",
                query=wanted_text,
                near=[run.id for run in found[:5]],
            )
        return found[0]

    # The favourite ---------------------------------------------------------------------------

    @property
    def best(self) -> Run | None:
        """The run picked as the best, or None. Assign a run or its position to pick it, None to clear it."""
        return next((run for run in self.runs if run.snapshot.starred), None)

    @best.setter
    def best(self, chosen: Run | int | None) -> None:
        run = self.runs[chosen] if isinstance(chosen, int) else chosen
        if run is not None and all(run.id != own.id for own in self.runs):
            raise UnknownRun(f"run {run.short_id} is not one of this sweep", query=run.id, near=[])
        for own in self.runs:
            self._manager.star(own, run is not None and own.id == run.id)

    # Waiting and stopping --------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None, *, check: bool = True) -> Sweep:
        """Waits until every run has ended. A failed one does not stop the waiting for the rest.

        Args:
            timeout_s: Seconds; None waits to the end.
            check: True raises when a run failed, after all have ended.

        Raises:
            TimedOut: The time is over; the runs continue.
            WaitInterrupted: The wait was interrupted; the runs continue.
            RunFailed: With `check`: the message counts and names the failed ones.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for run in self.runs:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                run.wait(left, check=False)
            except TimedOut:
                raise self._out_of_time(timeout_s) from None
        return self._checked() if check else self

    async def wait_async(self, *, check: bool = True) -> Sweep:
        """Waits as `wait` does, for callers inside a coroutine."""
        for run in self.runs:
            await run.wait_async(check=False)
        return self._checked() if check else self

    def __await__(self) -> Generator[Any, None, Sweep]:
        """Waits on any asyncio loop; raises as `wait` does."""
        return self.wait_async().__await__()

    def cancel(self, *, waiting_only: bool = False) -> Sweep:
        """Asks for the end of the runs that are not over, and returns at once.

        Args:
            waiting_only: True spares those that already work; what has not begun costs nothing.
        """
        for run in self.runs:
            if not run.done and not (waiting_only and not is_waiting(run)):
                run.cancel()
        return self

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back when a run changes (on the I/O thread); returns what ends the calls."""
        stops = ExitStack()
        for run in self.runs:
            stops.callback(run.on_change(lambda _snapshot: callback()))
        return stops.close

    # What comes out --------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Returns one mapping a run: the varied values, run, status, seed, seconds, cost, file, best."""
        listed = []
        for run, point in zip(self.runs, self.plan.points, strict=True):
            facts = {
                "run": run.short_id,
                "status": run.status,
                "seed": (run.snapshot.seed or {}).get("value"),
                "elapsed_s": run.snapshot.elapsed_s,
                "estimated_usd": run.estimate,
                "cost_usd": run.cost_usd,
                "path": str(run.path) if run.path else None,
                "best": run.snapshot.starred,
            }
            listed.append({**point, **{name: value for name, value in facts.items() if name not in point}})
        return listed

    def to_pandas(self) -> Any:
        """Returns `rows()` as a pandas DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise MissingExtra(
                "a table of a sweep needs the package pandas; sweep.rows() gives the same as plain values",
                hint="pip install pandas",
                billed="",
                extra="",
                package="pandas",
            ) from None
        return pandas.DataFrame(self.rows())

    def show(self) -> None:
        """Shows the grid in the notebook."""
        present("sweep", self)

    def __repr__(self) -> str:
        varied = ", ".join(f"{axis.name} ({len(axis)})" for axis in self.plan.axes)
        best = f", best {self.best.short_id}" if self.best is not None else ""
        return f"<Sweep {self.model} over {varied}: {self.tally()}{best}>"

    def tally(self) -> str:
        """Returns "4 done, 1 failed, 1 generating"."""
        return tally(run.snapshot for run in sorted(self.runs, key=lambda run: -run.snapshot.stage.rank))

    def _ipython_display_(self) -> None:
        present("sweep", self, is_value=True)

    def _checked(self) -> Sweep:
        failed = self.failed
        if not failed:
            return self
        if len(self.runs) == 1 and failed[0].error is not None:
            raise failed[0].error
        reasons = [f"{run.short_id}: {run.error.message}" for run in failed[:5] if run.error is not None]
        raise RunFailed(
            f"{len(failed)} of {len(self.runs)} runs of this sweep gave no result; the others are done",
            details=reasons,
            hint="run the cell again: only what is missing is sent",
            run_id=failed[0].id,
        )

    def _out_of_time(self, timeout_s: float | None) -> TimedOut:
        left = sum(not run.done for run in self.runs)
        return TimedOut(
            f"{left} of {len(self.runs)} runs are not done after {timeout_s:g} s; they continue",
            hint="%wiro wait",
            billed="",
        )


def is_waiting(run: Run) -> bool:
    """True while a run has not begun to work: ending it then costs nothing and loses nothing."""
    return not run.done and run.snapshot.stage in (Stage.WAITING, Stage.QUEUED)
