"""What a file input can take from earlier runs of the notebook: clips, pictures, frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from wiro_nb.errors import WiroError
from wiro_nb.execution.inputs import read_run_text, resolve_inputs
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.context import ExecutionContext
from wiro_nb.notebook.run.display import read_posters
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_when
from wiro_nb.presentation.run import poster_base64
from wiro_nb.schema.types import ModelSchema

RUNS_SHOWN = 12
_LONGEST_PROMPT = 160
_THUMB_BYTES = 6_000


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
        found: list[dict[str, Any]] = []
        done = session.manager().runs(self._context.notebook, state=RunState.SUCCEEDED, limit=RUNS_SHOWN * 4)
        for run in done:
            kind = _kind(run)
            if kind and (not media or kind == media or (media == "image" and kind == "video")):
                found.append(_entry(run, kind))
            if len(found) == RUNS_SHOWN:
                break
        return found

    def resolve(self, parameter: str, text: str) -> str:
        """Returns the path a run reference stands for, and any other text as it is.

        Raises:
            WiroError: There is no such run, or it has no such file.
        """
        return text if read_run_text(text) is None else self._resolve(parameter, text)

    def picture(self, path: Path) -> bytes | None:
        """Returns a small JPEG of a picture or clip, where there is a decoder for it."""
        from wiro_nb.media.decode import make_poster

        try:
            return make_poster(path, _THUMB_BYTES)
        except (OSError, WiroError):
            return None

    def _find(self, parameter: str, text: str) -> str:
        values = resolve_inputs(self._schema, {parameter: text}, find_run=session.manager().get)
        return str(values[parameter])


def _kind(run: Run) -> str:
    if run.path is None:
        return ""
    kind = next((item.content_type.partition("/")[0] for item in run.outputs if item.path), "")
    return kind if kind in ("image", "video", "audio") else ""


def _entry(run: Run, kind: str) -> dict[str, Any]:
    snapshot = run.snapshot
    poster = next(iter(read_posters(run, snapshot).values()), None)
    moment = snapshot.finished_at or snapshot.created
    return {
        "id": run.short_id,
        "kind": kind,
        "model": run.model,
        "prompt": snapshot.prompt[:_LONGEST_PROMPT],
        "when": format_when(moment) if moment is not None else "",
        "thumb": f"data:image/jpeg;base64,{poster_base64(poster)}" if poster else "",
    }
