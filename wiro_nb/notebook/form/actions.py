"""Opens a form: the function behind `%wiro form`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import BadRecord
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.form.controller import FormController, fitting_values
from wiro_nb.notebook.run.actions import source_text
from wiro_nb.notebook.run.resume import show_messages
from wiro_nb.notebook.run.submit import merge_inputs
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import shorten
from wiro_nb.schema import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.notebook.form.form import ModelForm

_LISTED = 8


def form(
    model: str, inputs: Mapping[str, Any] | None = None, /, *, source: str | None = None, **values: Any
) -> ModelForm:
    """Returns the form of a model.

    Args:
        model: "owner/name".
        inputs: First values as a mapping, as in `run`.
        source: A run id, a file with a record in it (clip, sidecar, notebook), or a clip or picture with the
            settings of another program, to start from.
        **values: First values, over those of `source`.

    Raises:
        UnknownRun, BadRecord: `source` is neither a run nor a file with a record.
        InvalidParameter: A value names an input that the model does not have.
    """
    schema = session.schema(model)
    context, first = current_context(), merge_inputs(inputs, values)
    if source:
        from wiro_nb.provenance.find import find_settings
        from wiro_nb.reproduce.replay import find_source

        text = source_text(source)
        try:
            found = find_source(session.manager(), text, notebook=context.notebook)
            taken = fitting_values(found, schema)
        except BadRecord as error:
            settings = find_settings(text) if error.reason == "none" else None
            if settings is None:
                raise
            taken = _take_settings(settings, schema)
        first = {**taken, **first}
    return FormController(schema, context, first).form


def _take_settings(found: Mapping[str, Any], schema: ModelSchema) -> dict[str, Any]:
    """Returns the settings of another program that the model takes, and says which those are and which not."""
    from wiro_nb.provenance.other_tools import match_inputs

    inputs = [item for item in schema.parameters if not item.is_file]
    taken = match_inputs(
        found["settings"], {item.id: [option.value for option in item.options] for item in inputs}
    )
    left = [
        f"{name} {shorten(str(value), 60)}"
        for name, value in {**found["settings"], **found["other"]}.items()
        if value not in taken.values()
    ]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    show_messages(
        [
            f"Written by {found['written_by']}. Taken: {', '.join(taken) or 'nothing'}.",
            *([f"Not taken: {'; '.join(left[:_LISTED])}{more}."] if left else []),
        ]
    )
    return taken
