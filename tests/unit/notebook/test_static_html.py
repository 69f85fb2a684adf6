"""What a saved notebook keeps of a run: safe, small, complete, and the same in text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.notebook.snapshots import CANCELLED, CLIP, DONE, FAILED, GENERATING, POSTER, UNCERTAIN, at
from wiro_nb.api.pricing import Estimate
from wiro_nb.errors import InvalidParameter, MissingCredentials, UnknownModel, UnknownRun
from wiro_nb.formatting import format_budget, format_duration, format_size, format_usd
from wiro_nb.ledger.budget import BudgetState
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot
from wiro_nb.notebook.account import AccountStatus, Budget
from wiro_nb.notebook.magic.handlers import help_output
from wiro_nb.presentation.command_table import CELL, COMMANDS
from wiro_nb.presentation.html import escape
from wiro_nb.presentation.models import ModelInfo, models_output, option_labels
from wiro_nb.presentation.output import error_output, message
from wiro_nb.presentation.reproduction import comparison_output
from wiro_nb.presentation.run import run_output
from wiro_nb.presentation.run_list import format_run_cost, key_settings, runs_output
from wiro_nb.reproduce.compare import Comparison, OutputComparison, Side
from wiro_nb.schema import bundled_models
from wiro_nb.schema.types import ModelSchema, Option, Parameter
from wiro_nb.schema.values import prepare
from wiro_nb.session.prices import Total

POSTERS = {str(CLIP.poster_path): POSTER}
VOID = {"img", "br"}
# What JupyterLab's sanitizer lets through in an untrusted notebook, of what we use.
TAGS = {
    "a", "audio", "b", "br", "code", "details", "div", "img", "pre", "span", "summary",
    "table", "tbody", "td", "th", "thead", "tr", "video",
}  # fmt: skip
ATTRIBUTES = {
    "alt", "controls", "height", "href", "loop", "muted", "open", "poster", "preload", "scope", "src", "style",
    "title", "width",
}  # fmt: skip
DROPPED_STYLES = ("var(", "currentcolor", "inherit", "aspect-ratio", "object-fit", "overflow-wrap", "word-break")


class Page(HTMLParser):
    """Checks that tags close in order, and keeps text, tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def every_page() -> list[str]:
    states = [DONE, FAILED, CANCELLED, GENERATING, UNCERTAIN, at(outputs=(CLIP, CLIP)), at(outputs=())]
    error = InvalidParameter("effect has no choice <x>", near=["a", "b"], allowed=["a", "b", "c"], name="effect")
    pages = [run_output(snapshot, POSTERS, notice="why") for snapshot in states]
    pages += [runs_output([], spent="", filters=", state failed, text <b>")]
    pages += [runs_output(states, spent="Spent $1 of $2."), runs_output([], spent="")]
    pages += [
        error_output(error),
        error_output(MissingCredentials("no key", looked_in=[["environment", "not set"]])),
    ]
    pages += [ModelInfo(schema, "about $0.04").output() for schema in bundled_models()]
    pages += [help_output(), *(help_output(command) for command in (CELL, *COMMANDS))]
    pages += [
        AccountStatus(
            Budget(Decimal(2), Decimal("0.31"), Decimal(0), "cloud"), False, "key", (GENERATING,), ""
        ).output()
    ]
    assert all(page.text.strip() for page in pages)
    return [page.html for page in pages]


def test_help_ends_with_a_line_that_can_be_typed() -> None:
    for command in (CELL, *COMMANDS):
        assert help_output(command).text.endswith(f"\n  next: {command.example}")


@pytest.mark.parametrize("page", every_page())
def test_every_page_uses_only_what_survives_an_untrusted_notebook(page: str) -> None:
    read = Page(page)
    assert read.tags <= TAGS
    assert {name for _, name, _ in read.attributes} <= ATTRIBUTES
    styles = " ".join(value for _, name, value in read.attributes if name == "style").lower()
    assert not any(word in styles for word in DROPPED_STYLES)
    assert all(value for tag, name, value in read.attributes if tag == "img" and name == "alt")


