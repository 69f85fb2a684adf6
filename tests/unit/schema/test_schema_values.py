from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.schema.helpers import PAGE_SLUGS, bundled
from wiro_nb.errors import InvalidParameter
from wiro_nb.json_values import as_decimal
from wiro_nb.schema import (
    ModelSchema,
    Option,
    Parameter,
    check,
    encode,
    free_form_schema,
    prepare,
)
from wiro_nb.schema.types import Rule
from wiro_nb.schema.values import NO_SEED_NOTE, Seed

WAN = "Wan2.2-TI2V-5B-text-to-video"


def schema_of(*parameters: Parameter) -> ModelSchema:
    return ModelSchema(slug="me/mine", run_path="me/mine", title="mine", parameters=parameters)


def sent(parameter: Parameter, value: object) -> object:
    return prepare(schema_of(parameter), {parameter.id: value}).parameters[parameter.id]


NUMBER = Parameter(id="n", type="number", label="N")
FLOAT = Parameter(id="f", type="float", label="F", default="5.0")
TYPED = Parameter(id="t", type="text", label="T", default="81")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("16", 16),
        (" 16 ", 16),
        (16, 16),
        (16.0, 16),
        ("16.0", 16),
        ("1e3", 1000),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-3", -3),
        ("\u22123", -3),
        ("+4", 4),
        ("-0", 0),
        ("１２", 12),
        ("٣", 3),
        (Decimal("2.50"), 2.5),
    ],
)
def test_number_inputs_become_json_numbers_whole_where_they_are_whole(value: object, number: float) -> None:
    result = sent(NUMBER, value)
    assert result == number
    assert type(result) is type(number)


@pytest.mark.parametrize(
    "value",
    ["abc", "1,000", "1_0_", "16px", "nan", "NaN", "inf", "-Infinity", math.nan, math.inf, "1e999999999",
     "1e-999999999", "9" * 30, "0x10", "1 000", "--5", "½", True, Fraction(1, 3), 2**60, b"5", {"a": 1}, [1, 2]],
)  # fmt: skip
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(schema_of(NUMBER), {"n": value})
    assert caught.value.name == "n"


def test_a_number_of_thousands_of_digits_is_refused_and_an_empty_list_is_no_value() -> None:
    assert "too large" in check(schema_of(NUMBER), {"n": 10**5000})["n"].message
    assert prepare(schema_of(NUMBER), {"n": []}).parameters == {}


@pytest.mark.parametrize(
    ("typed", "near"),
    [("1,000", ["1000", "1.000"]), ("5,5", ["5.5"]), ("512px", ["512"]), ("12,345,678", ["12345678"])],
)
def test_a_number_written_another_way_gets_its_plain_form_suggested(typed: str, near: list[str]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(schema_of(NUMBER), {"n": typed})
    assert caught.value.near == near


@pytest.mark.parametrize(
    ("value", "text"),
    [("5", "5"), ("5.0", "5.0"), (" 7.25 ", "7.25"), (6, "6"), (0.1, "0.1"), ("1e2", "100"), (".5", "0.5")],
)
def test_float_inputs_are_sent_as_decimal_text(value: object, text: str) -> None:
    assert sent(FLOAT, value) == text


@pytest.mark.parametrize(
    ("value", "text"), [("81", "81"), (97, "97"), (97.0, "97"), ("97.0", "97"), ("2.5", "2.5")]
)
def test_a_text_input_that_holds_a_number_is_checked_as_one_and_sent_as_text(value: object, text: str) -> None:
    assert sent(TYPED, value) == text


def test_vace_checks_its_numbers_and_sends_them_as_text() -> None:
    vace = bundled("vace")
    assert prepare(vace, {"prompt": "a fox", "frameNum": 49}).parameters["frameNum"] == "49"
    wrong = {"prompt": "a fox", "frameNum": "many", "guidanceScale": "5,5"}
    assert set(check(vace, wrong)) == {"frameNum", "guidanceScale"}


def test_ranges_are_kept_and_the_bound_is_suggested() -> None:
    bounded = Parameter(id="n", type="range", label="N", min="0", max="1.5", step="0.1")
    assert sent(bounded, "1.5") == 1.5
    problems = check(schema_of(bounded), {"n": "1.6"}), check(schema_of(bounded), {"n": -1})
    assert tuple(problems[0]["n"].near) == ("1.5",)
    assert tuple(problems[1]["n"].near) == ("0",)
    assert "between 0 and 1.5" in problems[0]["n"].message


def test_frames_must_be_4n_plus_1_and_the_two_nearest_are_named() -> None:
    problem = check(bundled(WAN), {"numFrames": "80"})["numFrames"]
    assert tuple(problem.near) == ("77", "81")
    assert "4n + 1" in problem.message
    assert prepare(bundled(WAN), {"prompt": "a fox", "numFrames": "81"}).parameters["numFrames"] == 81
    assert tuple(check(bundled("wiro/SkyReels-V1"), {"prompt": "a fox", "numFrames": "96"})["numFrames"].near) == (
        "93",
        "97",
    )
    assert tuple(check(bundled(WAN), {"numFrames": "80.5"})["numFrames"].near) == ("77", "81")


@pytest.mark.parametrize(("typed", "near"), [("49,5", ()), ("49 frames", ("49",)), ("50 frames", ())])
def test_a_number_that_would_be_refused_is_not_suggested(typed: str, near: tuple[str, ...]) -> None:
    assert tuple(check(bundled(WAN), {"numFrames": typed})["numFrames"].near) == near


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("4n+1", Rule(4, 1)),
        ("The number should be 4n+1", Rule(4, 1)),
        ("should be 8 * n + 1.", Rule(8, 1)),
        ("if N is divisible by 4 the length should be N+1", Rule(4, 1)),
        ("must be a multiple of 16", Rule(16, 0)),
        ("16n", Rule(16, 0)),
        ("a 4k frame of 2 n", None),
        ("Number of frames", None),
        ("1n+0", None),
        ("between 4 and 16", None),
        ("divisible by 0 gives N+1", None),
    ],
)
def test_rules_are_read_from_prose_and_only_where_stated(text: str, rule: Rule | None) -> None:
    assert Rule.parse(text) == rule
    if rule:
        assert Rule.parse(str(rule)) == rule


