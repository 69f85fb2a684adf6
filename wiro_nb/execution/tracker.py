"""Turns events and answers of the service into snapshots. Pure: no clock, no socket, no lock.

Events can come shuffled, doubled, late or not at all. So nothing here goes backwards: stages and per cent only
rise, an end is believed only from Task/Detail (events carry neither exit code nor cost), and after an end
nothing changes any more. The end alone may name an earlier stage: an error is reported only after the last one,
and what failed then was the generating, or the preparing of a model that never started.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wiro_nb.api.answers import CANCEL_STATUS, ERROR_STATUS, SUCCESS_STATUS, TERMINAL_STATUSES
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.redaction import redact, strip_query

if TYPE_CHECKING:
    from wiro_nb.api.answers import Event, Output, Progress, Task

LOG_LINES = 200
LINE_LENGTH = 500
STEPS_BEFORE_ESTIMATE = 2
STALLED_AFTER = timedelta(minutes=10)
"""How long a task may show an error before its run is called stalled."""

STAGE_OF_STATUS = {
    "task_queue": Stage.QUEUED,
    "task_accept": Stage.PREPARING,
    "task_preprocess_start": Stage.PREPARING,
    "task_preprocess_end": Stage.PREPARING,
    "task_assign": Stage.LOADING,
    "task_start": Stage.GENERATING,
    "task_output": Stage.GENERATING,
    "task_output_full": Stage.SAVING,
    "task_end": Stage.SAVING,
    "task_postprocess_start": Stage.SAVING,
    "task_postprocess_end": Stage.SAVING,
}
"""Stages of the statuses; one never seen before is a running task and moves nothing."""

_PREPARATION = re.compile(r"load|fetch|prepar|init|compil|warm", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a task ended.

    Attributes:
        task: The answer of Task/Detail or Task/List that showed it.
        state: Succeeded, failed or cancelled.
        stage: Where it ended.
        message: Why it failed, in one line; "" for other ends.
        seen_at: When an event told of the end (UTC), or None.
        is_unknown: The service does not know the task any more; then nothing else is known either.
    """

    task: Task
    state: RunState
    stage: Stage
    message: str = ""
    seen_at: datetime | None = None
    is_unknown: bool = False