@pytest.mark.parametrize("page", every_page())
def test_no_text_node_has_two_dollar_signs_for_maths_to_pair(page: str) -> None:
    assert all(piece.count("$") < 2 for piece in Page(page).pieces)


@given(st.text())
def test_any_text_reads_back_the_same_and_stays_text(text: str) -> None:
    read = Page(f"<div>{escape(text)}</div>")
    assert read.tags <= {"div", "span"}
    assert read.text == re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text), "control characters have no picture"


@given(st.text(), st.text(), st.text())
def test_hostile_texts_of_a_run_make_no_tag_and_no_attribute(prompt: str, name: str, value: str) -> None:
    evil = '"><script>alert(1)</script>'
    snapshot = at(prompt=prompt + evil, parameters={name + evil: value + evil}, model=evil, run_id=evil)
    read = Page(run_output(snapshot).html)
    assert "script" not in read.tags
    assert {attribute for _, attribute, _ in read.attributes} <= ATTRIBUTES


def test_done_names_facts_file_settings_and_the_next_command() -> None:
    bundle = run_output(DONE, POSTERS, labels={"ratio": "Landscape"})
    text = Page(bundle.html).text
    for part in (
        "Done",
        "Seed7",
        "Size832 × 480",
        "Frames81",
        "Rate16 fps",
        "Length5.1 s",
        "Elapsed0:09",
        "Cost$0.038",
    ):
        assert part in text
    assert "172 KB" in text
    assert "Settings (4)" in text
    assert "Landscape 16:9" in text
    assert "%wiro" in text
    assert "9f3ad1c0" in text
    assert "seed 7, size 832 × 480, frames 81" in bundle.text


def test_paths_are_links_with_every_odd_character_encoded() -> None:
    sources = [value for tag, name, value in Page(run_output(DONE).html).attributes if name == "src"]
    assert sources[0] == "wiro_outputs/2026-11-21-vace-8k2qf/clip%20one%231.mp4"


def test_a_run_with_posters_adds_at_most_30_kilobytes() -> None:
    # Just under what the poster maker is allowed; four clips of one run share the same allowance.
    posters = {f"p{index}.jpg": b"\xff\xd8" + bytes(8_000) for index in range(4)}
    outputs = tuple(at(outputs=(CLIP,)).outputs[0] for _ in range(4))
    several = tuple(
        RunOutput(**{**{name: getattr(clip, name) for name in RunOutput.__slots__}, "poster_path": path})
        for clip, path in zip(outputs, posters, strict=True)
    )
    for snapshot in (at(outputs=several[:1]), at(outputs=several)):
        assert len(json.dumps(run_output(snapshot, posters).data)) <= 30_000


def test_other_kinds_of_output_are_shown_too() -> None:
    picture = RunOutput(name="a.png", content_type="image/png", path="o/a.png", width=10, height=10)
    sound = RunOutput(name="a.mp3", content_type="audio/mpeg", path="o/a.mp3")
    words_out = RunOutput(name="", content_type="raw", content={"answer": ["an <answer>"], "raw": "x"})
    other = RunOutput(name="a.zip", content_type="application/zip", path="o/a.zip")
    read = Page(run_output(at(outputs=(picture, sound, words_out, other))).html)
    assert {"img", "audio", "a"} <= read.tags
    assert "an <answer>" in read.text
    assert "o/a.zip" in read.text


def test_a_missing_file_says_how_to_get_it_again() -> None:
    lost = RunOutput(name="clip.mp4", content_type="video/mp4", problem="the download broke off")
    bundle = run_output(at(outputs=(lost,)))
    assert "the download broke off" in Page(bundle.html).text
    assert "%wiro download 8k2qf" in bundle.text


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (
            FAILED,
            ["Failed while generating", "The model ran out of memory.", "Billed: nothing.", "Log (18 lines)"],
        ),
        (CANCELLED, ["Cancelled", "Stopped after 0:04", "Billed: nothing."]),
        (GENERATING, ["Not finished when this notebook was saved", "at 60%", "%wiro show 8k2qf"]),
        (
            UNCERTAIN,
            [
                "Sent, answer lost",
                "never sent a second time by itself",
                "billed once",
                "%wiro attach",
                "%wiro forget",
            ],
        ),
    ],
)
def test_other_states_say_what_happened_and_what_it_cost(snapshot: Snapshot, said: list[str]) -> None:
    bundle = run_output(snapshot)
    assert bundle.jpeg == ""
    text = Page(bundle.html).text
    assert [part for part in said if part not in text] == []


