"""What the card says of each state, and how many messages a moving run costs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.snapshots import make_snapshot
from wiro_nb.api.answers import Preview
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.notebook.widgets.card import RunCard, card_view

from .conftest import send

NOW = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)


def snapshot(state: RunState, stage: Stage, **changes: Any) -> Snapshot:
    base: dict[str, Any] = {
        "run_id": "01JD00000000000000000ABCDE",
        "model": "a/b",
        "submitted_at": NOW,
        "estimated_usd": Decimal("0.04"),
        "prompt": "a lighthouse",
    }
    return make_snapshot(state, stage, **{**base, **changes})


GENERATING = snapshot(
    RunState.SUBMITTED,
    Stage.GENERATING,
    percent=60.0,
    step=6,
    steps=10,
    rate=1.2,
    rate_unit="it/s",
    remaining_s=3.2,
    elapsed_s=5.0,
)

EXPECTED = {
    "slot": (snapshot(RunState.PLANNED, Stage.WAITING, ahead=1, submitted_at=None), "Waiting for a slot", "off"),
    "sending": (snapshot(RunState.SUBMITTING, Stage.WAITING, submitted_at=None), "Sending", "brand"),
    "queued": (snapshot(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=12.0), "Queued", "brand"),
    "running": (GENERATING, "Generating", "brand"),
    "lost": (
        snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=60.0, lost_since=NOW - timedelta(seconds=38)),
        "Lost contact",
        "warn",
    ),
    "uncertain": (snapshot(RunState.UNCERTAIN, Stage.WAITING), "Sent, answer lost", "warn"),
    "done": (snapshot(RunState.SUCCEEDED, Stage.DONE, cost_usd=Decimal("0.038")), "Done", "ok"),
    "failed": (snapshot(RunState.FAILED, Stage.GENERATING, percent=30.0), "Failed while generating", "err"),
    "cancelled": (snapshot(RunState.CANCELLED, Stage.QUEUED), "Cancelled", "off"),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_state_has_its_word_tone_and_icon_and_is_plain_json(kind: str) -> None:
    view = card_view(EXPECTED[kind][0], now=NOW)
    assert (view["kind"], view["label"], view["variant"]) == (kind, *EXPECTED[kind][1:])
    assert json.loads(json.dumps(view)) == view


def test_icons_differ_where_words_do() -> None:
    icons = [card_view(item, now=NOW)["icon"] for item, _, _ in EXPECTED.values()]
    assert len(set(icons)) == len(icons) - 2, (
        "sending and running share one, lost contact and a lost answer another"
    )


def test_a_generating_run_says_its_numbers_and_what_a_screen_reader_hears() -> None:
    view = card_view(GENERATING, now=NOW)
    assert view["numbers"] == ["60%", "step 6 of 10", "1.2 it/s"]
    assert view["left_s"] == 3.2
    assert view["valuetext"] == "Generating, 60 percent, step 6 of 10, about 3 seconds left"
    assert view["cost"] == "about $0.04 if it succeeds"
    assert [stage["state"] for stage in view["steps"]] == ["past", "past", "past", "now", ""]
    assert view["elapsed"] == {"label": "elapsed", "seconds": 5.0, "ticking": True}
    assert [action["id"] for action in view["actions"]] == ["cancel"]


def test_there_is_no_estimate_before_two_steps() -> None:
    early = snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=10.0, step=1, steps=10, remaining_s=90.0)
    assert card_view(early, now=NOW)["left_s"] is None


def test_a_failed_run_shows_no_percent_as_text_and_says_it_cost_nothing() -> None:
    view = card_view(EXPECTED["failed"][0], now=NOW)
    assert view["numbers"] == []
    assert view["aside"] == "billed: nothing"
    assert [stage["state"] for stage in view["steps"]] == ["past", "past", "past", "bad", ""]
    assert view["percent"] == 30.0


def test_a_lost_run_keeps_its_last_number_and_its_age() -> None:
    view = card_view(EXPECTED["lost"][0], now=NOW)
    assert view["numbers"] == ["60%"]
    assert view["elapsed"]["seconds"] == 38
    assert view["notes"][0]["command"] == "%wiro wait abcde"


def test_cancelling_is_said_on_the_button() -> None:
    view = card_view(snapshot(RunState.SUBMITTED, Stage.QUEUED, cancel_at=NOW), now=NOW)
    assert view["actions"][0]["label"] == "Cancelling"
    assert view["actions"][0]["off"] is True


def test_a_finished_run_has_its_facts() -> None:
    clip = RunOutput(
        "a.mp4",
        "video/mp4",
        172_000,
        "9f3ad1c0aaaa",
        path="out/a.mp4",
        width=832,
        height=480,
        duration_s=5.06,
        fps=16.0,
        frames=81,
    )
    done = snapshot(
        RunState.SUCCEEDED,
        Stage.DONE,
        outputs=(clip,),
        cost_usd=Decimal("0.038"),
        elapsed_s=9.0,
        seed={"value": "7"},
    )
    facts = dict(card_view(done, now=NOW)["facts"])
    assert facts == {
        "Seed": "7", "Size": "832 × 480", "Frames": "81", "Rate": "16 fps", "Length": "5.1 s", "Elapsed": "0:09",
        "Cost": "$0.038", "Forecast": "about $0.04", "File size": "172 KB", "sha256": "9f3ad1c0",
    }  # fmt: skip


def test_a_step_of_progress_is_one_message_without_the_log(messages: list[Any]) -> None:
    card = RunCard(snapshot(RunState.SUBMITTED, Stage.GENERATING, log_tail=("a",), log_count=1, version=1))
    before = len(messages)
    card.update(
        snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=50.0, log_tail=("a",), log_count=1, version=2)
    )
    fresh = messages[before:]
    assert len(fresh) == 1
    assert set(fresh[0][1]["state"]) == {"state"}


def test_an_older_moment_never_overwrites_a_newer_one() -> None:
    card = RunCard(snapshot(RunState.SUCCEEDED, Stage.DONE, version=9))
    card.update(snapshot(RunState.SUBMITTED, Stage.GENERATING, version=8))
    assert card.state["kind"] == "done"


def test_known_actions_reach_the_handler() -> None:
    seen: list[str] = []
    card = RunCard(GENERATING, on_action=lambda action, _: seen.append(action))
    send(card, {"action": "cancel"})
    send(card, {"action": "rm -rf"})
    assert seen == ["cancel"]


def test_a_preview_comes_with_the_moment_in_one_message_and_goes_with_the_end(messages: list[Any]) -> None:
    card = RunCard(GENERATING)
    messages.clear()
    look = Preview("data:image/jpeg;base64,anBlZw==", 104, 60)
    card.update(replace(GENERATING, version=1, step=7, preview=look))
    assert [sorted(content["state"]) for _, content in messages] == [["preview", "state"]]
    assert card.preview == {"image": look.image, "width": 104, "height": 60}
    messages.clear()
    card.update(replace(GENERATING, version=2, step=8, preview=look))
    assert [sorted(content["state"]) for _, content in messages] == [["state"]]
    card.update(replace(GENERATING, version=3, stage=Stage.FETCHING))
    assert card.preview == {}


def test_a_finished_card_says_what_made_the_clip_and_what_stands_in_for_a_setting() -> None:
    done = snapshot(RunState.SUCCEEDED, Stage.DONE, service="local")
    made_by = {"engine": "diffusers", "pipeline": "WanPipeline", "device": "CPU", "notes": ["a stands in for b."]}
    view = card_view(done, now=NOW, record={"made_by": made_by})
    assert view["facts"][-1] == ["Made by", "diffusers, WanPipeline, CPU"]
    assert [note["text"] for note in view["notes"]] == ["a stands in for b."]
    assert "Made by" not in dict(card_view(done, now=NOW, record={"made_by": {"engine": "placeholder"}})["facts"])
