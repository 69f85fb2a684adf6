"""The live card of a run: follows the run and handles the card's buttons."""

from __future__ import annotations

from collections.abc import Callable

from wiro_nb.errors import WiroError
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_forecast
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.notebook.live import throttle
from wiro_nb.notebook.run.display import gone_note, is_settled, read_poster
from wiro_nb.notebook.session import session
from wiro_nb.presentation.run import jpeg_uri


class CardController:
    """A card of one run. Each button calls the method of its name, on any thread; no cell runs, so none displays.

    Args:
        run: The run.
        notice: One sentence, such as why nothing was paid this time.
    """

    def __init__(self, run: Run, notice: str = "") -> None:
        from wiro_nb.notebook.widgets.card import RunCard

        self.run = run
        price, poster = _again_price(run.snapshot), jpeg_uri(read_poster(run))
        notice = notice or gone_note(run)
        self.card = RunCard(
            run.snapshot,
            again_price=price,
            poster=poster,
            notice=notice,
            on_action=self._act,
        )
        self._stop_listening: Callable[[], None] = lambda: None

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

    def on_settled(self) -> None:
        """Called on any thread when the run has settled with its files; again for a run that was uncertain."""

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
        if is_end:
            self.on_settled()

    def _act(self, action: str, _content: object = None) -> None:
        try:
            getattr(self, action)()
        except WiroError as error:
            self.card.reply("notice", text=" ".join(error.lines()))

    def cancel(self) -> None:
        """Cancels the run."""
        self.run.cancel()

    def try_now(self) -> None:
        """Asks the service at once."""
        session.manager().follow(self.run)

    def stop_watching(self) -> None:
        """Closes the card; the run continues."""
        self.close()

    def run_again(self) -> None:
        """Starts the run again."""

    def edit(self) -> None:
        """Puts the settings of the run into a form."""

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
            self.card.reply(
                "notice", text="There is no other finished run to compare it with: %wiro compare RUN RUN"
            )
        else:
            self.card.attach(ComparisonView([other, self.run]).widget())


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