class Tracker:
    """Computes the snapshots of one run from the messages about its task.

    Args:
        expected_s: Seconds of work that earlier runs took, for the time left; None without history.
        late_looks: How often a success that lists no files is read again, besides the once of any incomplete end.

    Attributes:
        end: How the task ended, once Task/Detail or Task/List showed it.
        needs_detail: The task is over by its events, or a Detail was incomplete: read Task/Detail (again).
        end_seen_at: When an event told of the end first, or None.
    """

    def __init__(self, expected_s: float | None = None, late_looks: int = 0) -> None:
        self.end: TaskEnd | None = None
        self.needs_detail = False
        self.end_seen_at: datetime | None = None
        self._expected_s = expected_s
        self._steps_seen: tuple[float, ...] = ()
        self._service_remaining: tuple[float, datetime] | None = None
        self._reserved = 0
        self._late_looks = late_looks
        self._incomplete_details = 0
        self._error_since: datetime | None = None

    def feed_event(self, current: Snapshot, event: Event, now: datetime) -> Snapshot:
        """Takes one message of the socket; messages of other tasks are ignored."""
        if self.end is not None or not _is_mine(current, event.task_id):
            return current
        changes: dict[str, Any] = {"lost_since": None, "retry_in_s": None}
        if event.status in TERMINAL_STATUSES:
            self.needs_detail, self.end_seen_at = True, self.end_seen_at or now
            self._reserved = max(self._reserved, len(event.outputs or ()))
        if event.status == ERROR_STATUS and current.stage.rank < Stage.GENERATING.rank:
            self._error_since = self._error_since or now
        changes |= _raise_stage(current, STAGE_OF_STATUS.get(event.status), now)
        if event.progress is not None:
            changes |= self._progress(current, event.progress, now)
        if event.preview is not None:
            changes["preview"] = event.preview
        if event.text and event.progress is None:
            whole = event.status in ("task_output_full", "task_error_full")
            changes |= (_whole_log if whole else _log_lines)(current, event.text)
        return self._apply(current, changes, now)

    def feed_task(self, current: Snapshot, task: Task, now: datetime) -> Snapshot:
        """Takes an answer of Task/Detail or Task/List, which is the truth about how a task ends."""
        if self.end is not None or not _is_mine(current, task.id):
            return current
        changes: dict[str, Any] = {"lost_since": None, "retry_in_s": None, "task_id": current.task_id or task.id}
        if task.started is not None:
            changes["started_at"] = task.started
        if task.log:
            changes |= _whole_log(current, task.log)
        exit_code = (task.exit_code or "").strip()
        if task.status == ERROR_STATUS:
            changes["message"] = self._error_message(task, now)
        elif task.status == CANCEL_STATUS:
            self._finish(task, RunState.CANCELLED, current.stage)
        elif task.status != SUCCESS_STATUS:
            if task.status in STAGE_OF_STATUS and self._error_since is not None and task.started is not None:
                self._error_since, changes["message"] = None, ""
            changes = _raise_stage(current, STAGE_OF_STATUS.get(task.status), now) | changes
        elif exit_code != "0":
            if exit_code or not self._is_read_again():
                self._fail(current, task)
        elif len(task.outputs) < max(1, self._reserved) and self._is_read_again(
            0 if task.outputs else self._late_looks
        ):
            changes = _raise_stage(current, Stage.SAVING, now) | changes
        else:
            self._finish(task, RunState.SUCCEEDED, Stage.FETCHING)
            changes = _success(current, task, now) | changes
        return self._apply(current, changes, now)

    def _error_message(self, task: Task, now: datetime) -> str:
        """Says that the task shows an error before its model ran. It may recover, so this is no end."""
        self._error_since = self._error_since or now
        lines = clean_lines(task.error_log or task.log)
        reason = lines[-1].strip()[:200] if lines else "no reason given"
        if now - self._error_since < STALLED_AFTER:
            return f"The service reports an error and may recover: {reason}"
        return f"Stalled: {reason}. The task may still recover and be billed; cancel the run to give it up."

    def lost_contact(self, current: Snapshot, now: datetime, retry_in_s: float | None = None) -> Snapshot:
        """Notes that the service cannot be reached; any later message clears the note."""
        if self.end is not None:
            return current
        return self._apply(current, {"lost_since": current.lost_since or now, "retry_in_s": retry_in_s}, now)

    def _is_read_again(self, late_looks: int = 0) -> bool:
        """Returns whether to read an incomplete end again: once, and `late_looks` times more."""
        self._incomplete_details += 1
        self.needs_detail = self._incomplete_details <= 1 + late_looks
        return self.needs_detail

    def _fail(self, current: Snapshot, task: Task) -> None:
        before_run = self._error_since is not None
        stage = current.stage
        if not before_run and (task.exit_code or "").strip() not in ("", "0"):
            stage = Stage.GENERATING  # where the model stopped
        elif before_run and task.started is None:
            stage = Stage.PREPARING
        log = task.error_log or task.log
        self._finish(
            task, RunState.FAILED, stage, failure_sentence(task.exit_code, log, current.stage, before_run)
        )

    def _finish(self, task: Task, state: RunState, stage: Stage, message: str = "") -> None:
        self.end, self.needs_detail = TaskEnd(task, state, stage, message, self.end_seen_at), False

    def _progress(self, current: Snapshot, progress: Progress, now: datetime) -> dict[str, Any]:
        # Weights that load report per cent too; shown as progress they would fill the bar before the work begins.
        if _PREPARATION.search(progress.task or ""):
            return {}
        percent = _percent(progress)
        if percent is None or (current.percent is not None and percent < current.percent):
            return {}
        if len(self._steps_seen) < STEPS_BEFORE_ESTIMATE:
            place = percent if progress.step is None else float(progress.step)
            self._steps_seen += () if place in self._steps_seen else (place,)
        remaining = progress.remaining_s
        if remaining is not None and math.isfinite(remaining) and remaining >= 0:
            self._service_remaining = (remaining, now)
        changes: dict[str, Any] = {"percent": percent}
        if progress.step is not None and progress.steps is not None and 0 <= progress.step <= progress.steps:
            changes |= {"step": max(progress.step, current.step or 0), "steps": progress.steps}
        if progress.rate is not None and math.isfinite(progress.rate):
            changes |= {"rate": progress.rate, "rate_unit": progress.rate_unit}
        return changes

    def _apply(self, current: Snapshot, changes: dict[str, Any], now: datetime) -> Snapshot:
        differing = {name: value for name, value in changes.items() if getattr(current, name) != value}
        # A thousand runs send many events a second: what stays as it is must not be built anew.
        elapsed_s, remaining_s = _elapsed(current, differing, now), self._remaining(current, differing, now)
        if not differing and (elapsed_s, remaining_s) == (current.elapsed_s, current.remaining_s):
            return current
        return current.with_changes({**differing, "elapsed_s": elapsed_s, "remaining_s": remaining_s})

    def _remaining(self, snapshot: Snapshot, changes: Mapping[str, Any], now: datetime) -> float | None:
        stage, started = changes.get("stage", snapshot.stage), changes.get("started_at", snapshot.started_at)
        is_lost = changes.get("lost_since", snapshot.lost_since) is not None
        if len(self._steps_seen) < STEPS_BEFORE_ESTIMATE or stage is not Stage.GENERATING or is_lost:
            return None
        if self._service_remaining is not None:
            seconds, since = self._service_remaining
        elif self._expected_s is not None and started is not None:
            seconds, since = self._expected_s, started
        else:
            return None
        left = seconds - (now - since) / timedelta(seconds=1)
        # Past its time an estimate is no longer one.
        return round(left, 1) if left > 0 else None


