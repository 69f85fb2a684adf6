"""Runs of a form: earlier ones that its file inputs take, and the output below it that keeps its results."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from wiro_nb.execution.requests import read_run_text, resolve_inputs
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_when
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.bridge import LiveOutput
from wiro_nb.notebook.run.display import read_poster, stack_outputs, static_output
from wiro_nb.notebook.session import ExecutionContext, session
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.schema.types import ModelSchema

_RUNS_SHOWN = 12
_LONGEST_PROMPT = 160
_MARK = "wiro-form-results"
_FORM_KEY = "wiro_form"
_MOST_RESULTS = 5


class FormResults(LiveOutput):
    """The static output under one form; this kernel updates it as long as the form exists."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        super().__init__(f"form-{self.key}")
        self._runs: list[Run] = []  # newest first

    def place(self) -> None:
        """Displays the output in the running cell, empty while there is no run."""
        self.publish(update=False)

    def add(self, run: Run) -> None:
        """Puts a run on top (any thread)."""
        with self._lock:
            self._runs = [run, *self._runs][:_MOST_RESULTS]
        self.refresh()

    def refresh(self) -> None:
        """Brings the output up to date (any thread); does nothing where the form was never displayed."""
        if self._shown is not None:
            self.publish(update=True)

    def render(self) -> Output:
        """Returns the results, newest first, with the newest one's picture and record, and the form's key."""
        stacked = stack_outputs([static_output(run) for run in self._runs])
        metadata = {**stacked.metadata, _FORM_KEY: self.key}
        return replace(stacked, html=f'<div class="{_MARK}">{stacked.html}</div>', metadata=metadata)


class RunSources:
    """Earlier runs as inputs of one form.

    Args:
        schema: The form's model.
        context: Where the form stands; its notebook's runs are offered.
    """

    def __init__(self, schema: ModelSchema, context: ExecutionContext) -> None:
        self._schema, self._context = schema, context
        # Reading a frame decodes the clip: once for each, not at every change of the form.
        self._resolve: Callable[[str, str], str] = lru_cache(maxsize=64)(self._find)

    def recent(self, media: str) -> list[dict[str, Any]]:
        """Returns finished runs of this notebook with a file that fits, newest first."""
        done = session.manager().runs(self._context.notebook, state=RunState.SUCCEEDED, limit=_RUNS_SHOWN * 4)
        fitting = {"": ("image", "video", "audio"), "image": ("image", "video")}.get(media, (media,))
        return list(islice((_entry(run, kind) for run in done if (kind := _kind(run)) in fitting), _RUNS_SHOWN))

    def resolve(self, parameter: str, text: str) -> str:
        """Returns the path a run reference stands for, and any other text as it is.

        Raises:
            WiroError: There is no such run, or it has no such file.
        """
        return text if read_run_text(text) is None else self._resolve(parameter, text)

    def _find(self, parameter: str, text: str) -> str:
        values = resolve_inputs(self._schema, {parameter: text}, find_run=session.manager().get)
        return str(values[parameter])


def _kind(run: Run) -> str:
    """Returns "image", "video", "audio" or another kind of a run's first file; "" where it is not here."""
    kinds = (item.content_type.partition("/")[0] for item in run.outputs if item.path)
    return next(kinds, "") if run.path is not None else ""


def _entry(run: Run, kind: str) -> dict[str, Any]:
    snapshot = run.snapshot
    return {
        "id": run.short_id,
        "kind": kind,
        "model": run.model,
        "prompt": snapshot.prompt[:_LONGEST_PROMPT],
        "when": format_when(snapshot.finished_at or snapshot.created),
        "thumb": jpeg_uri(read_poster(run)),
    }