@given(st.integers(2, 64), st.integers(0, 63), st.integers(-1000, 100_000))
def test_the_nearest_numbers_fit_and_nothing_nearer_does(factor: int, offset: int, number: int) -> None:
    rule = Rule(factor, offset)
    below, above = rule.nearest(number)
    assert rule.fits(below)
    assert rule.fits(above)
    assert (below == above == number) == rule.fits(number) or number < offset
    assert not any(rule.fits(between) for between in range(below + 1, above))
    assert all(rule.fits(example) for example in rule.examples(number))


def test_a_select_takes_values_and_labels_in_any_case() -> None:
    def chosen(name: str, given_text: str) -> object:
        return prepare(bundled("vace"), {"prompt": "a fox", name: given_text}).parameters[name]

    for given_text in ("16:9", "16:9 (landscape)", " 16:9 (Landscape) "):
        assert chosen("ratio", given_text) == "16:9"
    assert chosen("sampleSolver", "UniPC") == "unipc"
    expected = "Juiced 🔥 (more speed)"
    assert chosen("speedMode", "juiced 🔥 (Balanced)") == expected
    assert chosen("speedMode", expected) == expected


def test_choices_that_are_numbers_of_the_service_are_told_with_their_labels() -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(bundled("wiro/animate-diff"), {"prompt": "a fox", "loraType": "Zoom"})
    assert "Did you mean ZoomIn" in caught.value.message
    assert "PanLeft" in caught.value.details[0]
    assert caught.value.near[0] == "FILE:169584"


def test_a_wrong_choice_is_refused_with_near_values_and_all_choices() -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(bundled("vace"), {"prompt": "a fox", "ratio": "16x9"})
    assert caught.value.near[0] == "16:9"
    assert caught.value.allowed == ["auto", "16:9", "9:16"]
    assert caught.value.hint == "ratio=16:9"
    assert (
        check(bundled("vace"), {"speedMode": "lightly juiced"})["speedMode"]
        .near[0]
        .startswith("Lightly Juiced 🍊")
    )


def test_a_label_shared_by_two_choices_is_not_guessed() -> None:
    twins = Parameter(id="s", type="select", label="S", options=(Option("a1", "Soft"), Option("a2", "soft")))
    assert tuple(check(schema_of(twins), {"s": "SOFT"})["s"].near) == ("a1", "a2")
    assert sent(twins, "a2") == "a2"


def test_a_default_outside_the_options_is_taken_when_given_and_left_empty_when_not() -> None:
    """The service's own sample body sends an empty text for it."""
    model = bundled("animate-diff")
    assert prepare(model, {"prompt": "a fox"}).parameters["selectedModel"] == ""
    assert prepare(model, {"prompt": "a fox", "selectedModel": "60"}).parameters["selectedModel"] == "60"
    assert prepare(model, {"prompt": "a fox", "selectedModel": 969}).parameters["selectedModel"] == "969"
    assert "selectedModel" in check(model, {"selectedModel": "61"})