def test_a_sandbox_run_is_free_and_says_so() -> None:
    assert "costfree, sandbox" in Page(run_output(at(service="sandbox")).html).text.lower()


def test_an_error_names_near_values_cost_and_one_command() -> None:
    error = InvalidParameter(
        "effect has no choice", near=["slow pan"], allowed=["slow pan", "tilt"], hint="%wiro info a/b"
    )
    bundle = error_output(error)
    text = Page(bundle.html).text
    for part in ("Effect has no choice", "slow pan", "Nothing was sent and nothing was billed.", "%wiro info a/b"):
        assert part in text
    assert bundle.text.startswith("wiro: Effect has no choice.")


def test_an_error_says_each_problem_once_with_the_names_people_see() -> None:
    values = {"prompt": "a fox", "loraType": "PanLft", "steps": "many"}
    schema = next(schema for schema in bundled_models() if schema.slug == "wiro/animate-diff")
    with pytest.raises(InvalidParameter) as caught:
        prepare(schema, values)
    for text in (Page(error_output(caught.value).html).text, error_output(caught.value).text):
        assert text.count("Did you mean PanLeft or PanRight?") == 1
        assert "FILE:" not in text
        assert text.count("steps=many") == 1


def test_an_error_has_a_capital_letter_and_a_full_stop_unless_it_starts_with_an_input() -> None:
    assert UnknownModel("there is no model a/b").lines()[0] == "There is no model a/b."
    assert InvalidParameter("prompt is required", name="prompt").lines()[0] == "prompt is required."
    assert InvalidParameter("seed=x: not a number.", name="seed").lines()[0] == "seed=x: not a number."


def test_only_an_error_that_refuses_a_run_says_that_nothing_was_billed() -> None:
    assert "billed" not in "".join(UnknownRun("No run 'x'.").lines())
    assert "nothing was billed" in "".join(InvalidParameter("seed=x: not a number.").lines())


