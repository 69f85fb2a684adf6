"""The fields of a form: widgets, values, validation problems, and earlier runs as inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import ipywidgets

from wiro_nb.execution.requests import read_run_text, resolve_inputs
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_when
from wiro_nb.ledger.state import RunState
from wiro_nb.media.decode import make_poster
from wiro_nb.notebook.form.layout import FormPlan
from wiro_nb.notebook.run.display import read_poster
from wiro_nb.notebook.session import ExecutionContext, session
from wiro_nb.notebook.widgets.fields import ChoicesField, Field, FileField, FlagField, PairsField, SeedField
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.schema.types import ModelSchema

Values = dict[str, Any]
_FIELDS: dict[str, type[Field]] = {
    "files": FileField,
    "pairs": PairsField,
    "choices": ChoicesField,
    "seed": SeedField,
    "checkbox": FlagField,
}
"""The widgets of kinds of fields; any other kind is a plain `Field`."""


def make_fields(
    plan: FormPlan,
    layout: ipywidgets.Layout,
    form_key: str,
    upload_dir: Path | None,
    sources: RunSources | None = None,
) -> dict[str, Field]:
    """Returns a widget for each field of a plan, holding its default.

    Args:
        plan: The form.
        layout: Shared by all: a layout each would double the messages.
        form_key: What the fields find their form by in the browser.
        upload_dir: Where files from the browser are put, or None for the usual place.
        sources: Finds earlier runs for file inputs, or None.
    """
    fields: dict[str, Field] = {}
    for field in plan.fields:
        more: dict[str, Any] = {"value": field.default}
        if field.kind == "files":
            file_options = {"multiple": field.multiple, "media": field.media}
            more = {"upload_dir": upload_dir, "sources": sources, **file_options}
        elif field.kind == "seed":
            more["pinned"] = field.default not in ("", "0", "-1")
        elif field.kind != "choices" and isinstance(field.default, tuple):
            more["value"] = ", ".join(field.default)
        kind = _FIELDS.get(field.kind, Field)
        fields[field.id] = kind(name=field.id, form_key=form_key, layout=layout, **more)
    return fields


def given_values(schema: ModelSchema, values: Mapping[str, Any]) -> Values:
    """Returns the values without those that mean "not given": empty ones, unless empty is one of the choices."""
    choosing = {parameter.id for parameter in schema.parameters if parameter.takes_empty}
    return {
        name: value
        for name, value in values.items()
        if value not in ("", [], None) or (value == "" and name in choosing)
    }


def changed_values(plan: FormPlan, given: Mapping[str, Any], folder: Path | None) -> Values:
    """Returns what differs from the defaults, and the seed, which a repeat needs.

    Args:
        plan: The form.
        given: From `given_values`.
        folder: Files in it are written as relative paths: the text goes into a notebook that may be moved.
    """
    changed: Values = {}
    for name, value in given.items():
        field = plan.get(name)
        kind, default = (field.kind, field.default) if field is not None else ("", "")
        if kind == "seed" or _is_changed(value, default):
            changed[name] = _relative(value, folder) if kind == "files" and folder is not None else value
    return changed


def _is_changed(value: Any, default: str | tuple[str, ...]) -> bool:
    return tuple(value) != tuple(default) if isinstance(value, list) else str(value) != str(default)


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_relative(item, folder) for item in value]
    path = Path(value)
    return path.relative_to(folder).as_posix() if path.is_absolute() and path.is_relative_to(folder) else value


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
        done = session.manager().runs(self._context.notebook, state=RunState.SUCCEEDED, limit=RUNS_SHOWN * 4)
        fitting = {"": ("image", "video", "audio"), "image": ("image", "video")}.get(media, (media,))
        return list(islice((_entry(run, kind) for run in done if (kind := _kind(run)) in fitting), RUNS_SHOWN))

    def resolve(self, parameter: str, text: str) -> str:
        """Returns the path a run reference stands for, and any other text as it is.

        Raises:
            WiroError: There is no such run, or it has no such file.
        """
        return text if read_run_text(text) is None else self._resolve(parameter, text)

    def picture(self, path: Path) -> bytes | None:
        """Returns a small JPEG of a picture or clip, where there is a decoder for it."""
        return make_poster(path, _THUMB_BYTES)

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