def test_a_select_without_options_takes_only_its_default() -> None:
    model = bundled("animate-diff")
    blank = prepare(model, {"prompt": "a fox", "selectedModelPrivate": ""})
    assert blank.parameters["selectedModelPrivate"] == ""
    assert "publishes no choices" in check(model, {"selectedModelPrivate": "5"})["selectedModelPrivate"].message


@pytest.mark.parametrize(
    "prompt", ["yes", "16:9", " leading, and trailing \n", "$HOME {x} 'a' \"b\" 🦊", "null", "1e3"]
)
def test_a_prompt_is_sent_verbatim(prompt: str) -> None:
    assert prepare(bundled(WAN), {"prompt": prompt}).parameters["prompt"] == prompt


def test_text_that_cannot_be_sent_is_refused() -> None:
    assert "cannot be sent" in check(bundled(WAN), {"prompt": "half \ud83d"})["prompt"].message
    assert "cannot be sent" in check(bundled(WAN), {"prompt": "a\0b"})["prompt"].message


def test_defaults_fill_what_is_not_given_and_an_emptied_field_is_told() -> None:
    prepared = prepare(bundled(WAN), {"prompt": "a fox", "negativePrompt": "  ", "steps": None})
    assert prepared.parameters["steps"] == 25
    assert str(prepared.parameters["negativePrompt"]).startswith("bad quality")
    assert [note for note in prepared.notes if note.startswith("negativePrompt is empty")]
    assert not [note for note in prepared.notes if note.startswith("steps")]


def test_all_problems_are_collected_and_the_first_leads() -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(bundled(WAN), {"promt": "x", "size": "800*600", "numFrames": "80", "scale": "much"})
    error = caught.value
    assert [problem["name"] for problem in error.problems] == ["promt", "prompt", "size", "numFrames", "scale"]
    assert error.name == "promt"
    assert error.near == ["prompt"]
    assert error.message == "promt is no input of Wan-AI/Wan2.2-TI2V-5B-text-to-video. Did you mean prompt?"
    assert "prompt is required." in "\n".join(error.lines())
    assert any("numFrames=80: must be 4n + 1, for example 77 or 81" in line for line in error.lines())
    assert error.billed == "Nothing was sent and nothing was billed."


def test_a_required_input_without_default_must_be_given() -> None:
    with pytest.raises(InvalidParameter, match="prompt is required"):
        prepare(bundled("wiro/SkyReels-V1"), {"prompt": " "})


def test_skyreels_runs_with_its_prompt_alone() -> None:
    prepared = prepare(bundled("wiro/SkyReels-V1"), {"prompt": "a fox"})
    assert encode(prepared).json == {"prompt": "a fox"}
    assert prepared.seed is None
    assert prepared.notes == (NO_SEED_NOTE,)


def test_names_in_another_case_are_read_and_told_but_never_twice() -> None:
    prepared = prepare(bundled(WAN), {"PROMPT": "a fox", "Seed": "7", "NUMFRAMES": "81"})
    assert prepared.seed == Seed("seed", "7", True)
    assert "Seed is read as seed." in prepared.notes
    assert "twice" in check(bundled(WAN), {"seed": "7", "Seed": "8"})["seed"].message


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("promt", "prompt"), ("frames", "numFrames"), ("guidance", "scale"), ("negative_prompt", "negativePrompt")],
)
def test_an_unknown_name_gets_the_input_that_was_meant(typed: str, meant: str) -> None:
    assert check(bundled(WAN), {typed: "1"})[typed].near[0] == meant


@pytest.mark.parametrize("value", ["0", 0, 0.0, "-1", -1, -1.0, Decimal(0), "", "  ", [], "random", "0.0"])
def test_a_seed_that_means_random_is_drawn_sent_and_marked(value: object) -> None:
    schema = bundled("vace")
    narrow = tuple(
        replace(item, min="777", max="777") if item.id == "seed" else item for item in schema.parameters
    )
    prepared = prepare(replace(schema, parameters=narrow), {"prompt": "a fox", "seed": value})
    assert prepared.seed == Seed("seed", "777", False)
    assert prepared.parameters["seed"] == "777"


def test_zero_is_a_seed_where_the_model_does_not_call_it_random() -> None:
    assert prepare(bundled(WAN), {"prompt": "a fox", "seed": 0}).seed == Seed("seed", "0", True)


