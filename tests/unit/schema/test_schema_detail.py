from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.schema.helpers import bundled
from wiro_nb.errors import UnreadableSchema
from wiro_nb.schema import check, prepare, read_detail, schema_from_dict

TOOL: dict[str, Any] = {
    "id": "1",
    "title": "Mine",
    "slugowner": "me",
    "slugproject": "mine-2.1",
    "cleanslugowner": "me",
    "cleanslugproject": "mine-2-1",
    "description": "Makes\nclips",
    "image": "https://cdn.wiro.ai/x.mp4",
    "categories": '["tool","text-to-video"]',
    "tags": ["video", "video"],
    "parameters": [
        {
            "title": "Basics",
            "items": [
                {
                    "id": "prompt",
                    "type": "textarea",
                    "label": "<b>Prompt</b>",
                    "required": True,
                    "placeholder": "p",
                },
                {
                    "id": "steps",
                    "type": "range",
                    "label": "steps",
                    "default": 20,
                    "min": "1",
                    "max": 50,
                    "step": 1,
                },
                {"id": "steps", "type": "text", "label": "again"},
            ],
        },
        {
            "title": "More",
            "items": [
                {
                    "id": "mode",
                    "type": "select",
                    "default": 2,
                    "options": [{"label": "One", "value": 1}, {"value": "2"}],
                },
                {
                    "id": "styles",
                    "type": "selectmultiple",
                    "label": "Styles",
                    "options": ["a", "b"],
                    "default": ["a"],
                },
                {
                    "id": "pics",
                    "type": "multifileinput",
                    "label": "",
                    "default": "",
                    "description": "Up to 4 images",
                },
                {
                    "id": "frames",
                    "type": "number",
                    "description": "should be 4n+1",
                    "default": "81",
                    "required": "0",
                },
            ],
        },
    ],
}


def test_a_whole_answer_and_one_tool_give_the_same_schema() -> None:
    whole = read_detail({"result": True, "errors": [], "total": "1", "tool": [TOOL]})
    assert whole == read_detail(TOOL)
    assert (whole.slug, whole.run_path, whole.title) == ("me/mine-2.1", "me/mine-2-1", "Mine")
    assert (whole.description, whole.categories, whole.tags) == (
        "Makes clips",
        ("tool", "text-to-video"),
        ("video",),
    )


def test_inputs_keep_group_type_bounds_and_text() -> None:
    schema = read_detail(TOOL)
    assert [p.id for p in schema.parameters] == ["prompt", "steps", "mode", "styles", "pics", "frames"]
    prompt, steps, mode, styles, pics, frames = schema.parameters
    assert (prompt.label, prompt.required, prompt.group) == ("<b>Prompt</b>", True, "Basics")
    assert (steps.min, steps.max, steps.step, steps.default) == ("1", "50", "1", "20")
    assert (mode.default, [(o.value, o.label) for o in mode.options]) == ("2", [("1", "One"), ("2", "2")])
    assert (styles.type, styles.kind, styles.default) == ("selectmultiple", "", ("a",))
    assert (pics.label, pics.multiple, pics.max, pics.default, pics.group) == ("Pics", True, "4", None, "More")
    assert (frames.rule, frames.required) == ("4n+1", False)


def test_a_schema_from_the_catalogue_types_values() -> None:
    schema = read_detail(TOOL)
    prepared = prepare(schema, {"prompt": "a fox", "mode": 1})
    assert prepared.parameters == {"prompt": "a fox", "steps": 20, "mode": "1", "styles": ["a"], "frames": 81}
    assert tuple(check(schema, {"prompt": "a fox", "steps": 51})["steps"].near) == ("50",)


@pytest.mark.parametrize(
    "parameters", [None, [], "null", "x", {"a": 1}, [None, 5], [{"title": "T", "items": None}], [{"items": [{}]}]]
)
def test_a_model_without_published_inputs_is_open(parameters: Any) -> None:
    schema = read_detail({**TOOL, "parameters": parameters})
    assert schema.free_form
    assert prepare(schema, {"anything": "goes"}).parameters == {"anything": "goes"}


def test_inputs_without_groups_and_inside_a_text_are_read() -> None:
    schema = read_detail({**TOOL, "parameters": '[{"id": "a", "type": "text", "default": 1.5}]'})
    assert [(p.id, p.default, p.group) for p in schema.parameters] == [("a", "1.5", "")]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"tool": []},
        {"tool": None},
        {"tool": ["x"]},
        {"tool": [{}]},
        {"slugowner": "..", "slugproject": "x"},
        [],
        {"tool": [{"slugowner": "a"}]},
    ],
)
def test_an_answer_without_a_model_says_so(answer: Any) -> None:
    with pytest.raises(UnreadableSchema) as caught:
        read_detail(answer, source_name="the catalogue")
    assert caught.value.source == "the catalogue"
    assert caught.value.hint


PARAMETER_KEYS = {"id", "type", "label", "default", "required", "multiple", "options", "min", "max", "step"}
KEYS = st.sampled_from(["items", "title", "value", "label", "x"])
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=10)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
ITEM = st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(PARAMETER_KEYS | {"description", "note"}), JSON))


@given(
    st.lists(
        JSON | ITEM | st.fixed_dictionaries({"title": JSON, "items": st.lists(ITEM, max_size=3)}), max_size=3
    ),
    JSON,
)
def test_any_shape_of_parameters_gives_a_schema_that_can_be_stored_and_checked(
    parameters: Any, words: Any
) -> None:
    tool = {**TOOL, "parameters": parameters, "categories": words, "title": words, "image": words}
    schema = read_detail(tool)
    assert schema_from_dict(schema.to_dict()) == schema
    check(schema, {parameter.id: "1" for parameter in schema.parameters})


def test_the_normal_form_has_exactly_the_promised_keys() -> None:
    data = bundled("animate-diff").to_dict()
    assert set(data) == {
        "slug",
        "run_path",
        "title",
        "description",
        "categories",
        "tags",
        "cover",
        "parameters",
        "source",
        "open",
    }
    assert set(data["parameters"][0]) == PARAMETER_KEYS | {"help", "rule", "group"}
    assert set(data["parameters"][0]["options"][0]) == {"value", "label", "description", "trigger_words"}
