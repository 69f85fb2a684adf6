"""A form's cell and Python call mean the same as the form."""

from __future__ import annotations

import ast
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.notebook.magic.cells import Plain, cell_of_run, cell_text, parse_body, python_text
from wiro_nb.notebook.magic.parser import parse_cell_line, parse_line
from wiro_nb.schema import ModelSchema, Option, Parameter


def read_cell(text: str) -> tuple[dict[str, object], str]:
    line, _, body = text.partition("\n")
    if line.startswith("%wiro run "):
        return dict(parse_line(line.removeprefix("%wiro ")).values), body
    assert line.startswith("%%wiro ")
    return dict(parse_cell_line(line.removeprefix("%%wiro ")).values), parse_body(body).prompt


def read_python(text: str) -> dict[str, object]:
    call = ast.parse(text).body[1].value  # type: ignore[attr-defined]
    given = ast.literal_eval(call.args[1]) if len(call.args) > 1 else {}
    return {**given, **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}}


def test_a_cell_has_the_settings_on_its_line_and_the_prompt_below() -> None:
    text = cell_text("a/b", {"seed": 7, "ratio": "16:9"}, prompt="a lighthouse, $5")
    assert text == "%%wiro a/b seed=7 ratio=16:9\na lighthouse, $5"


@given(
    value=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40),
    prompt=st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=80),
)
def test_whatever_stands_in_the_form_is_read_back_from_the_cell(value: str, prompt: str) -> None:
    text = cell_text("a/b", {"note": value}, prompt=prompt)
    if text.startswith("%"):
        values, body = read_cell(text)
        assert values == {"note": value}
        assert body == prompt
    else:
        expected = {"note": value, "prompt": prompt} if prompt else {"note": value}
        assert read_python(text) == expected


@pytest.mark.parametrize("prompt", ["seed: 1\n---\nsea", "\n\nsea\n"])
def test_a_prompt_that_would_be_read_as_something_else_becomes_python(prompt: str) -> None:
    assert cell_text("a/b", {"seed": 7}, prompt=prompt).startswith("import wiro_nb")


def test_without_a_prompt_it_is_a_line_as_a_cell_magic_needs_a_body() -> None:
    assert cell_text("a/b", {"seed": 7}) == "%wiro run a/b seed=7"


def test_several_files_and_odd_names_survive() -> None:
    text = cell_text("a/b", {"image": ["one two.png", "b.png"]}, prompt="x")
    assert read_cell(text)[0] == {"image": ["one two.png", "b.png"]}
    odd: dict[str, Any] = {"odd-name": 1, "from": "x", "wait": 2, "seed": 7}
    assert read_python(python_text("a/b", odd)) == odd


@pytest.mark.parametrize("text", ['style=""', "style="])
def test_an_empty_value_on_the_line_is_given(text: str) -> None:
    assert parse_cell_line(f"a/b {text}").values == {"style": ""}
    assert parse_body("style:\n---\na fox").values == {"style": ""}


SPACED: dict[str, Plain] = {"my name": "two words", "model": "large"}


def test_names_with_blanks_and_a_name_like_an_argument_stand_in_a_cell_and_in_python() -> None:
    text = cell_text("a/b", SPACED, prompt="a fox")
    assert text == '%%wiro a/b "my name"="two words" model=large\na fox'
    assert read_cell(text) == (SPACED, "a fox")
    assert read_python(python_text("a/b", SPACED)) == SPACED


def test_a_name_with_blanks_in_the_body_counts_only_where_the_model_has_it() -> None:
    body = "my name: x\nseed: 7\n---\na fox"
    assert parse_body(body, ["my name", "seed"]).values == {"my name": "x", "seed": "7"}
    assert parse_body(body).prompt == body
    assert cell_text("a/b", {}, prompt=body) == f"%%wiro a/b\n{body}"
    assert cell_text("a/b", {}, prompt=body, names=["my name", "seed"]).startswith("import wiro_nb")


def test_the_cell_of_a_run_keeps_an_empty_choice() -> None:
    style = Parameter("style", "select", "Style", default="a", options=(Option("", ""), Option("a", "A")))
    run = Mock(model="a/b", parameters={"prompt": "a fox", "style": "", "note": ""}, files={})
    schema = ModelSchema("a/b", "a/b", "B", parameters=(style,))
    assert cell_of_run(run, schema) == '%%wiro a/b style=""\na fox'
    assert cell_of_run(run, None) == "%%wiro a/b\na fox"
