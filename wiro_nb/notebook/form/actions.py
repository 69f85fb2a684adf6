"""Opens a form: the function behind `%wiro form`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.form.controller import FormController, fitting_values
from wiro_nb.notebook.run.actions import source_text
from wiro_nb.notebook.run.submit import merge_inputs
from wiro_nb.notebook.session import session

if TYPE_CHECKING:
    from wiro_nb.notebook.form.form import ModelForm


def form(
    model: str, inputs: Mapping[str, Any] | None = None, /, *, source: str | None = None, **values: Any
) -> ModelForm:
    """Returns the form of a model.

    Args:
        model: "owner/name".
        inputs: First values as a mapping, as in `run`.
        source: A run id, or a file with a record in it (clip, sidecar, notebook), to start from.
        **values: First values, over those of `source`.

    Raises:
        UnknownRun, BadRecord: `source` is neither a run nor a file with a record.
        InvalidParameter: A value names an input that the model does not have.
    """
    schema = session.schema(model)
    context, first = current_context(), merge_inputs(inputs, values)
    if source:
        from wiro_nb.reproduce.replay import find_source

        found = find_source(session.manager(), source_text(source), notebook=context.notebook)
        first = {**fitting_values(found, schema), **first}
    return FormController(schema, context, first).form
