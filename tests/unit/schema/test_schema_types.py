"""The types of inputs beside text, number, select and file: how they are read, typed and sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wiro_nb.errors import InvalidParameter
from wiro_nb.schema import Prepared, encode, prepare, read_detail

ITEMS: list[dict[str, Any]] = [
    {"id": "styles", "type": "multiSelect", "label": "Styles", "default": "a", "options": [
        {"id": "a", "text": "Alpha"}, {"value": "b", "label": "Beta"}, "c",
        {"value": None, "id": 4, "name": "Four"}]},
    {"id": "look", "type": "SelectWithCover", "label": "Look", "default": "x", "options": [
        {"value": "x", "text": "The X", "cover": "https://example.org/x.png"}, {"value": "y", "text": "The Y"}]},
    {"id": "points", "type": "JSON-array", "label": "Points", "default": [1, 2]},
    {"id": "extra", "type": "json", "label": "Extra", "default": {"a": 1}},
    {"id": "loop", "type": "Checkbox", "label": "Loop", "default": True},
    {"id": "tint", "type": "color", "label": "Tint", "default": "#112233"},
    {"id": "count", "type": "Integer", "label": "Count", "default": "3", "min": 1, "max": 9},
    {"id": "weight", "type": "numeric", "label": "Weight", "default": "0.5"},
    {"id": "other", "type": "hologram", "label": "Other", "default": ""},
]  # fmt: skip
SCHEMA = read_detail({"slugowner": "x", "slugproject": "y", "parameters": ITEMS})


def sent(**values: object) -> dict[str, Any]:
    return dict(prepare(SCHEMA, values).parameters)


def refusal(**values: object) -> str:
    with pytest.raises(InvalidParameter) as refused:
        prepare(SCHEMA, values)
    return refused.value.message


def test_options_are_read_whatever_they_call_value_and_label() -> None:
    styles, look = SCHEMA.get("styles"), SCHEMA.get("look")
    assert styles is not None
    assert look is not None
    assert [(option.value, option.label) for option in styles.options] == [
        ("a", "Alpha"), ("b", "Beta"), ("c", "c"), ("4", "Four"),
    ]  # fmt: skip
    assert [option.label for option in look.options] == ["The X", "The Y"]


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        ([("text", "text"), ("seed", "number")], "text"),
        ([("text", "textarea"), ("prompt", "text")], "prompt"),
        ([("negative_prompt", "text"), ("text", "text"), ("lyrics_prompt", "text")], "lyrics_prompt"),
        ([("title", "text")], None),
    ],
)
def test_the_body_of_a_cell_fills_the_prompt_or_else_the_text(inputs: list[tuple[str, str]], wanted: str) -> None:
    items = [{"id": name, "type": kind, "label": name} for name, kind in inputs]
    schema = read_detail({"slugowner": "x", "slugproject": "y", "parameters": items})
    assert schema.prompt_input == wanted


def test_defaults_travel_as_their_types() -> None:
    assert sent() == {
        "styles": ["a"], "look": "x", "points": [1, 2], "extra": {"a": 1}, "loop": True, "tint": "#112233",
        "count": 3, "weight": 0.5, "other": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("styles", ["b", "Alpha"], ["b", "a"]),
        ("styles", "b", ["b"]),
        ("styles", "b, c", ["b", "c"]),
        ("styles", '["b", 4]', ["b", "4"]),
        ("look", "the y", "y"),
        ("points", "[1, 2.5, null]", [1, 2.5, None]),
        ("points", (1, "x"), [1, "x"]),
        ("extra", '{"k": [true]}', {"k": [True]}),
        ("extra", {"k": [1]}, {"k": [1]}),
        ("extra", "7", 7),
        ("loop", "no", False),
        ("loop", False, False),
        ("loop", "TRUE", True),
        ("tint", "F80", "#FF8800"),
        ("tint", "#abcdef", "#abcdef"),
        ("count", "4.0", 4),
        ("weight", "2", 2),
        ("other", "as typed", "as typed"),
    ],
)
def test_values_travel_as_their_types(name: str, given: object, wanted: object) -> None:
    found = sent(**{name: given})[name]
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("styles", "a, nope", "not one of the 4 choices"),
        ("points", '{"a": 1}', "must be a JSON list"),
        ("points", "1, 2", "not JSON"),
        ("extra", "[NaN]", "not JSON"),
        ("extra", "[1e400]", "not JSON"),
        ("extra", '["\\ud800"]', "not JSON"),
        ("extra", {"a": "\ud800"}, "not JSON"),
        ("extra", "[" * 61 + "]" * 61, "deeper than 60 levels"),
        ("extra", json.loads('{"a":' * 61 + "1" + "}" * 61), "deeper than 60 levels"),
        ("extra", "[1e999]", "not JSON"),
        ("extra", {"\ud800": 1}, "not JSON"),
        ("extra", {"k": object()}, "takes a JSON value"),
        ("loop", "maybe", "must be true or false"),
        ("tint", "orange", "must be a colour"),
        ("count", "2.5", "must be a whole number"),
        ("count", "10", "must be between 1 and 9"),
    ],
)
def test_what_is_none_of_a_type_is_refused(name: str, given: object, words: str) -> None:
    assert words in refusal(**{name: given})


def test_a_multipart_body_holds_lists_of_choices_and_json_as_one_json_text(tmp_path: Any) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    schema = read_detail({"slugowner": "x", "slugproject": "y", "parameters": [
        *ITEMS, {"id": "image", "type": "fileinput", "label": "Image"}]})  # fmt: skip
    prepared: Prepared = prepare(schema, {"styles": ["a", "b"], "image": str(picture)})
    fields = dict(encode(prepared).fields)
    assert json.loads(fields["styles"]) == ["a", "b"]
    assert json.loads(fields["points"]) == [1, 2]
    assert json.loads(fields["extra"]) == {"a": 1}
    assert fields["loop"] == "true"
