"""Vary in a form: the same settings with several values for a few of them, as a sweep under the form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.context import ExecutionContext
from wiro_nb.sweeps.axes import Axis, read_axis

if TYPE_CHECKING:
    from wiro_nb.notebook.form.results import FormResults
    from wiro_nb.notebook.widgets.grid import SweepGrid
    from wiro_nb.sweeps.plan import Grid, SweepPlan
    from wiro_nb.sweeps.sweep import Sweep

_WORD = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'])+")


def read_axes(text: str) -> list[Axis]:
    """Reads `seed=1..6 loraType=ZoomIn,PanLeft` as typed in the form's field.

    Raises:
        InvalidParameter: As `read_axis`.
    """
    return [read_axis(word) for word in _WORD.findall(text)] or [read_axis(text)]


class FormVary:
    """Plans and starts the sweeps of one form.

    Args:
        model: Slug.
        context: Where the form was opened.
        show: Takes the grid of a sweep that was started.
        results: Keeps its static form.
    """

    def __init__(
        self, model: str, context: ExecutionContext, show: Callable[[SweepGrid], object], results: FormResults
    ) -> None:
        self._model, self._context, self._show, self._results = model, context, show, results

    def plan(self, values: Mapping[str, Any], grid: Grid, *, zipped: bool = False) -> SweepPlan:
        """Works a sweep out; sends nothing. The varied inputs take the place of the form's own values."""
        from wiro_nb.notebook.sweep.actions import make_plan

        names = grid if isinstance(grid, Mapping) else [axis.name for axis in grid]
        varied = {str(name).lower() for name in names}
        fixed = {
            name: value
            for name, value in values.items()
            if value not in ("", [], (), None) and name.lower() not in varied
        }
        return make_plan(self._model, grid, fixed, self._context, "form", zipped=zipped, fresh=False)

    def start(self, plan: SweepPlan, *, yes: bool) -> Sweep:
        """Sends what is missing of a plan and shows its grid under the form.

        Raises:
            ConfirmationNeeded, BudgetExceeded: Nothing was sent.
        """
        from wiro_nb.notebook.run.submit import SubmitOptions
        from wiro_nb.notebook.sweep.actions import start
        from wiro_nb.notebook.sweep.view import SweepView

        sweep = start(plan, self._context, SubmitOptions("form"), yes=yes)
        view = SweepView(sweep, publish=partial(self._results.add_sweep, sweep.id))
        view.show_live()
        assert view.grid is not None
        self._show(view.grid)
        return sweep
