"""The hidden widget of the document bridge, through which the kernel edits the open notebook.

Its script reaches the document through the widget manager and updates `metadata.wiro`. Where there is no such
document (Voila, VS Code, Colab) it does nothing. `notebook.bridge` decides what is written, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OwnWidget
from wiro_nb.presentation.output import Output

NOTEBOOK_RUN_LIMIT = 200
_MOST_PAGES = 8

HandshakeHandler = Callable[[dict[str, Any]], object]


class BridgeWidget(OwnWidget):
    """Messages: `handshake` from the browser; `runs`, `budget`, `repair` and `repair_form` to it."""

    script = "bridge.js"
    _view_name = traitlets.Unicode(  # type: ignore[assignment]
        None, allow_none=True, help="None: nothing to show."
    ).tag(sync=True)

    def __init__(self, on_handshake: HandshakeHandler) -> None:
        """Makes the bridge.

        Args:
            on_handshake: Called with {"known": {run_id: status}, "outputs": {run_id: status},
                "notebook_ok": bool, "read_only": bool, "path": str, "budget": str} each time a page opens the
                notebook. `outputs` lists the runs named by the metadata of outputs; "forms", a list, has the
                keys of the outputs that belong to forms.
        """
        self.on_handshake = on_handshake
        self._pages: list[str] = []
        super().__init__()

    def send_runs(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Merges run records into the notebook's metadata, which keeps the latest 200.

        Args:
            records: Record by run id. Must hold no secret and no absolute path.
        """
        if records:
            runs = {run_id: dict(record) for run_id, record in records.items()}
            self._broadcast({"type": "runs", "runs": runs, "limit": NOTEBOOK_RUN_LIMIT})

    def send_budget(self, budget_usd: str | None) -> None:
        """Writes the notebook's budget, decimal text in USD, into its metadata; None takes it out."""
        self._broadcast({"type": "budget", "budget": budget_usd})

    def send_repair(
        self,
        run_id: str,
        output: Output,
        *,
        live_forms: Sequence[str] = (),
    ) -> None:
        """Replaces the outputs of a run that show an older state of it.

        Args:
            run_id: The run named by `metadata.wiro.run_id` of the outputs.
            output: The replacement; `metadata["wiro"]` is the record.
            live_forms: Keys of forms whose outputs stay as they are: those hold several runs.
        """
        change = {"type": "repair", "run_id": run_id, "data": output.data, "metadata": dict(output.metadata)}
        self._broadcast({**change, "live_forms": list(live_forms)})

    def send_form_repair(self, key: str, output: Output) -> None:
        """Replaces the output of a form where it shows something else.

        Args:
            key: The form named by `metadata.wiro_form` of the output.
            output: The replacement, with that key in its metadata.
        """
        self._broadcast(
            {"type": "repair_form", "form": key, "data": output.data, "metadata": dict(output.metadata)}
        )

    def _broadcast(self, message: Mapping[str, Any]) -> None:
        """Sends to every page; in a shared notebook they write in the order of `pages`, one after the other."""
        self.send({**message, "pages": list(self._pages)})

    def _keep_page(self, handshake: Mapping[str, Any]) -> None:
        # The page that opened last is the one most surely there.
        page = handshake.get("page")
        if isinstance(page, str) and handshake.get("read_only") is not True:
            self._pages = [page, *(other for other in self._pages if other != page)][:_MOST_PAGES]

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Takes the handshake of a page."""
        if content.get("type") != "handshake":
            return
        self._keep_page(content)
        self.on_handshake(
            {
                "known": _texts(content.get("known")),
                "outputs": _texts(content.get("outputs")),
                "forms": [str(key) for key in content.get("forms") or ()],
                "notebook_ok": content.get("notebook_ok") is True,
                "read_only": content.get("read_only") is True,
                "path": str(content.get("path") or ""),
                "budget": str(content.get("budget") or ""),
            }
        )


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