def test_a_given_or_default_seed_is_pinned() -> None:
    def seed(**given_seed: object) -> Seed | None:
        return prepare(bundled("vace"), {"prompt": "a fox", **given_seed}).seed

    assert seed(seed=" 99 ") == Seed("seed", "99", True)
    assert seed() == Seed("seed", "1234", True)
    assert seed(seed=None) == Seed("seed", "1234", True)


def test_a_seed_without_default_is_drawn_within_its_bounds() -> None:
    small = Parameter(id="seed", type="number", label="Seed", min="10", max="12")
    drawn = {prepare(schema_of(small), {}).parameters["seed"] for _ in range(200)}
    assert drawn == {10, 11, 12}


def test_drawn_seeds_are_concrete_and_in_range() -> None:
    blank = {"prompt": "a fox", "seed": ""}
    seeds = {str(prepare(bundled("vace"), blank).parameters["seed"]) for _ in range(20)}
    assert len(seeds) > 1
    assert all(1 <= int(seed) <= 2**31 - 1 for seed in seeds)


@pytest.mark.parametrize("value", ["abc", "1.5", "1e400", "12 34", True, [1]])
def test_a_seed_that_is_no_whole_number_is_refused(value: object) -> None:
    assert "seed" in check(bundled("vace"), {"seed": value})


def test_an_unknown_type_falls_back_to_text_with_a_note() -> None:
    odd = Parameter(id="o", type="colorwheel", label="O", options=(Option("r", "Red"),))
    prepared = prepare(schema_of(odd), {"o": "#ff0000"})
    assert prepared.parameters["o"] == "#ff0000"
    assert "colorwheel" in " ".join(prepared.notes)
    assert sent(odd, "red") == "r"
    assert sent(odd, True) == "true"
    assert sent(odd, ["a", 2]) == ["a", "2"]


def test_several_choices_are_sent_as_a_list_where_the_input_takes_several() -> None:
    many = Parameter(id="m", type="select", label="M", multiple=True, options=(Option("a", "A"), Option("b", "B")))
    assert sent(many, ["A", "b"]) == ["a", "b"]
    assert sent(many, "a") == ["a"]
    assert "m" in check(schema_of(many), {"m": ["a", "z"]})


def test_booleans_become_the_words_the_wire_knows() -> None:
    flag = Parameter(id="b", type="select", label="B", options=(Option("true", "On"), Option("false", "Off")))
    assert sent(flag, True) == "true"
    assert sent(flag, "off") == "false"
    assert sent(Parameter(id="b", type="text", label="B"), False) == "false"


def test_an_open_model_takes_free_pairs_as_text() -> None:
    prepared = prepare(
        free_form_schema("me/new"), {"prompt": "a fox", "steps": 7, "fast": True, "tags": ["a", "b"], "x": None}
    )
    assert prepared.parameters == {"prompt": "a fox", "steps": "7", "fast": "true", "tags": ["a", "b"]}
    assert prepared.seed is None
    assert NO_SEED_NOTE in prepared.notes


def test_the_seed_of_a_free_form_model_is_pinned_or_drawn_too() -> None:
    schema = free_form_schema("me/new")
    assert prepare(schema, {"seed": "5"}).seed == Seed("seed", "5", True)
    drawn = [prepare(schema, {"seed": ""}) for _ in range(2)]
    assert [item.seed for item in drawn] == [Seed("seed", item.parameters["seed"], False) for item in drawn]
    assert drawn[0].seed != drawn[1].seed


@pytest.mark.parametrize("name", ["", "a b", 'x"; filename="y', "a\nb", "{}", "x" * 200])
def test_an_open_model_refuses_names_that_could_break_the_request(name: str) -> None:
    assert name in check(free_form_schema("me/new"), {name: "1"})


NAMES = st.text(max_size=8) | st.sampled_from(["seed", "prompt", "ratio", "frameNum", "inputImage"])
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=30)
    | st.binary(max_size=4)
    | st.lists(st.text(max_size=5), max_size=3)
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_check_never_raises_and_agrees_with_prepare(raw: dict[str, object]) -> None:
    for schema in (bundled("vace"), free_form_schema("me/new")):
        found: set[str] = set()
        try:
            prepare(schema, raw)
        except InvalidParameter as error:
            found = {problem["name"] for problem in error.problems}
        assert found == set(check(schema, raw))


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4, allow_nan=False))
def test_what_is_sent_for_a_number_reads_back_as_the_same_number(number: Decimal) -> None:
    assert Decimal(str(sent(FLOAT, str(number)))) == number
    assert Decimal(str(sent(TYPED, number))) == number
    assert Decimal(repr(sent(NUMBER, str(number)))) == number


