"""A changed schema is told in names, and words alone are no change."""

from __future__ import annotations

from dataclasses import replace

from wiro_nb.schema import bundled_models, find_bundled
from wiro_nb.schema.types import Option, Parameter, describe_changes


def test_the_same_schema_has_no_changes() -> None:
    assert all(describe_changes(schema, schema) == () for schema in bundled_models())


def test_every_kind_of_change_names_its_inputs() -> None:
    schema = find_bundled("pruna/vace")
    assert schema is not None
    by_id = {parameter.id: parameter for parameter in schema.parameters}
    fresh = {
        **{name: parameter for name, parameter in by_id.items() if name != "sampleShift"},
        "frameNum": replace(by_id["frameNum"], default="49", type="number"),
        "resolution": replace(
            by_id["resolution"], options=(*by_id["resolution"].options, Option("1080p", "1080p"))
        ),
        "inputImage": replace(by_id["inputImage"], max="5"),
        "motion": Parameter("motion", "number", "Motion"),
    }
    changed = replace(schema, parameters=tuple(fresh.values()))
    assert describe_changes(schema, changed) == (
        "new: motion",
        "gone: sampleShift",
        "another type: frameNum",
        "another default: frameNum",
        "other choices: resolution",
        "other limits: inputImage",
    )


def test_labels_and_help_are_words_only() -> None:
    schema = find_bundled("pruna/vace")
    assert schema is not None
    renamed = tuple(replace(item, label="X", help="y") for item in reversed(schema.parameters))
    assert describe_changes(schema, replace(schema, parameters=renamed)) == ()