def test_labels_are_given_only_where_they_differ_from_the_value() -> None:
    vace = next(schema for schema in bundled_models() if schema.slug == "pruna/vace")
    chosen = at(parameters={"ratio": "16:9", "resolution": "480p", "prompt": "x"})
    assert option_labels(chosen, vace) == {"ratio": "16:9 (Landscape)"}
    assert option_labels(chosen, None) == {}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("0.038", "$0.038"),
        ("0.04", "$0.04"),
        ("0.1", "$0.10"),
        ("1234.5", "$1,234.50"),
        ("-2", "-$2.00"),
    ],
)
def test_money_has_three_decimals_under_ten_cents_else_two(amount: str, text: str) -> None:
    assert format_usd(Decimal(amount)) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (5.2, "0:05"), (65, "1:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (172_000, "172 KB"), (3_140_000, "3.1 MB")])
def test_file_size(size: int, text: str) -> None:
    assert format_size(size) == text


def test_key_settings_are_those_that_differ_from_the_default_by_their_label() -> None:
    model = next(schema for schema in bundled_models() if schema.slug == "wiro/animate-diff")
    camera = next(item for item in model.parameters if any(option.label == "PanLeft" for option in item.options))
    pan = next(option.value for option in camera.options if option.label == "PanLeft")
    usual = {item.id: item.default for item in model.parameters if isinstance(item.default, str)}
    listed = key_settings(at(model=model.slug, seed=None, parameters={**usual, camera.id: pan}), model)
    assert listed.startswith(f"{camera.id} PanLeft")
    assert (
        pan not in runs_output([at(model=model.slug, parameters={camera.id: pan})], spent="", schemas=[model]).text
    )


def test_a_default_is_shown_by_its_label() -> None:
    ratio = Parameter("ratio", "select", "Ratio", default="a:1", options=(Option("a:1", "Square"),))
    page = ModelInfo(ModelSchema("a/b", "a/b", "B", parameters=(ratio,)), "").output()
    assert "default Square" in page.text
    assert "a:1" not in page.html
    picture = Parameter("image", "fileinput", "Image", default="https://service.example/sample.png")
    page = ModelInfo(ModelSchema("a/b", "a/b", "B", parameters=(picture,)), "").output()
    assert "a sample of the service, not sent" in page.html
    assert "sample.png" not in page.html + page.text


def test_bars_of_psnr_are_shown_where_frames_differ_by_more_than_noise() -> None:
    def page(*values: float) -> str:
        output = OutputComparison("output", "different", psnr_db=values)
        side = Side("8k2qf", None, ())
        return comparison_output(Comparison(side, side, None, (output,))).html

    assert "PSNR by frame, 20.0 to 30.0 dB: ▁▅█" in page(20.0, 25.0, 30.0)
    assert "PSNR by frame" not in page(20.0, 20.1, 20.2)


def test_a_line_begins_with_a_capital_where_no_name_of_the_program_leads_it() -> None:
    output = message("spent $0.31 of $2.00")
    assert output.text == "wiro: spent $0.31 of $2.00"
    assert "Spent " in output.html


def test_a_rule_is_a_sentence_behind_the_help_and_what_is_required_is_said() -> None:
    frames = Parameter("frames", "number", "Frames", required=True, help="How many.", rule="4n+1")
    page = ModelInfo(ModelSchema("a/b", "a/b", "B", parameters=(frames,)), "").output()
    assert "How many. Must be 4n + 1" in page.html
    assert "required" in page.html
    known = replace(frames, help="How many (4n + 1).")
    assert "Must be" not in ModelInfo(ModelSchema("a/b", "a/b", "B", parameters=(known,)), "").output().html


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"state": RunState.CANCELLED, "task_id": None, "submitting_at": None}, "$0"),
        ({"state": RunState.SUBMITTED, "estimated_usd": Decimal("0.04")}, "about $0.04"),
        ({"state": RunState.SUBMITTED, "estimated_usd": None}, "not listed"),
        ({"state": RunState.FAILED, "cost_usd": Decimal("0.038")}, "$0.038"),
    ],
)
def test_a_list_says_what_a_run_cost_or_may_cost(changes: dict[str, Any], cost: str) -> None:
    assert format_run_cost(at(**{"service": "cloud", "cost_usd": None, **changes})) == cost


def test_no_model_found_and_no_run_found_name_what_to_type() -> None:
    assert "no models match “zzz”" in models_output([], "zzz", "sandbox", "").text
    error = UnknownRun("No run", near=["01JD5Q9W8R7T6Y5V4K3H28K2QF"])
    assert "8k2qf" in error_output(error).html
    assert "01JD5Q9W8R7T" not in error_output(error).html


def test_a_filter_that_fits_nothing_is_not_an_empty_notebook() -> None:
    assert runs_output([], spent="").text.startswith("wiro: no runs in this notebook yet\n  next: %wiro models")
    told = runs_output([], spent="", filters=", state failed, since 7d")
    assert told.text == (
        "wiro: no run in this notebook fits state failed, since 7d\n  next: %wiro runs for all of them"
    )
    assert "fits state failed, since 7d" in told.html


def test_less_than_a_tenth_of_a_cent_is_never_about_under() -> None:
    tiny = Decimal("0.0002")
    assert format_budget(BudgetState(None, Decimal(0), tiny, "cloud")).endswith(
        "in flight under $0.001; no budget is set"
    )
    cost = Estimate(tiny, tiny, "", known=True, seconds=40.0)
    assert Total(2, cost, "").describe() == "2 runs, under $0.001, about 0:40 of work"
    assert Total(2, cost, "").describe(with_time=False) == "2 runs, under $0.001"
