"""A run card that follows its run: its buttons, and the form or comparison opened below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from wiro_nb.display_registry import call
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_forecast
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.notebook.compare import ComparisonView
from wiro_nb.notebook.live import LiveView, throttle
from wiro_nb.notebook.magic.cells import cell_of_run
from wiro_nb.notebook.run.display import gone_note, is_settled, read_poster
from wiro_nb.notebook.session import ExecutionContext, session
from wiro_nb.notebook.widgets.card import RunCard
from wiro_nb.presentation.run import jpeg_uri

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import NotebookForm


class LiveCard(RunCard):
    """A card of one run. Each button calls the method of its name, on any thread; no cell runs, so none displays.

    Args:
        run: The run.
        context: The notebook that further runs belong to.
        owner: The view or form that shows it: told when the run has settled; None below another view. A form
            takes "Run again" and "Edit in form"; elsewhere they open one below the card.
        notice: One sentence, such as why nothing was paid this time.
    """

    def __init__(
        self,
        run: Run,
        context: ExecutionContext,
        owner: LiveView[Any] | NotebookForm | None = None,
        notice: str = "",
    ) -> None:
        self.run, self._context, self._owner = run, context, owner
        self._stop_listening: Callable[[], None] = lambda: None
        super().__init__(
            run.snapshot,
            again_price=_again_price(run.snapshot),
            poster=jpeg_uri(read_poster(run)),
            notice=notice or gone_note(run),
            on_action=lambda action, _content: getattr(self, action)(),
        )

    def follow(self) -> Self:
        """Follows the run, which may have ended already or end meanwhile; returns the card."""
        self._stop_listening = self.run.on_change(self._show)
        self._show(self.run.snapshot, is_paced=False)
        return self

    def close(self) -> None:
        """Closes the card; a form still hears of the end of its run."""
        if self._owner is None or isinstance(self._owner, LiveView):
            self._stop_listening()
        throttle.drop(self)
        super().close()

    def _show(self, snapshot: Snapshot, *, is_paced: bool = True) -> None:
        is_end = is_settled(self.run)
        if self.comm is None:  # closed
            throttle.drop(self)
        elif is_paced and not is_end and snapshot.stage is not Stage.FETCHING:
            throttle.offer(self, lambda: self.update(snapshot))
        else:  # the end is shown at once
            throttle.drop(self)
            poster, record = (jpeg_uri(read_poster(self.run)), self.run.record) if is_end else ("", None)
            self.update(snapshot, poster=poster, record=record)
        if is_end and self._owner is not None:
            self._owner.refresh()

    def cancel(self) -> None:
        """Cancels the run."""
        self.run.cancel()

    def try_now(self) -> None:
        """Asks the service at once."""
        session.manager().follow(self.run)

    def stop_watching(self) -> None:
        """Closes the view, whose static output remains, or the card in its form; the run continues."""
        if self._owner is not None:
            (self._owner if isinstance(self._owner, LiveView) else self).close()

    def edit(self) -> None:
        """Puts the settings of the run into a form, ready to be typed into."""
        self._find_form(edits=True)

    def run_again(self) -> None:
        """Starts the run again in a form."""
        self._find_form().run_again(self.run)

    def _find_form(self, *, edits: bool = False) -> NotebookForm:
        """Returns the form that shows the card, else a new one below it."""
        owner = self._owner
        if owner is None or isinstance(owner, LiveView):
            form: NotebookForm = call("form_of_run", self.run, self._context, owner)
        else:
            form = owner
        if edits:
            form.edit(self.run)
        if form is not owner:
            self.attach(form)
        return form

    def copy_cell(self) -> None:
        """Copies the cell that makes the run."""
        self.reply("copy", text=cell_of_run(self.run, session.known_schema(self.run.model)))

    def star(self) -> None:
        """Marks the run as the best, or removes the mark."""
        session.manager().star(self.run, not self.run.snapshot.starred)

    def compare(self) -> None:
        """Compares it with the run it was made from, else with the one before it, below the card."""
        other = _find_other(self.run)
        if other is None:
            text = "There is no other finished run to compare it with: %wiro compare RUN RUN"
            self.reply("notice", text=text)
        else:
            self.attach(ComparisonView([other, self.run]).widget)


def _find_other(run: Run) -> Run | None:
    """Returns the run that one was made from, else the latest finished one before it, same model first."""
    manager, parent = session.manager(), (run.snapshot.parent or {}).get("run_id")
    if parent is not None:
        return manager.get(str(parent))
    done = manager.runs(notebook=run.snapshot.notebook, state=RunState.SUCCEEDED, limit=50)
    others = sorted((other for other in done if other.id != run.id), key=lambda other: other.id > run.id)
    return next((other for other in others if other.model == run.model), others[0] if others else None)


def _again_price(snapshot: Snapshot) -> str:
    """Returns what another such run costs."""
    if snapshot.is_free:
        return "free"
    return "price not listed" if snapshot.estimated_usd is None else format_forecast(snapshot.estimated_usd)
