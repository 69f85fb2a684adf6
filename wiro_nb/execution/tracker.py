"""Turns events and answers of the service into snapshots. Pure: no clock, no socket, no lock.

Events can come shuffled, doubled, late or not at all. So nothing here goes backwards: stages and per cent only
rise, an end is believed only from Task/Detail (events carry neither exit code nor cost), and after an end
nothing changes any more. One step back is allowed: an error is reported only after the last stage, and what
failed then was the generating, or the preparing of a model that never started.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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

_ENDED, _CANCELLED, _FATAL = "task_postprocess_end", "task_cancel", "task_error"
_PREPARATION = re.compile(r"load|fetch|prepar|init|compil|warm", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Tracker:
    """Follows one run.

    Args:
        snapshot: The run as it is known so far.
        expected_s: Seconds of work that earlier runs took, for the time left; None without history.
    """

    def __init__(self, snapshot: Snapshot, *, expected_s: float | None = None) -> None:
        self._snapshot = snapshot
        self._expected_s = expected_s
        self._steps_seen: tuple[float, ...] = ()
        self._service_remaining: tuple[float, datetime] | None = None
        self._reserved = 0
        self._incomplete_details = 0
        self._ended = False
        self._error_since: datetime | None = None
        self._detail_is_due = False

    @property
    def snapshot(self) -> Snapshot:
        """The latest snapshot."""
        return self._snapshot

    @property
    def needs_detail(self) -> bool:
        """True when the task is over by its events, or a Detail was incomplete: read Task/Detail (again)."""
        return self._detail_is_due and not self._snapshot.state.is_final

    @property
    def is_over(self) -> bool:
        """True once Task/Detail or Task/List showed how the task ended."""
        return self._ended or self._snapshot.state.is_final

    @property
    def succeeded(self) -> bool:
        """True once the service reported success (`pexit` "0"); its files can be downloaded."""
        return self._ended

    def feed_event(self, event: Event, now: datetime) -> Snapshot:
        """Takes one message of the socket; messages of other tasks are ignored."""
        current = self._snapshot
        if current.state.is_final or self._ended or not self._is_mine(event.task_id):
            return current
        changes: dict[str, Any] = {"lost_since": None, "retry_in_s": None}
        if event.status in (_ENDED, _CANCELLED):
            self._detail_is_due = True
            self._reserved = max(self._reserved, len(event.outputs or ()))
        if event.status == _FATAL and current.stage.rank < Stage.GENERATING.rank:
            self._error_since = self._error_since or now
        changes |= self._stage(STAGE_OF_STATUS.get(event.status), now)
        if event.progress is not None:
            changes |= self._progress(event.progress, now)
        if event.preview is not None:
            changes["preview"] = event.preview
        if event.text and event.progress is None:
            whole = event.status in ("task_output_full", "task_error_full")
            changes |= self._whole_log(event.text) if whole else self._log_lines(event.text)
        return self._apply(changes, now)

    def feed_task(self, task: Task, now: datetime) -> Snapshot:
        """Takes an answer of Task/Detail or Task/List, which is the truth about how a task ends."""
        current = self._snapshot
        if current.state.is_final or self._ended or not self._is_mine(task.id):
            return current
        changes: dict[str, Any] = {"lost_since": None, "retry_in_s": None, "task_id": current.task_id or task.id}
        if task.started is not None:
            changes["started_at"] = task.started
        if task.log:
            changes |= self._whole_log(task.log)
        if task.status == _CANCELLED:
            return self._end(RunState.CANCELLED, task, {**changes, "message": "Cancelled."}, now)
        if task.status == _FATAL:
            return self._apply({**changes, "message": self._error_message(task, now)}, now)
        if task.status == _ENDED and not self._is_success(task):
            if self._is_incomplete(task):
                return self._apply(changes, now)
            message = failure_sentence(
                task.exit_code, task.error_log or task.log, current.stage, self._error_since is not None
            )
            if self._error_since is None and (task.exit_code or "").strip() not in ("", "0"):
                changes["stage"] = Stage.GENERATING  # the stage where the model stopped
            elif self._error_since is not None and task.started is None:
                changes["stage"] = Stage.PREPARING
            return self._end(RunState.FAILED, task, {**changes, "message": message}, now)
        if task.status == _ENDED:
            return self._success(task, changes, now)
        if task.status in STAGE_OF_STATUS and self._error_since is not None and task.started is not None:
            self._error_since, changes["message"] = None, ""
        changes |= self._stage(STAGE_OF_STATUS.get(task.status), now)
        return self._apply(changes, now)

    def _error_message(self, task: Task, now: datetime) -> str:
        """Says that the task shows an error before its model ran. It may recover, so this is no end."""
        self._error_since = self._error_since or now
        lines = clean_lines(task.error_log or task.log)
        reason = lines[-1].strip()[:200] if lines else "no reason given"
        if now - self._error_since < STALLED_AFTER:
            return f"The service reports an error and may recover: {reason}"
        return f"Stalled: {reason}. The task may still recover and be billed; cancel the run to give it up."

    def lost_contact(self, now: datetime, retry_in_s: float | None = None) -> Snapshot:
        """Notes that the service cannot be reached; any later message clears the note."""
        if self._snapshot.state.is_final:
            return self._snapshot
        return self._apply({"lost_since": self._snapshot.lost_since or now, "retry_in_s": retry_in_s}, now)

    def update(self, now: datetime, **changes: Any) -> Snapshot:
        """Takes what this side knows: message, cancel_at, estimated_usd and so on; nothing after an end."""
        return self._apply(changes, now)

    def _is_mine(self, task_id: str | None) -> bool:
        known = self._snapshot.task_id
        return task_id is None or known is None or task_id == known

    def _is_success(self, task: Task) -> bool:
        return task.exit_code is not None and task.exit_code.strip() == "0"

    def _is_incomplete(self, task: Task) -> bool:
        """True when an ended task lacks outputs or exit code; believed the second time only."""
        if task.status != _ENDED:
            return False
        if self._is_success(task):
            missing = len(task.outputs) < max(1, self._reserved)
        else:
            missing = not (task.exit_code or "").strip()
        if not missing or self._incomplete_details >= 1:
            return False
        self._incomplete_details += 1
        self._detail_is_due = True
        return True

    def _success(self, task: Task, changes: dict[str, Any], now: datetime) -> Snapshot:
        changes |= self._stage(Stage.SAVING, now)
        if self._is_incomplete(task):
            return self._apply(changes, now)
        self._ended, self._detail_is_due = True, False
        self._service_remaining = None
        changes |= {
            **self._stage(Stage.FETCHING, now),
            "preview": None,
            "outputs": tuple(_output(output) for output in task.outputs),
            "percent": 100.0,
            "exit_code": task.exit_code,
            "cost_usd": task.total_cost_usd,
            "finished_at": task.finished or now,
            "message": "" if task.outputs else "The service lists no files for this run.",
        }
        return self._apply(changes, now)

    def _end(self, state: RunState, task: Task, changes: dict[str, Any], now: datetime) -> Snapshot:
        self._detail_is_due = False
        end = {
            "state": state,
            "preview": None,
            "exit_code": task.exit_code,
            "cost_usd": task.total_cost_usd,
            "finished_at": task.finished or task.cancelled or now,
            "outputs": tuple(_output(output) for output in task.outputs),
        }
        return self._apply({**changes, **end}, now)

    def _stage(self, stage: Stage | None, now: datetime) -> dict[str, Any]:
        current = self._snapshot
        if stage is None or stage.rank <= current.stage.rank:
            return {}
        changes: dict[str, Any] = {"stage": stage, "ahead": None}
        if stage.rank >= Stage.GENERATING.rank and current.started_at is None:
            changes["started_at"] = now
        return changes

    def _progress(self, progress: Progress, now: datetime) -> dict[str, Any]:
        # Weights that load report per cent too; shown as progress they would fill the bar before the work begins.
        if _PREPARATION.search(progress.task or ""):
            return {}
        percent = _percent(progress)
        current = self._snapshot
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

    def _log_lines(self, text: str) -> dict[str, Any]:
        current = self._snapshot
        lines = clean_lines(text)
        # A doubled message is no second line.
        if not lines or current.log_tail[-len(lines) :] == lines:
            return {}
        return {"log_tail": (*current.log_tail, *lines)[-LOG_LINES:], "log_count": current.log_count + len(lines)}

    def _whole_log(self, text: str) -> dict[str, Any]:
        lines = clean_lines(text)
        if len(lines) <= self._snapshot.log_count:
            return {}
        return {"log_tail": lines[-LOG_LINES:], "log_count": len(lines)}

    def _apply(self, changes: dict[str, Any], now: datetime) -> Snapshot:
        current = self._snapshot
        if current.state.is_final:
            return current
        differing = {name: value for name, value in changes.items() if getattr(current, name) != value}
        # A thousand runs send many events a second: what stays as it is must not be built anew.
        elapsed_s, remaining_s = _elapsed(current, differing, now), self._remaining(current, differing, now)
        if differing or elapsed_s != current.elapsed_s or remaining_s != current.remaining_s:
            self._snapshot = current.with_changes(
                {**differing, "elapsed_s": elapsed_s, "remaining_s": remaining_s}
            )
        return self._snapshot

    def _remaining(self, snapshot: Snapshot, changes: Mapping[str, Any], now: datetime) -> float | None:
        if len(self._steps_seen) < STEPS_BEFORE_ESTIMATE:
            return None
        state, stage = changes.get("state", snapshot.state), changes.get("stage", snapshot.stage)
        started = changes.get("started_at", snapshot.started_at)
        if stage is not Stage.GENERATING or state.is_final or changes.get("lost_since", snapshot.lost_since):
            return None
        if self._service_remaining is not None:
            seconds, at = self._service_remaining
            left = seconds - (now - at) / timedelta(seconds=1)
        elif self._expected_s is not None and started is not None:
            left = self._expected_s - (now - started) / timedelta(seconds=1)
        else:
            return None
        # Past its time an estimate is no longer one.
        return round(left, 1) if left > 0 else None


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
