"""A sweep from a notebook: started by `wiro_nb.sweep` or a cell, shown as a live grid and as its static output.

A grid stays open after the last run, because its clips are played in it. The same output carries the static form
beside the widget's view: it is updated at the end, and shown without a kernel and in an untrusted notebook.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.live import LiveView, presenter, read_position
from wiro_nb.notebook.run.display import gone_note, is_settled, read_poster, rebase_outputs
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, origin_of, parent_of
from wiro_nb.notebook.session import current_context, session
from wiro_nb.notebook.sweep.rendering import grid_plan, head_data, render_sweep, sweep_tiles
from wiro_nb.presentation.output import Output
from wiro_nb.sweeps import Sweep
from wiro_nb.sweeps.plan import Grid, SweepPlan, plan_sweep

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import SweepGrid


def sweep(
    model: str,
    grid: Grid | None = None,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    zip: bool = False,
    yes: bool = False,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    **fixed: Any,
) -> Sweep:
    """Runs a model once for every point of a grid and returns the handle of all runs.

    Args:
        model: "owner/name".
        grid: Values by input: a list, a range, or text such as "1..6" or "0.5..2..0.5". Several multiply.
        inputs: The inputs that all runs share as a mapping, for those whose names are options here.
        zip: True takes the first values together, then the second ones, and so on.
        yes: True sends a large sweep too. Without it more than 12 runs, more than 1 USD (both are settings:
            `%config WiroMagics`) or an unknown price are refused.
        wait: As in `wiro_nb.run`.
        fresh: True runs every point, also those that are made.
        max_cost_usd: Refuses when one run may cost more, in USD.
        out_dir: Folder of the files; beside the notebook when None.
        **fixed: The inputs that all runs share.

    Raises:
        InputError: A value, file or model does not fit, or the sweep is empty or far too large. Nothing was sent.
        ConfirmationNeeded, BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits: one gave no result. All others have ended by then.
        DownloadFailed: Where it waits in a headless kernel: a file is not on this machine.
    """
    options = SubmitOptions.of_call(fresh, max_cost_usd, out_dir)
    plan = make_plan(model, grid or {}, merge_inputs(inputs, fixed), options, zipped=zip)
    return SweepView(start(plan, options, yes=yes)).finish(wait)


def make_plan(
    model: str, grid: Grid, fixed: Mapping[str, Any], options: SubmitOptions, *, zipped: bool
) -> SweepPlan:
    """Plans a sweep for a notebook; sends nothing. Raises as `sweep`."""
    origin = origin_of(current_context(), options.kind)
    plan = plan_sweep(session.manager(), model, grid, fixed, zipped=zipped, origin=origin, fresh=options.fresh)
    session.remember_schema(plan.schema)
    return plan


def start(plan: SweepPlan, options: SubmitOptions, *, yes: bool) -> Sweep:
    """Checks a plan against the limits and sends what is missing. Raises as `sweep`."""
    manager = session.manager()
    plan.total.confirm(session.preferences.limits(yes), f"this sweep would send {plan.total.describe()}")
    handle = Sweep.start(
        manager,
        plan,
        max_cost_usd=options.max_cost_usd,
        out_dir=options.out_dir,
        parents=[parent_of({**plan.fixed, **point}, manager) for point in plan.points],
    )
    for run in handle.runs:
        bridge.follow(run)
    session.last_run = handle.runs[-1]
    return handle


class SweepView(LiveView[Sweep]):
    """A sweep in one output: the live grid in a live kernel, else its static form.

    Args:
        handle: The sweep.
    """

    def __init__(self, handle: Sweep) -> None:
        super().__init__(handle, f"sweep-{handle.id}")
        # Without the forecast of work: the grid shows the time left, which counts runs side by side.
        self._notes = [handle.plan.total.describe_sent("clips"), *handle.plan.notes]
        self._opened_at, self._done_before = time.monotonic(), sum(run.done for run in self.runs)

    def output(self) -> Output:
        """Returns the static form, with the records of the runs as metadata."""
        # First: an output must not be older than the records beside it.
        records = {run.id: record for run in self.runs if run.done and (record := run.record) is not None}
        picked = {"best": self.handle.best.id} if self.handle.best is not None else {}
        posters = {at: poster for at, run in enumerate(self.runs) if (poster := read_poster(run)) is not None}
        shown = render_sweep(self.handle.plan, self._snapshots(), posters, self._notes)
        mark = {"sweep_id": self.handle.id, "model": self.handle.model, "runs": records, **picked}
        return replace(shown, metadata={"wiro": mark})

    def make_widget(self) -> SweepGrid:
        """Returns the grid."""
        from wiro_nb.notebook.widgets.views import SweepGrid

        plan = grid_plan(self.handle.plan, self._snapshots(), self._notes)
        return SweepGrid(plan=plan, **self.data(), on_action=self._on_action)

    def follow(self) -> None:
        """Follows the runs."""
        self.unsubscribe = self.handle.on_change(self.schedule)
        self.schedule()

    def flush(self) -> None:
        """Shows tiles and previews that have changed, and at the end the static form."""
        super().flush()
        self.widget.send_previews(run.snapshot.preview for run in self.runs)
        if all(map(is_settled, self.runs)):
            self.refresh()

    def data(self) -> dict[str, Any]:
        """Returns head and tiles as they are now."""
        plan, snapshots = self.handle.plan, self._snapshots()
        return {"head": head_data(plan, snapshots, self._left_s()), "items": sweep_tiles(plan, snapshots)}

    def _snapshots(self) -> list[Snapshot]:
        """Returns the runs as they are now; a file that is gone has a problem in place of its path."""
        shown = []
        for run in self.runs:
            snapshot = rebase_outputs(run, self.context.folder)
            if note := gone_note(run):
                outputs = tuple(replace(output, path=None, problem=note) for output in snapshot.outputs)
                snapshot = replace(snapshot, outputs=outputs)
            shown.append(snapshot)
        return shown

    def _left_s(self) -> float | None:
        """Returns the seconds still to go, once two runs have ended since the grid was opened."""
        ended = sum(run.done for run in self.runs)
        seen = ended - self._done_before
        return (time.monotonic() - self._opened_at) / seen * (len(self.runs) - ended) if seen >= 2 else None

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        """Handles a button. May run on any thread; displays nothing."""
        position, best = read_position(content, len(self.runs)), self.handle.best
        if action == "cancel_waiting":
            self.handle.cancel(waiting_only=True)
        elif action == "copy" and best is not None:
            from wiro_nb.notebook.magic.cells import cell_of_run

            self.widget.reply("copy", text=cell_of_run(best, session.known_schema(best.model)))
        elif position is not None:
            run = self.runs[position]
            if action == "star":
                self.handle.best = None if run.snapshot.starred else run
            elif action == "open":
                from wiro_nb.notebook.run.card import LiveCard

                self.widget.attach(LiveCard(run, self.context).follow())
            elif action == "cancel":
                run.cancel()
            elif run.lacks_files:
                self.schedule()  # the tile says so in place of a poster
            elif (poster := read_poster(run)) is not None:
                self.widget.send_poster(position, poster)


show = presenter(SweepView)
