"""What a person types reaches the model unchanged, and mistakes are told in one line."""

from __future__ import annotations

import contextlib
import string
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from wiro_nb.notebook.magic.cells import Word, parse_body, quote_word, split_words
from wiro_nb.notebook.magic.parser import parse_cell_line, parse_line, refuse_keys_in_body
from wiro_nb.redaction import redact, register_secret
from wiro_nb.sweeps.axes import read_axis

MODEL = "pruna/vace"
# What can stand inside a cell: every character but the line ends a notebook normalises away.
BODY_TEXT = st.text(st.characters(exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"))


def test_no_words_ask_for_the_status() -> None:
    assert parse_line("").command.name == "status"


def test_values_options_and_model_may_stand_in_any_order() -> None:
    parsed = parse_cell_line(f'--fresh seed=7 {MODEL} --max-cost 0.50 ratio="16:9" --as clip')
    assert parsed.arguments == {"MODEL": MODEL}
    assert parsed.values == {"seed": "7", "ratio": "16:9"}
    assert parsed.options == {"fresh": True, "max_cost": Decimal("0.50"), "as": "clip"}


def test_option_value_may_follow_an_equals_sign() -> None:
    assert parse_cell_line(f"{MODEL} --as=clip").options == {"as": "clip"}


def test_apostrophes_inside_bare_words_are_letters() -> None:
    assert parse_cell_line(f"{MODEL} prompt=it's note=rock'n'roll").values == {
        "prompt": "it's",
        "note": "rock'n'roll",
    }


def test_nothing_on_the_line_is_expanded() -> None:
    parsed = parse_cell_line(f"{MODEL} prompt='$HOME {{x}} %d ~' path=~/a*.png")
    assert parsed.values == {"prompt": "$HOME {x} %d ~", "path": "~/a*.png"}


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("{n + 1}", "n + 1"),
        ("{ {'a': '}'}['a'] }", "{'a': '}'}['a']"),
        ("{'a } b'}", "'a } b'"),
        ("{(1, 2)}", "(1, 2)"),
    ],
)
def test_a_value_in_braces_is_a_python_expression(word: str, source: str) -> None:
    assert split_words(f"seed={word} --fresh") == [Word(source, "seed", is_expression=True), Word("--fresh")]


def test_expressions_take_their_values_from_the_notebook(shell: SimpleNamespace) -> None:
    shell.ev = lambda source: eval(source, {"n": 6})
    parsed = parse_cell_line(f"{MODEL} seed={{n + 1}} inputImage={{[n]}} inputImage=b.png prompt='{{n}}'")
    assert parsed.values == {"seed": 7, "inputImage": [[6], "b.png"], "prompt": "{n}"}
    with pytest.raises(UsageError, match=r"\{m\} raises NameError: name 'm' is not defined"):
        parse_cell_line(f"{MODEL} seed={{m}}")
    with pytest.raises(UsageError, match="needs MODEL"):
        parse_cell_line("seed={m}")


@pytest.mark.parametrize("word", ["{", "{}", "{a b}", "{a}/b", '{"a": 1}', "{" * 300])
def test_braces_around_something_else_are_a_mistake(word: str) -> None:
    with pytest.raises(UsageError, match="not a Python expression in braces"):
        parse_cell_line(f"{MODEL} seed={word}")


def test_a_name_given_twice_makes_a_list() -> None:
    assert parse_cell_line(f"{MODEL} inputImage=a.png inputImage=b.png").values == {
        "inputImage": ["a.png", "b.png"]
    }


def test_a_search_takes_all_remaining_words() -> None:
    assert parse_line("models stormy sea size=big").arguments["QUERY"] == ["stormy", "sea", "size=big"]


