"""Which task of the service's list a run without an answer adopts, and which it only names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wiro_nb.api.answers import Task, read_task
from wiro_nb.execution.submission_recovery import marker_of, match_tasks, may_be_of
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.state import LedgerRow, RunState

MODEL = "owner/model"
SENT = datetime(2026, 1, 1, 12, 0, 0, 900_000, tzinfo=UTC)
OURS, THEIRS = new_run_id(), new_run_id()
ROW = LedgerRow(
    OURS,
    RunState.UNCERTAIN,
    MODEL,
    "owner/model-path",
    "cloud",
    "https://x/v1",
    SENT,
    request={"parameters": {"prompt": "a", "negative": "", "steps": 4}, "files": {}},
    submitting_at=SENT,
)


def task(number: int = 7, *, run: str | None = None, after_s: float = 0.0, **fields: Any) -> Task:
    return read_task(
        {
            "id": str(number),
            "modelslugowner": "owner",
            "modelslugproject": "model",
            "parameters": {"prompt": "a", "steps": "4", "inputImage": ""},
            "createtime": str(int((SENT + timedelta(seconds=after_s)).timestamp())),
            "callbackurl": marker_of(run) if run else "",
            **fields,
        }
    )


def choose(
    *tasks: Task,
    row: LedgerRow = ROW,
    lead: timedelta | None = timedelta(0),
    has_competitor: bool = False,
) -> Task | None:
    return match_tasks(tasks, row, lead, has_competitor=has_competitor)[1]


def test_a_marked_task_is_the_runs_own_whatever_the_clocks_and_the_others_say() -> None:
    stranger = task(5)
    for mine in (task(run=OURS, after_s=-36_000), task(run=OURS, after_s=36_000), task(run=OURS, parameters={})):
        assert choose(stranger, mine, has_competitor=True, lead=None) is mine
    slashed = task(callbackurl=f"HTTPS://WIRO-NB.invalid/runs/{OURS.lower()}/")
    assert choose(slashed) is slashed


def test_of_a_request_sent_twice_by_a_proxy_the_first_task_is_the_runs_own() -> None:
    first, second = task(9, run=OURS), task(10, run=OURS)
    assert choose(second, first) is first


def test_the_task_of_another_run_is_never_a_candidate() -> None:
    for url in (marker_of(THEIRS), "https://wiro-nb.invalid/other/path"):
        other = task(callbackurl=url)
        assert not may_be_of(other, ROW)
        assert choose(other) is None


def test_without_a_marker_the_only_task_since_the_request_is_adopted() -> None:
    for item in (task(), task(after_s=30), task(callbackurl="https://example.org/hook")):
        assert choose(item) is item
        assert choose(item, task(8, after_s=-5)) is item, "an older one cannot be it"


def test_where_markers_come_back_a_task_without_one_is_somebody_elses() -> None:
    assert match_tasks([task(), task(8, run=THEIRS)], ROW, timedelta(0)) == ([], None)


@pytest.mark.parametrize(
    ("item", "options"),
    [
        (task(after_s=-1), {}),
        (task(), {"lead": None}),
        (task(), {"lead": timedelta(hours=1)}),
        (task(), {"has_competitor": True}),
        (task(), {"row": replace(ROW, request={**ROW.request, "files": {"inputImage": [{"name": "a.png"}]}})}),
        (task(parameters={"prompt": "a", "steps": "4", "inputImage": "https://x/b.png"}), {}),
        (task(parameters={"prompt": "b", "steps": "4"}), {}),
        (task(modelslugowner="", modelslugproject=""), {}),
        (task(modelslugproject="other"), {}),
        (task(createtime=""), {}),
    ],
)
def test_what_may_be_anybody_elses_is_not_adopted(item: Task, options: Any) -> None:
    assert choose(item, **options) is None


def test_two_tasks_that_fit_are_left_to_the_user() -> None:
    assert choose(task(7), task(8)) is None


def test_clocks_that_differ_are_set_right_by_the_services_date() -> None:
    for hours in (-1, 1):
        lead = timedelta(hours=hours)
        mine, older = task(after_s=3600 * hours), task(after_s=3600 * hours - 5)
        assert choose(mine, lead=lead) is mine
        assert may_be_of(older, ROW, lead)
        assert choose(older, lead=lead) is None


def test_a_callback_of_the_users_own_is_no_parameter_of_the_task() -> None:
    own = {"prompt": "a", "steps": 4, "callbackUrl": "https://example.org/hook"}
    row = replace(ROW, request={**ROW.request, "parameters": own})
    item = task(callbackurl="https://example.org/hook")
    assert choose(item, task(8, run=THEIRS), row=row) is item