def _is_mine(current: Snapshot, task_id: str | None) -> bool:
    return task_id is None or current.task_id in (None, task_id)


def _raise_stage(current: Snapshot, stage: Stage | None, now: datetime) -> dict[str, Any]:
    if stage is None or stage.rank <= current.stage.rank:
        return {}
    changes: dict[str, Any] = {"stage": stage, "ahead": None}
    if stage.rank >= Stage.GENERATING.rank and current.started_at is None:
        changes["started_at"] = now
    return changes


def _success(current: Snapshot, task: Task, now: datetime) -> dict[str, Any]:
    """Returns what is known of a success before its files are here."""
    return {
        **_raise_stage(current, Stage.FETCHING, now),
        "preview": None,
        "outputs": tuple(_output(output) for output in task.outputs),
        "percent": 100.0,
        "exit_code": task.exit_code,
        "cost_usd": task.total_cost_usd or None,  # 0 may be a charge that is still to come
        "finished_at": task.finished or now,
        "message": "" if task.outputs else "The service lists no files for this run.",
    }


def _log_lines(current: Snapshot, text: str) -> dict[str, Any]:
    lines = clean_lines(text)
    # A doubled message is no second line.
    if not lines or current.log_tail[-len(lines) :] == lines:
        return {}
    return {"log_tail": (*current.log_tail, *lines)[-LOG_LINES:], "log_count": current.log_count + len(lines)}


def _whole_log(current: Snapshot, text: str) -> dict[str, Any]:
    lines = clean_lines(text)
    return {"log_tail": lines[-LOG_LINES:], "log_count": len(lines)} if len(lines) > current.log_count else {}


def clean_lines(text: str) -> tuple[str, ...]:
    """Returns the lines of a log without colour codes, overwritten progress bars, empty lines and secrets."""
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    cleaned = (_CONTROL.sub("", line).rstrip()[:LINE_LENGTH] for line in lines)
    return tuple(redact(line) for line in cleaned if line.strip())


def failure_sentence(exit_code: str | None, log: str, stage: Stage, before_run: bool = False) -> str:
    """Says in one line why a run failed.

    Args:
        exit_code: The service's `pexit`, or None.
        log: Standard error, or standard output when there is none; its last line says most.
        stage: Where the run was.
        before_run: True for a fatal error before the model ran.
    """
    lines = clean_lines(log)
    code = (exit_code or "").strip()
    if before_run:
        start = "The service could not start the model"
    elif code == "0":
        start = f"The service reported an error while {stage}"
    elif code:
        start = f"The model stopped with exit code {code}"
    else:
        start = "The run ended without an exit code"
    return f"{start}: {lines[-1].strip()[:200]}" if lines else f"{start}. The log is empty."


def _percent(progress: Progress) -> float | None:
    percent = progress.percent
    if percent is None and progress.step is not None and progress.steps:
        percent = 100.0 * progress.step / progress.steps
    if percent is None or not math.isfinite(percent):
        return None
    return min(100.0, max(0.0, percent))


def _elapsed(snapshot: Snapshot, changes: Mapping[str, Any], now: datetime) -> float | None:
    submitted: datetime | None = changes.get("submitted_at", snapshot.submitted_at)
    finished: datetime | None = changes.get("finished_at", snapshot.finished_at)
    if submitted is None:
        return None
    if finished is not None:
        return round(max(0.0, (finished - submitted) / timedelta(seconds=1)), 1)
    before = changes.get("elapsed_s", snapshot.elapsed_s)
    return max(round((now - submitted) / timedelta(seconds=1), 1), before or 0.0)


def _output(output: Output) -> RunOutput:
    return RunOutput(
        name=output.name,
        content_type=output.content_type,
        size_bytes=output.size_bytes,
        url=strip_query(output.url),
        content=output.content,
    )