def test_an_argument_may_take_several_words() -> None:
    assert parse_line("verify").arguments["PATH"] == []
    assert parse_line('verify a.mp4 "my clips" nb.ipynb').arguments["PATH"] == ["a.mp4", "my clips", "nb.ipynb"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("modles", "Did you mean %wiro models?"),
        ("pruna/vace", "%%wiro pruna/vace"),
        ("show", "needs RUN"),
        ("show a b", "does not understand 'b'"),
        ("runs --al", "Did you mean --all?"),
        ("runs --all --all", "given twice"),
        ("runs --model", "needs a value"),
        ("runs --all=yes", "takes no value"),
        ('info "pruna', "not closed"),
        ('form x note="a"b', "closing quote"),
    ],
)
def test_mistakes_are_usage_errors_of_exactly_that_class(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line)
    assert type(caught.value) is UsageError
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "key"),  # a key each: what one case has masked is masked for all later ones
    [
        ("login {}", "k3yk3yk3yk3a"),
        ("login --key {}", "k3yk3yk3yk3b"),
        ("show {}", "k3y4bcd9ef0gh1jk2lm3no4pq5rc"),
        ("attach {}", "k3y4bcd9ef0gh1jk2lm3no4pq5rd"),
        ("run pruna/vace api_key={}", "k3yk3yk3yk3e"),
        ("use cloud WIRO_API_SECRET={}", "k3yk3yk3yk3f"),
    ],
)
def test_a_key_on_the_line_is_refused_and_masked_from_then_on(line: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line.format(key))
    assert "k3y" not in str(caught.value)
    assert "%wiro login" in str(caught.value)
    assert key not in redact(f"it was {key}")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ("a cat\nWIRO_API_KEY={}\n", "b0dy-k3y-typ3d"),
        ("api key: {}", "b0dyk3ytyp3dagain"),
        ('"api_secret": "{}"', "b0dy.s3cr3t.typ3d"),
        ("a lighthouse {} at dusk", "b0dy4bcd9ef0gh1jk2lm3no4pq5rc"),
    ],
)
def test_a_key_in_a_prompt_is_refused_and_masked_from_then_on(body: str, key: str) -> None:
    with pytest.raises(UsageError, match="%wiro login") as caught:
        refuse_keys_in_body(body.format(key))
    assert key not in str(caught.value)
    assert key not in redact(f"it was {key}")


def test_a_secret_of_this_process_is_refused_in_a_prompt() -> None:
    register_secret("the-secret-of-this-process")
    with pytest.raises(UsageError, match="%wiro login"):
        refuse_keys_in_body("a cat the-secret-of-this-process")


@pytest.mark.parametrize(
    "body",
    [
        "a neon sign that reads API key: forgotten",
        "run 01JD5Q9W8R7T6Y5V4K3H2G1F0E again",
        "https://example.com/a0b1c2d3e4f5a0b1c2d3e4f5a0b1c2d3.png",
        "Donaudampfschifffahrtsgesellschaftskapitaen, 4k, 16:9, masterpiece2024",
        "2026-11-25-wan2-2-ti2v-5b-text-to-video-ab12c",
    ],
)
def test_ordinary_prompts_hold_no_key(body: str) -> None:
    refuse_keys_in_body(body)


def test_the_name_of_a_run_folder_is_no_key_and_stays_readable() -> None:
    folder = "2026-11-25-wan2-2-ti2v-5b-text-to-video-ab12c"
    assert parse_line(f"verify {folder}").arguments["PATH"] == [folder]
    assert redact(folder) == folder


def test_a_run_id_is_not_taken_for_a_key() -> None:
    run_id = "01JD5Q9W8R7T6Y5V4K3H2G1F0E"
    assert parse_line(f"show {run_id}").arguments == {"RUN": run_id}


def test_a_header_block_counts_only_when_every_line_before_the_rule_is_a_setting() -> None:
    body = parse_body("ratio: 16:9\nnegativePrompt: it's blurry\nseed:\n---\nA sea: calm\n---\nend\n")
    assert body.values == {"ratio": "16:9", "negativePrompt": "it's blurry", "seed": ""}
    assert body.prompt == "A sea: calm\n---\nend"


@pytest.mark.parametrize(
    "body",
    [
        "A sea: calm\nat night\n---\nmore",
        "---\nonly a rule",
        "ratio: 16:9\n----\nx",
        "a: b\n --- \nx",
        "a:b\n---\nx",
    ],
)
def test_anything_else_is_prompt(body: str) -> None:
    parsed = parse_body(body + "\n")
    assert parsed.values == {}
    assert parsed.prompt == body


def test_a_setting_twice_above_the_rule_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="seed is given twice"):
        parse_body("seed: 1\nseed: 2\n---\nx")


@given(BODY_TEXT)
@example('costs $5 {not a field} it\'s 100% "quoted" 🌊 \\n')
def test_a_body_without_a_rule_is_the_prompt_verbatim(text: str) -> None:
    lines = text.split("\n")
    if "---" in lines:
        return
    prompt = parse_body(text + "\n").prompt
    assert prompt in text
    assert text.replace(prompt, "", 1).strip() == "" if prompt else not text.strip()


@given(st.text(st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029")))
@example("it's")
@example("{x}")
@example("'")
@example("a \"b\" 'c' \\")
def test_a_quoted_value_reads_back_the_same(value: str) -> None:
    assert split_words(f"name={quote_word(value)} next") == [
        Word(value, "name", quoted=quote_word(value) != value),
        Word("next"),
    ]


@given(st.text(string.printable))
def test_any_line_is_read_or_refused_by_a_usage_error(line: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_line(line).command


def test_a_name_with_blanks_stands_in_quotes() -> None:
    parsed = parse_cell_line('a/b "my name"=x \'the other\'="two words" --sweep "a size"=1,2')
    assert parsed.values == {"my name": "x", "the other": "two words"}
    assert read_axis(parsed.options["sweep"][0]).name == "a size"
