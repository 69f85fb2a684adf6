"""Which runs a list shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wiro_nb.errors import InputError
from wiro_nb.presentation.run_list import describe_filters, parse_since

NOW = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("7d", timedelta(days=7)),
        ("3h", timedelta(hours=3)),
        ("90 m", timedelta(minutes=90)),
        ("2W", timedelta(weeks=2)),
    ],
)
def test_lengths_of_time_count_back_from_now(text: str, ago: timedelta) -> None:
    assert parse_since(text, NOW) == NOW - ago


def test_days_begin_at_midnight_here() -> None:
    today, yesterday = parse_since("today", NOW), parse_since("yesterday", NOW)
    assert today.astimezone().hour == 0
    assert today - yesterday in (timedelta(hours=hours) for hours in (23, 24, 25))
    assert yesterday < today <= NOW
    assert parse_since("2026-11-20", NOW).astimezone().date().isoformat() == "2026-11-20"


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "7y"])
def test_other_words_are_refused_with_what_can_be_typed(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_since(text, NOW)
    assert "--since 7d" in refused.value.hint


def test_the_heading_names_the_filters() -> None:
    assert describe_filters(model=None, state="done", since="7d") == ", state done, since 7d"
