"""The view of a run in its own output: the card and its buttons, a form opened below it, and the static output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from wiro_nb.display_registry import call
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_forecast
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.live import LiveView, open_views, presenter, throttle
from wiro_nb.notebook.run.display import gone_note, is_settled, read_poster, stack_outputs, static_output
from wiro_nb.notebook.session import ExecutionContext, session
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import jpeg_uri

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import NotebookForm
    from wiro_nb.notebook.widgets import OutputWidget
    from wiro_nb.notebook.widgets.card import RunCard


class RunCardView:
    """A card of one run. Each button calls the method of its name, on any thread; no cell runs, so none displays.

    Args:
        run: The run.
        context: The notebook that further runs belong to.
        owner: The view or form that shows it: told when the run has settled; None below another view. A form
            takes "Run again" and "Edit in form"; elsewhere they open one below the card.
        notice: One sentence, such as why nothing was paid this time.
    """

    def __init__(
        self, run: Run, context: ExecutionContext, owner: RunView | NotebookForm | None = None, notice: str = ""
    ) -> None:
        from wiro_nb.notebook.widgets.card import RunCard

        self.run, self._context, self._owner = run, context, owner
        self.card = RunCard(
            run.snapshot,
            again_price=_again_price(run.snapshot),
            poster=jpeg_uri(read_poster(run)),
            notice=notice or gone_note(run),
            on_action=lambda action, _content: getattr(self, action)(),
        )
        self._stop_listening: Callable[[], None] = lambda: None

    def show_below(self, widget: OutputWidget) -> None:
        """Shows the card below another widget, in place of the one before."""
        widget.attach(self.card)
        self.follow()

    def follow(self) -> None:
        """Follows the run, which may have ended already or end meanwhile."""
        self._stop_listening = self.run.on_change(self._update)
        self._update(self.run.snapshot, is_paced=False)

    def close(self) -> None:
        """Closes the card; a second call does nothing."""
        self._stop_listening()
        throttle.drop(self.card)
        self.card.close()

    @property
    def is_closed(self) -> bool:
        """True when the card was closed, also by the form that shows it."""
        return self.card.comm is None

    def _update(self, snapshot: Snapshot, *, is_paced: bool = True) -> None:
        is_end = is_settled(self.run)
        if self.is_closed:
            throttle.drop(self.card)
        elif is_paced and not is_end and snapshot.stage is not Stage.FETCHING:
            throttle.offer(self.card, lambda: self.card.update(snapshot))
        else:  # the end is shown at once
            throttle.drop(self.card)
            poster, record = (jpeg_uri(read_poster(self.run)), self.run.record) if is_end else ("", None)
            self.card.update(snapshot, poster=poster, record=record)
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
            (self._owner if isinstance(self._owner, RunView) else self).close()

    def edit(self) -> None:
        """Puts the settings of the run into a form, ready to be typed into."""
        self._find_form(edits=True)

    def run_again(self) -> None:
        """Starts the run again in a form."""
        self._find_form().run_again(self.run)

    def _find_form(self, *, edits: bool = False) -> NotebookForm:
        """Returns the form that shows the card, else a new one below it."""
        owner = self._owner
        if owner is None or isinstance(owner, RunView):
            form: NotebookForm = call("form_of_run", self.run, self._context, owner)
        else:
            form = owner
        if edits:
            form.edit(self.run)
        if form is not owner:
            self.card.attach(form)
        return form

    def copy_cell(self) -> None:
        """Copies the cell that makes the run."""
        from wiro_nb.notebook.magic.cells import cell_of_run

        self.card.reply("copy", text=cell_of_run(self.run, session.known_schema(self.run.model)))

    def star(self) -> None:
        """Marks the run as the best, or removes the mark."""
        session.manager().star(self.run, not self.run.snapshot.starred)

    def compare(self) -> None:
        """Compares it with the run it was made from, else with the one before it, below the card."""
        from wiro_nb.notebook.compare import ComparisonView

        other = _find_other(self.run)
        if other is None:
            text = "There is no other finished run to compare it with: %wiro compare RUN RUN"
            self.card.reply("notice", text=text)
        else:
            self.card.attach(ComparisonView([other, self.run]).widget)


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


class RunView(LiveView["Run"]):
    """A run in one output.

    The card keeps its buttons after the end, and the file has only the static output. Where a page answers that it
    has no notebook to write into, the static output replaces the card at the end, so that no dead widget is saved.
    A kernel that is busy with the next cells hears that answer late: until then the card stays.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run, run.id)
        self._later: list[Run] = []  # started below the card, newest first

    @property
    def runs(self) -> tuple[Run]:
        """The run."""
        return (self.handle,)

    @property
    def is_moving(self) -> bool:
        """True where a card is shown: until the run is done, and after that unless its view would be saved."""
        return not self.handle.done or bridge.has_document is not False

    @property
    def can_close(self) -> bool:  # type: ignore[override]
        """True when the run has ended."""
        return is_settled(self.handle)

    @cached_property
    def notice(self) -> str:
        """One sentence above the run."""
        return session.notices.pop(self.handle.id, "")

    def output(self) -> Output:
        """Returns the static output of the run, and below it of those started from its card."""
        own = static_output(self.handle, self.notice)
        if not self._later:
            return own
        return replace(stack_outputs([own, *map(static_output, self._later)]), metadata=own.metadata)

    def make_widget(self) -> RunCard:
        """Returns the card."""
        self._card = RunCardView(self.handle, self.context, self, self.notice)
        self.unsubscribe = self._card.close
        return self._card.card

    def follow(self) -> None:
        """Follows the run."""
        self._card.follow()

    def add(self, run: Run) -> None:
        """Puts a run that was started below the card into the static output (any thread)."""
        self._later.insert(0, run)

    def refresh(self) -> None:
        """Brings the static output up to date: a run has ended (any thread)."""
        if bridge.has_document is False:
            self.close()
        else:
            super().refresh()
            self.close_oldest()


def _close_ended() -> None:
    for view in list(open_views):
        if isinstance(view, RunView) and view.can_close:
            view.close()


show = presenter(RunView)
bridge.on_no_document = _close_ended
