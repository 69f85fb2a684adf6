"""A form's cell and Python call mean the same as the form."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.notebook.form.text import cell_text, python_text
from wiro_nb.notebook.magic.parser import parse_body, parse_cell_line, parse_line


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
