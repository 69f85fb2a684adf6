"""The tracker: whatever order messages come in, the run only moves on, and only Detail ends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.snapshots import make_snapshot
from wiro_nb.api.answers import Event, Output, Preview, Progress, Task
from wiro_nb.execution.tracker import LOG_LINES, STAGE_OF_STATUS, TaskEnd, Tracker, clean_lines, failure_sentence
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.redaction import register_secret

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LIFE = (
    *("task_queue", "task_accept", "task_preprocess_start", "task_preprocess_end", "task_assign", "task_start"),
    *("task_output", "task_output_full", "task_end", "task_postprocess_start"),
)
CLIP = Output("clip.mp4", "video/mp4", 10, "https://cdn1.wiro.ai/clip.mp4", "1")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Followed:
    """A tracker with the snapshots that it made, one from the other."""

    def __init__(self, snapshot: Snapshot, expected_s: float | None) -> None:
        self.tracker, self.snapshot = Tracker(expected_s), snapshot

    @property
    def state(self) -> RunState | None:
        """How the task ended; None while it has not."""
        return self.tracker.end.state if self.tracker.end is not None else None

    @property
    def end(self) -> TaskEnd:
        assert self.tracker.end is not None
        return self.tracker.end

    def feed(self, message: Event | Task, now: datetime) -> Snapshot:
        if isinstance(message, Event):
            self.snapshot = self.tracker.feed_event(self.snapshot, message, now)
        else:
            self.snapshot = self.tracker.feed_task(self.snapshot, message, now)
        return self.snapshot

    def lose_contact(self, now: datetime, retry_in_s: float | None = None) -> Snapshot:
        self.snapshot = self.tracker.lost_contact(self.snapshot, now, retry_in_s)
        return self.snapshot


def tracker(expected_s: float | None = None, **changes: Any) -> Followed:
    values: dict[str, Any] = {
        "run_id": "01KAJ0000000000000000K3F9A",
        "model": "wiro/animate-diff",
        "task_id": "7",
        "submitted_at": START,
    }
    started = make_snapshot(RunState.SUBMITTED, **{"stage": Stage.WAITING, **values, **changes})
    return Followed(started, expected_s)


def step(number: int, of: int = 10, **changes: Any) -> Event:
    progress = Progress("Generate", 100.0 * number / of, number, of, 1.2, "it/s", **changes)
    return Event("task_output", "7", progress=progress)


def task(status: str, **changes: Any) -> Task:
    return Task(**{"id": "7", "token": "t" * 20, "status": status, **changes})


def won(**changes: Any) -> Task:
    return task(
        "task_postprocess_end",
        **{"exit_code": "0", "outputs": (CLIP,), "total_cost_usd": Decimal("0.1"), "finished": at(20), **changes},
    )


@pytest.mark.parametrize("status", LIFE)
def test_each_status_has_its_stage_by_event_and_by_detail(status: str) -> None:
    assert tracker().feed(Event(status, "7"), at(1)).stage is STAGE_OF_STATUS[status]
    assert tracker().feed(task(status), at(1)).stage is STAGE_OF_STATUS[status]


def test_an_unknown_status_is_a_running_task() -> None:
    followed = tracker(stage=Stage.LOADING)
    for snapshot in (
        followed.feed(Event("task_dreaming", "7"), at(1)),
        followed.feed(task("task_dreaming"), at(1)),
    ):
        assert (snapshot.state, snapshot.stage) == (RunState.SUBMITTED, Stage.LOADING)
    assert not followed.tracker.needs_detail


def test_a_whole_life_ends_with_the_files_to_fetch_and_then_done() -> None:
    followed = tracker()
    for number, status in enumerate(LIFE):
        followed.feed(Event(status, "7"), at(number))
    followed.feed(Event("task_postprocess_end", "7", outputs=(CLIP,)), at(19))
    assert followed.tracker.needs_detail
    assert followed.state is None
    fetching = followed.feed(won(), at(21))
    assert (fetching.state, fetching.stage, fetching.percent) == (RunState.SUBMITTED, Stage.FETCHING, 100.0)
    assert (fetching.cost_usd, fetching.exit_code, fetching.elapsed_s) == (Decimal("0.1"), "0", 20.0)
    assert (followed.state, followed.end.seen_at) == (RunState.SUCCEEDED, at(19))
    assert not followed.tracker.needs_detail
    assert (fetching.finished_at, fetching.outputs[0].name) == (at(20), CLIP.name)


@pytest.mark.parametrize("exit_code", ["1", "137", "00", "-1", "ok"])
def test_only_exit_code_0_is_success(exit_code: str) -> None:
    followed = tracker()
    followed.feed(won(exit_code=exit_code, error_log="Traceback\nCUDA out of memory\n"), at(9))
    assert followed.state is RunState.FAILED
    assert followed.end.message == f"The model stopped with exit code {exit_code}: CUDA out of memory"


def test_a_model_that_stopped_failed_while_generating_though_its_end_is_heard_while_saving() -> None:
    followed = tracker()
    followed.feed(Event("task_postprocess_start", "7"), at(8))
    assert followed.feed(won(exit_code="1"), at(9)).stage is Stage.SAVING
    assert followed.end.stage is Stage.GENERATING


def test_a_missing_exit_code_is_asked_for_once_more_and_is_then_a_failure() -> None:
    followed = tracker()
    followed.feed(won(exit_code=None), at(9))
    assert (followed.state, followed.tracker.needs_detail) == (None, True)
    followed.feed(won(exit_code=None), at(10))
    assert (followed.state, followed.tracker.needs_detail) == (RunState.FAILED, False)


def test_a_success_without_its_files_is_looked_at_again() -> None:
    followed = tracker()
    followed.feed(Event("task_postprocess_end", "7", outputs=(CLIP, CLIP)), at(8))
    assert followed.feed(won(), at(9)).stage is Stage.SAVING
    assert (followed.state, followed.tracker.needs_detail) == (None, True)
    assert len(followed.feed(won(outputs=(CLIP, CLIP)), at(10)).outputs) == 2
    assert followed.state is RunState.SUCCEEDED


def test_a_success_that_never_lists_a_file_is_still_a_success() -> None:
    followed = tracker()
    followed.feed(won(outputs=()), at(9))
    assert "no files" in followed.feed(won(outputs=()), at(10)).message
    assert followed.state is RunState.SUCCEEDED


def test_a_success_without_any_file_is_read_as_often_as_wanted() -> None:
    followed = tracker()
    followed.tracker = Tracker(late_looks=2)
    for seconds in range(3):
        followed.feed(won(outputs=()), at(seconds))
        assert (followed.state, followed.tracker.needs_detail) == (None, True)
    followed.feed(won(outputs=()), at(3))
    assert (followed.state, followed.tracker.needs_detail) == (RunState.SUCCEEDED, False)


def test_an_error_is_a_log_line_and_never_the_end_of_a_task_that_may_recover() -> None:
    followed = tracker()
    snapshot = followed.feed(Event("task_error", "7", text="warning: slow disk"), at(1))
    assert snapshot.log_tail == ("warning: slow disk",)
    assert not followed.tracker.needs_detail
    snapshot = followed.feed(task("task_error", error_log="input is no image"), at(2))
    assert followed.state is None
    assert snapshot.message == "The service reports an error and may recover: input is no image"
    snapshot = followed.feed(task("task_error", error_log="input is no image"), at(1000))
    assert followed.state is None
    assert snapshot.message.startswith("Stalled: input is no image.")
    assert followed.feed(won(started=at(1001)), at(1010)).message == ""
    assert followed.state is RunState.SUCCEEDED
    lost = tracker()
    lost.feed(task("task_error", error_log="input is no image"), at(2))
    lost.feed(task("task_postprocess_end", exit_code="1", error_log="input is no image"), at(3))
    assert lost.state is RunState.FAILED
    assert lost.end.message == "The service could not start the model: input is no image"


def test_a_cancel_event_asks_detail_which_ends_the_run_where_it_was() -> None:
    followed = tracker(stage=Stage.QUEUED)
    followed.feed(Event("task_cancel", "7"), at(3))
    assert followed.tracker.needs_detail
    followed.feed(task("task_cancel", cancelled=at(2)), at(4))
    assert (followed.state, followed.end.stage) == (RunState.CANCELLED, Stage.QUEUED)
    assert (followed.end.seen_at, followed.end.task.cancelled) == (at(3), at(2))


def test_messages_of_another_task_are_ignored() -> None:
    followed = tracker()
    before = followed.snapshot
    followed.feed(Event("task_start", "8"), at(1))
    followed.feed(won(id="8"), at(1))
    assert followed.snapshot is before


def test_no_time_left_is_told_until_two_steps_have_been_seen() -> None:
    followed = tracker()
    assert followed.feed(step(1, remaining_s=9.0), at(1)).remaining_s is None
    assert followed.feed(step(1, remaining_s=9.0), at(2)).remaining_s is None
    assert followed.feed(step(2, remaining_s=8.0), at(3)).remaining_s == 8.0
    silent = Event("task_output", "7")
    assert followed.feed(silent, at(5)).remaining_s == 6.0
    assert followed.feed(silent, at(12)).remaining_s is None
    assert followed.snapshot.elapsed_s == 12.0


def test_without_the_services_word_history_tells_the_time_left() -> None:
    followed = tracker(expected_s=30.0)
    followed.feed(Event("task_start", "7"), at(10))
    followed.feed(step(1), at(12))
    assert followed.feed(step(2), at(14)).remaining_s == 26.0
    followed = tracker()
    followed.feed(step(1), at(12))
    assert followed.feed(step(2), at(14)).remaining_s is None


def test_contact_lost_and_found() -> None:
    followed = tracker()
    lost = followed.lose_contact(at(3), retry_in_s=2)
    assert (lost.lost_since, lost.retry_in_s, lost.state) == (at(3), 2, RunState.SUBMITTED)
    assert followed.lose_contact(at(6), retry_in_s=5).lost_since == at(3)
    found = followed.feed(task("task_start"), at(8))
    assert (found.lost_since, found.retry_in_s) == (None, None)


def test_per_cent_of_loading_weights_does_not_fill_the_bar() -> None:
    event = Event("task_output", "7", progress=Progress("Loading checkpoint", 100.0))
    assert tracker().feed(event, at(1)).percent is None


def test_the_log_keeps_its_tail_and_counts_everything() -> None:
    followed = tracker()
    for number in range(LOG_LINES + 50):
        followed.feed(Event("task_output", "7", text=f"line {number}"), at(number))
    snapshot = followed.feed(Event("task_output", "7", text=f"line {LOG_LINES + 49}"), at(999))
    assert (len(snapshot.log_tail), snapshot.log_count) == (LOG_LINES, LOG_LINES + 50)
    whole = "\n".join(f"line {number}" for number in range(400))
    assert followed.feed(task("task_start", log=whole), at(999)).log_count == 400


def test_log_lines_are_plain_and_hold_no_secret() -> None:
    register_secret("s3cr3t-key-0042")
    assert clean_lines("\x1b[31mred\x1b[0m\n\n 10%\r 90%\r\nkey s3cr3t-key-0042") == (
        "red",
        " 90%",
        "key [redacted]",
    )
    assert failure_sentence("1", "", Stage.LOADING) == "The model stopped with exit code 1. The log is empty."


def test_a_version_rises_only_with_a_change() -> None:
    followed, silent = tracker(), Event("task_output", "7")
    first = followed.feed(silent, at(1))
    assert followed.feed(silent, at(1)) is first
    assert followed.feed(silent, at(2)).version == first.version + 1


percents = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
counts = st.one_of(st.none(), st.integers(-2, 12))
progresses = st.builds(
    Progress,
    task=st.sampled_from(["Generate", "", "Loading weights", "Upscale"]),
    percent=percents,
    step=counts,
    steps=counts,
    rate=percents,
    remaining_s=percents,
)
events = st.builds(
    Event,
    status=st.sampled_from(
        [*LIFE, "task_error", "task_error_full", "task_postprocess_end", "task_cancel", "odd", ""]
    ),
    task_id=st.sampled_from([None, "7", "8"]),
    text=st.one_of(st.none(), st.text(max_size=30)),
    progress=st.one_of(st.none(), progresses),
    outputs=st.one_of(st.none(), st.just((CLIP,))),
)
tasks = st.builds(
    task,
    st.sampled_from([*LIFE, "task_error", "task_postprocess_end", "task_cancel", "odd"]),
    exit_code=st.sampled_from([None, "", "0", "1"]),
    outputs=st.sampled_from([(), (CLIP,)]),
    started=st.sampled_from([None, at(3)]),
    log=st.text(max_size=30),
)
messages = st.lists(st.tuples(st.one_of(events, tasks), st.floats(-5, 100)), max_size=40)


@given(messages=messages)
def test_nothing_goes_backwards_whatever_comes(messages: list[tuple[Event | Task, float]]) -> None:
    followed = tracker(expected_s=20.0)
    before = followed.snapshot
    for message, seconds in messages:
        had_ended = followed.state
        after = followed.feed(message, at(seconds))
        if had_ended is not None:
            assert (after, followed.state) == (before, had_ended)
        assert after.version >= before.version
        assert after.stage.rank >= before.stage.rank
        assert (after.percent or 0.0) >= (before.percent or 0.0)
        assert after.percent is None or 0.0 <= after.percent <= 100.0
        assert (after.step or 0) >= (before.step or 0)
        assert after.log_count >= before.log_count
        assert len(after.log_tail) <= LOG_LINES
        assert (after.elapsed_s or 0.0) >= 0.0
        assert after.remaining_s is None or after.remaining_s > 0
        assert after.state is RunState.SUBMITTED, "only the record ends a run"
        if isinstance(message, Event):
            assert followed.state is had_ended
        before = after


@given(order=st.permutations(range(14)), doubled=st.sets(st.integers(0, 13)), cut=st.integers(0, 14))
def test_shuffled_doubled_and_cut_off_events_end_the_same(order: list[int], doubled: set[int], cut: int) -> None:
    story = [*(Event(status, "7") for status in LIFE), *(step(number) for number in (2, 5, 9))]
    story.append(Event("task_postprocess_end", "7", outputs=(CLIP,)))
    followed = tracker()
    for position in order[:cut]:
        for _ in range(2 if position in doubled else 1):
            followed.feed(story[position], at(position))
    followed.feed(won(), at(21))
    assert followed.state is RunState.SUCCEEDED
    snapshot = followed.snapshot
    assert (snapshot.stage, snapshot.percent) == (Stage.FETCHING, 100.0)
    assert snapshot.elapsed_s == 20.0


def test_a_preview_is_live_state_that_moves_no_stage_writes_no_log_and_ends_with_the_run() -> None:
    look = Preview("data:image/jpeg;base64,anBlZw==", 104, 60)
    followed = tracker()
    followed.feed(Event("task_start", "7"), at(1))
    shown = followed.feed(Event("task_preview", "7", preview=look), at(2))
    assert (shown.preview, shown.stage, shown.log_count) == (look, Stage.GENERATING, 0)
    assert followed.feed(step(3), at(3)).preview == look
    assert followed.feed(won(), at(4)).preview is None


def test_a_model_that_never_started_failed_while_preparing_though_its_end_came_first() -> None:
    followed = tracker()
    for seconds, status in enumerate(("task_accept", "task_error", "task_postprocess_end")):
        followed.feed(Event(status, "7"), at(seconds))
    followed.feed(task("task_postprocess_end", exit_code="1", error_log="no weights"), at(4))
    assert (followed.state, followed.end.stage) == (RunState.FAILED, Stage.PREPARING)