@given(st.sampled_from(sorted(PAGE_SLUGS)), st.data())
def test_what_was_sent_can_be_given_again_and_is_sent_the_same(name: str, data: st.DataObject) -> None:
    schema = bundled(name)
    raw: dict[str, object] = {"inputImage": "https://example.org/a.png"} if schema.get("inputImage") else {}
    for parameter in schema.parameters:
        if parameter.options:
            raw[parameter.id] = data.draw(
                st.sampled_from([o.label for o in parameter.options] + [o.value for o in parameter.options])
            )
        elif parameter.type == "number":
            raw[parameter.id] = 4 * data.draw(st.integers(1, 50)) + 1
        elif parameter.type == "textarea":
            text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
            # A blank prompt is refused, a blank negative prompt means its default.
            raw[parameter.id] = data.draw(text.filter(str.strip) if parameter.required else text)
    first = prepare(schema, raw)
    again = prepare(
        schema,
        {**first.parameters, "inputImage": list(first.files["inputImage"])} if first.files else first.parameters,
    )
    assert encode(again) == encode(first)


@pytest.mark.parametrize("values", [{}, {"prompt": ""}, {"prompt": "  \n"}, {"prompt": None}, {"prompt": []}])
@pytest.mark.parametrize("name", ["animate-diff", WAN, "vace", "wiro/SkyReels-V1"])
def test_a_forgotten_prompt_never_pays_for_the_models_sample(name: str, values: dict[str, object]) -> None:
    """Also where the model could start from images alone: its page calls the images optional, not the prompt."""
    schema = bundled(name)
    image = {"inputImage": "https://example.org/a.png"} if schema.get("inputImage") else {}
    with pytest.raises(InvalidParameter, match="prompt is required") as caught:
        prepare(schema, {**image, **values})
    assert [problem["name"] for problem in caught.value.problems] == ["prompt"]
    assert caught.value.hint.startswith('prompt="..."')
    assert caught.value.near == []


def test_the_sample_prompt_itself_can_be_given() -> None:
    for kind in ("text", "textarea"):
        prompt = Parameter(id="prompt", type=kind, label="Prompt", default="a deer in snow", required=True)
        assert sent(prompt, "a deer in snow") == "a deer in snow"


def test_a_required_number_falls_back_to_its_default_and_a_required_choice_only_to_one_it_has() -> None:
    steps = Parameter(id="steps", type="text", label="Steps", default="20", required=True)
    assert prepare(schema_of(steps), {}).parameters == {"steps": "20"}
    style = Parameter(id="s", type="select", label="S", default="b", options=(Option("a", "A"),), required=True)
    problem = check(schema_of(style), {})["s"]
    assert problem.message == "is required: choose one"
    assert problem.allowed == ["a"]
    assert prepare(schema_of(replace(style, default="a")), {}).parameters == {"s": "a"}


@given(st.text(max_size=20) | st.none(), st.text(" \t\n\u3000", max_size=4), st.sampled_from(["text", "textarea"]))
def test_a_blank_required_text_is_refused_whatever_its_default(default: str | None, blank: str, kind: str) -> None:
    assume(as_decimal(default or "") is None)
    words = Parameter(id="words", type=kind, label="Words", default=default, required=True)
    assert set(check(schema_of(words), {"words": blank})) == {"words"}


STYLE = Parameter(
    id="style", type="select", label="Style", default="warm", options=(Option("", "None"), Option("warm", "Warm"))
)


@pytest.mark.parametrize(("raw", "expected"), [({}, "warm"), ({"style": None}, "warm"), ({"style": ""}, "")])
def test_the_empty_text_is_a_choice_of_its_own_where_the_model_lists_it(
    raw: dict[str, object], expected: str
) -> None:
    prepared = prepare(schema_of(STYLE), raw)
    assert prepared.parameters == {"style": expected}
    assert not any("default" in note for note in prepared.notes)
    assert check(schema_of(replace(STYLE, required=True, default=None)), {"style": ""}) == {}


def test_names_with_blanks_are_names() -> None:
    spaced = Parameter(id="my name", type="text", label="Name")
    assert prepare(schema_of(spaced), {"my name": "x"}).parameters == {"my name": "x"}
    required = replace(spaced, required=True)
    with pytest.raises(InvalidParameter) as refused:
        prepare(schema_of(required), {})
    assert refused.value.hint == '"my name"="..."'
