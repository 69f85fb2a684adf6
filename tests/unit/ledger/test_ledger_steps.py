"""The ledger in one process: steps of a run, money, looking up, what it never gives away."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ledger.ledger_tools import NOW, TOKEN, done, insert, plan, submitted
from wiro_nb.errors import BudgetExceeded, LedgerError, UnknownRun
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.queries import expected_seconds
from wiro_nb.ledger.reuse import Reuse
from wiro_nb.ledger.rows import row_from_sql, row_to_sql
from wiro_nb.ledger.state import ROW_FIELDS, RunOutput, RunState, Stage


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger(tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def test_a_row_comes_back_as_it_was_written(ledger: Ledger) -> None:
    row = plan(
        estimated_usd=Decimal("0.0000001"),
        parent={"run_id": "X", "output": 0},
        folder="/somewhere/wiro_outputs/x",
        starred=True,
        outputs=(RunOutput("a.mp4", "video/mp4", size_bytes=5, content={"raw": ["ü"]}),),
        record='{"format":1}',
        lease_owner="me",
        lease_until=NOW,
    )
    insert(ledger, row)
    assert ledger.get(row.run_id) == row


@given(text=st.text(), number=st.one_of(st.integers(), st.none()))
def test_any_text_survives_the_way_to_sqlite_and_back(text: str, number: int | None) -> None:
    row = plan(request={"parameters": {"prompt": text, "n": number}})
    assert row_from_sql(map(row_to_sql(row).get, ROW_FIELDS)).request == row.request


def test_text_that_utf8_cannot_hold_is_stored(ledger: Ledger) -> None:
    row = insert(ledger, plan(request={"parameters": {"prompt": "half \ud83e"}}, message="\udc00"))
    assert ledger.get(row.run_id).parameters["prompt"] == "half \ud83e"


def test_the_files_are_readable_by_the_owner_alone(ledger: Ledger) -> None:
    insert(ledger, plan())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger.path.parent.iterdir()}
    assert modes == dict.fromkeys(("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"), 0o600)


def test_an_open_ledger_of_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.touch(mode=0o644)
    path.chmod(0o644)
    Ledger(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_whole_life_is_written_step_by_step(ledger: Ledger) -> None:
    row = done(ledger)
    kept = ledger.get(row.run_id)
    assert (kept.state, kept.exit_code, kept.cost_usd, kept.compute_s) == (
        RunState.SUCCEEDED,
        "0",
        Decimal("0.10"),
        10.0,
    )
    assert (kept.submitting_at, kept.submitted_at) == (NOW, NOW)


def bring_to(ledger: Ledger, state: RunState) -> str:
    row = insert(ledger, plan())
    if state is RunState.PLANNED:
        return row.run_id
    ledger.mark_submitting(row.run_id, NOW)
    if state is RunState.UNCERTAIN:
        ledger.mark_uncertain(row.run_id)
    elif state is not RunState.SUBMITTING:
        ledger.mark_submitted(row.run_id, "1", TOKEN, NOW)
        if state.is_final:
            ledger.finish(row.run_id, state)
    return row.run_id


STEPS = {
    "submitting": lambda ledger, run_id: ledger.mark_submitting(run_id, NOW),
    "planned": lambda ledger, run_id: ledger.mark_planned(run_id),
    "submitted": lambda ledger, run_id: ledger.mark_submitted(run_id, "9", TOKEN, NOW),
    "uncertain": lambda ledger, run_id: ledger.mark_uncertain(run_id),
    "succeeded": lambda ledger, run_id: ledger.finish(run_id, RunState.SUCCEEDED),
    "failed": lambda ledger, run_id: ledger.finish(run_id, RunState.FAILED),
    "cancelled": lambda ledger, run_id: ledger.finish(run_id, RunState.CANCELLED),
}
ALLOWED = {
    "planned": {"planned", "submitting", "failed", "cancelled"},
    "submitting": {"planned", "submitted", "uncertain", "failed"},
    "submitted": {"succeeded", "failed", "cancelled"},
    "uncertain": {"uncertain", "submitted", "failed", "cancelled"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", list(RunState))
def test_only_the_drawn_steps_can_be_taken(ledger: Ledger, state: RunState, step: str) -> None:
    run_id = bring_to(ledger, state)
    if step in ALLOWED[state.value]:
        STEPS[step](ledger, run_id)
        assert ledger.get(run_id).state.value == step
    else:
        before = ledger.get(run_id)
        with pytest.raises(LedgerError):
            STEPS[step](ledger, run_id)
        assert ledger.get(run_id) == before


def test_the_query_of_a_presigned_address_is_kept_until_the_service_has_the_request(ledger: Ledger) -> None:
    signature = "X-Amz-Signature=0123456789abcdef"
    url = f"https://files.example/a.png?{signature}"
    files = {"inputImage": [{"name": "a.png", "sha256": None, "size_bytes": None, "url": url}]}
    row = insert(ledger, plan(request={"parameters": {"maskUrl": url}, "files": files, "seed": None}))
    ledger.mark_submitting(row.run_id, NOW)
    assert ledger.mark_planned(row.run_id).request == row.request
    ledger.mark_submitting(row.run_id, NOW)
    ledger.mark_submitted(row.run_id, "7", TOKEN, NOW)
    ended = insert(ledger, plan(request=row.request))
    ledger.finish(ended.run_id, RunState.CANCELLED, finished_at=NOW)
    attached = replace(row, run_id=new_run_id(), state=RunState.SUBMITTED, task_id="8")
    assert signature not in str(ledger.insert_attached(attached).request)
    ledger.close()
    for kept in ledger.list():
        assert kept.request["files"]["inputImage"][0]["url"].startswith("https://files.example/a.png?")
    with closing(sqlite3.connect(ledger.path)) as connection:
        assert signature.lower() not in str(connection.execute("SELECT * FROM runs").fetchall()).lower()


def test_what_was_cancelled_does_not_leave(ledger: Ledger) -> None:
    run_id = insert(ledger, plan(lease_owner="me", lease_until=NOW)).run_id
    assert ledger.heartbeat("me", NOW, 30) == {run_id: False}
    assert ledger.request_cancel(run_id, NOW).cancel_at == NOW
    assert ledger.request_cancel(run_id, NOW + timedelta(hours=1)).cancel_at == NOW, "the first word counts"
    assert ledger.heartbeat("me", NOW, 30) == {run_id: True}
    with pytest.raises(LedgerError) as caught:
        ledger.mark_submitting(run_id, NOW)
    assert caught.value.reason == "cancelled"
    assert ledger.finish(run_id, RunState.CANCELLED).state is RunState.CANCELLED


def test_a_run_that_is_open_again_has_no_end(ledger: Ledger) -> None:
    kept = ledger.reopen(done(ledger).run_id, "the service knows its task")
    assert (kept.state, kept.stage) == (RunState.SUBMITTED, Stage.QUEUED)
    assert (kept.exit_code, kept.cost_usd, kept.finished_at, kept.compute_s) == (None, None, None, None)
    assert kept.message == "Set from succeeded by hand: the service knows its task"


def test_an_uncertain_run_cannot_take_the_task_of_another(ledger: Ledger) -> None:
    owner = submitted(ledger)
    lost = bring_to(ledger, RunState.UNCERTAIN)
    with pytest.raises(LedgerError, match=owner.short_id):
        ledger.mark_submitted(lost, owner.task_id or "", TOKEN, NOW)
    assert ledger.get(lost).state is RunState.UNCERTAIN


def test_attaching_a_known_task_gives_its_run(ledger: Ledger) -> None:
    owner = done(ledger)
    ledger.forget(owner.run_id)
    again = ledger.insert_attached(plan(state=RunState.SUBMITTED, task_id=owner.task_id))
    assert again.run_id == owner.run_id
    assert [row.run_id for row in ledger.list()] == [owner.run_id]


def test_amend_refuses_what_belongs_to_the_steps(ledger: Ledger) -> None:
    row = done(ledger)
    ledger.amend(row.run_id, starred=True, folder="/f")
    assert ledger.get(row.run_id).starred
    with pytest.raises(LedgerError):
        ledger.amend(row.run_id, state=RunState.PLANNED)


def test_unknown_runs_are_told(ledger: Ledger) -> None:
    for call in (ledger.get, ledger.forget, lambda run_id: ledger.mark_submitting(run_id, NOW)):
        with pytest.raises(UnknownRun):
            call("01NOSUCHRUN")


# Money


def test_spent_counts_what_was_billed_and_reserved_what_may_be(ledger: Ledger) -> None:
    billed = done(ledger, "0.10")
    done(ledger, "0.25", notebook="other.ipynb")
    submitted(ledger, estimated_usd=Decimal("0.40"))
    ledger.finish(submitted(ledger, estimated_usd=Decimal("0.9")).run_id, RunState.FAILED, cost_usd=Decimal(0))
    ledger.forget(billed.run_id)
    done(ledger, "0.50", notebook=None)
    for notebook, service, spent, reserved in (
        ("clips.ipynb", "sandbox", "0.10", "0.40"),
        ("clips.ipynb", "cloud", "0", "0"),
        ("other.ipynb", "sandbox", "0.25", "0"),
        (None, "sandbox", "0.50", "0"),
    ):
        money = ledger.read_budget(notebook, service)
        assert (money.spent_usd, money.reserved_usd) == (Decimal(spent), Decimal(reserved)), (notebook, service)


def test_a_success_without_a_price_stays_reserved(ledger: Ledger) -> None:
    row = submitted(ledger, estimated_usd=Decimal("0.40"))
    ledger.finish(row.run_id, RunState.SUCCEEDED)
    money = ledger.read_budget("clips.ipynb", "sandbox")
    assert (money.spent_usd, money.reserved_usd) == (0, Decimal("0.40"))


def test_a_budget_holds_to_the_cent(ledger: Ledger) -> None:
    ledger.set_budget("clips.ipynb", Decimal("0.30"))
    done(ledger, "0.10", estimated_usd=Decimal("0.10"))
    insert(ledger, plan(estimated_usd=Decimal("0.20")))
    with pytest.raises(BudgetExceeded) as caught:
        insert(ledger, plan(estimated_usd=Decimal("0.01")))
    assert (caught.value.budget_usd, caught.value.spent_usd) == ("0.30", "0.30")
    assert len(ledger.list()) == 2
    insert(ledger, plan(estimated_usd=Decimal("5"), notebook="other.ipynb"))
    insert(ledger, plan(estimated_usd=Decimal("5"), service="cloud", notebook=None))
    ledger.set_budget("clips.ipynb", None)
    insert(ledger, plan(estimated_usd=Decimal("5")))


def test_the_lower_of_two_budgets_holds(ledger: Ledger) -> None:
    ledger.set_budget("clips.ipynb", Decimal("9"))
    with pytest.raises(BudgetExceeded):
        insert(ledger, plan(estimated_usd=Decimal("2")), budget_usd=Decimal("1"))
    assert ledger.get_budget("clips.ipynb") == Decimal("9")


def test_a_run_of_unknown_price_needs_something_left(ledger: Ledger) -> None:
    insert(ledger, plan(estimated_usd=Decimal("1")), budget_usd=Decimal("1"))
    with pytest.raises(BudgetExceeded, match="budget"):
        insert(ledger, plan(), budget_usd=Decimal("1"))
    insert(ledger, plan(), budget_usd=Decimal("1.01"))


# Looking up


def test_runs_are_found_by_id_prefix_short_id_and_suffix(ledger: Ledger) -> None:
    first = insert(ledger, plan(run_id="01AAAAAAAAAAAAAAAAAAA0K3F9"))
    insert(ledger, plan(run_id="01BBBBBBBBBBBBBBBBBBBBBBB1"))
    for query in (first.run_id, "01a", "0K3F9", "0k3f9", "ok3f9", "#0k3f9", "a0k3f9", "3f9"):
        assert ledger.find(query).run_id == first.run_id


def test_a_doubtful_query_names_the_runs_it_fits(ledger: Ledger) -> None:
    ids = [insert(ledger, plan()).run_id for _ in range(3)]
    with pytest.raises(UnknownRun) as caught:
        ledger.find(ids[0][:4])
    assert sorted(caught.value.near) == sorted(ids)
    with pytest.raises(UnknownRun, match="No run"):
        ledger.find("%")
    with pytest.raises(UnknownRun, match="No run"):
        ledger.find("")


def test_the_notebooks_own_run_wins_over_one_elsewhere(ledger: Ledger) -> None:
    insert(ledger, plan(run_id="01AAAAAAAAAAAAAAAAAAAAK3F9", notebook="b.ipynb"))
    here = insert(ledger, plan(run_id="01BBBBBBBBBBBBBBBBBBBBK3F9", notebook="a.ipynb"))
    assert ledger.find("ak3f9", "b.ipynb").notebook == "b.ipynb"
    assert ledger.find("bk3f9", "b.ipynb").run_id == here.run_id
    assert ledger.find("k3f9", "a.ipynb").run_id == here.run_id
    with pytest.raises(UnknownRun):
        ledger.find("k3f9", "c.ipynb")


def test_lists_fit_every_filter(ledger: Ledger) -> None:
    old = done(ledger, created=NOW - timedelta(days=2), request={"parameters": {"prompt": "Ein FÜCHSLEIN"}})
    new = submitted(ledger, model="pruna/vace", notebook=None, service="cloud", parent={"run_id": old.run_id})
    assert [row.run_id for row in ledger.list()] == [new.run_id, old.run_id]
    for filters, expected in (
        ({"notebook": "clips.ipynb"}, old),
        ({"model": "PRUNA/vace"}, new),
        ({"state": RunState.SUCCEEDED}, old),
        ({"text": "füchs"}, old),
        ({"since": NOW - timedelta(days=1)}, new),
        ({"service": "cloud"}, new),
        ({"parent": old.run_id}, new),
        ({"limit": 1}, new),
    ):
        assert [row.run_id for row in ledger.list(**filters)] == [expected.run_id], filters
    assert [row.run_id for row in ledger.unfinished()] == [new.run_id]
    assert ledger.unfinished(notebook="clips.ipynb") == ()


def answer(ledger: Ledger, reuse: Reuse | None = None, **changes: Any) -> str | None:
    """Returns the id of the run that answers a request; None when it is planned anew."""
    wanted = plan(**{"scope": changes.get("notebook", "clips.ipynb"), **changes})
    (row,) = ledger.answer_plans([wanted], reuse or Reuse())
    return None if row is wanted else row.run_id


def test_a_request_is_answered_by_a_run_of_its_scope_service_and_account(ledger: Ledger) -> None:
    row = done(ledger, scope="clips.ipynb", account="a1")
    assert answer(ledger, account="a1") == row.run_id
    for changes in (
        {"service": "cloud"},
        {"account": "a2"},
        {"notebook": None, "scope": "/clips/*"},
        {"request_sha256": "b" * 64},
    ):
        assert answer(ledger, **{"account": "a1", **changes}) is None, changes
    copied = Reuse(also=[row.run_id, "01NOSUCHRUN"])
    assert answer(ledger, copied, notebook="copy.ipynb", account="a1") == row.run_id
    assert answer(ledger, Reuse(exclude=[row.run_id]), account="a1") is None
    ledger.forget(row.run_id)
    assert (
        answer(ledger, copied, account="a1") is answer(ledger, copied, notebook="copy.ipynb", account="a1") is None
    )


def test_a_run_of_an_earlier_version_answers_without_scope_and_account(ledger: Ledger) -> None:
    row = done(ledger, notebook=None)
    assert answer(ledger, notebook=None, scope="/clips/*", account="a1") == row.run_id
    assert answer(ledger, account="a1") is None


def test_a_rerun_is_answered_only_by_a_rerun_of_the_same_run(ledger: Ledger) -> None:
    first = done(ledger, scope="clips.ipynb")
    asked = {"parent": {"run_id": first.run_id, "output": None}}
    assert answer(ledger, Reuse(is_rerun=True), **asked) is None
    again = done(ledger, scope="clips.ipynb", **asked)
    assert answer(ledger, Reuse(is_rerun=True), **asked) == again.run_id


def test_a_run_on_its_way_to_a_cancel_answers_nothing_but_an_uncertain_one_does(ledger: Ledger) -> None:
    row = insert(ledger, plan(scope="clips.ipynb"))
    assert answer(ledger) == row.run_id
    ledger.request_cancel(row.run_id, NOW)
    assert answer(ledger) is None
    lost = insert(ledger, plan(scope="clips.ipynb"))
    ledger.mark_submitting(lost.run_id, NOW)
    ledger.mark_uncertain(lost.run_id)
    ledger.request_cancel(lost.run_id, NOW)
    assert answer(ledger) == lost.run_id


def test_of_several_answers_a_success_comes_first_then_the_place_in_the_sweep_then_the_latest(
    ledger: Ledger,
) -> None:
    here = {"scope": "clips.ipynb"}
    flying = insert(ledger, plan(created=NOW + timedelta(hours=2), **here))
    ledger.finish(insert(ledger, plan(**here)).run_id, RunState.FAILED)
    ledger.finish(insert(ledger, plan(**here)).run_id, RunState.CANCELLED)
    assert answer(ledger) == flying.run_id
    first = done(ledger, sweep_point=1, **here)
    second = done(ledger, sweep_point=0, created=NOW + timedelta(hours=1), **here)
    ids = [first.run_id, second.run_id]
    assert answer(ledger) == answer(ledger, sweep_point=0) == second.run_id
    assert answer(ledger, sweep_point=1) == answer(ledger, Reuse(exclude=[second.run_id])) == first.run_id
    assert answer(ledger, Reuse(exclude=ids)) == flying.run_id
    # An earlier run answers one request of a batch only.
    three = [plan(**here) for _ in range(4)]
    rows = ledger.answer_plans(three, Reuse())
    assert [row.run_id for row in rows[:3]] == [second.run_id, first.run_id, flying.run_id]
    assert rows[3] is three[3]


def test_the_unknown_cost_of_a_run_without_a_result_is_reserved_for_a_month(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    for age, cents in ((40, 1), (2, 10)):
        row = submitted(ledger, created=now - timedelta(days=age), estimated_usd=Decimal(cents) / 100)
        ledger.finish(row.run_id, RunState.CANCELLED)
    assert ledger.read_budget("clips.ipynb", "sandbox").reserved_usd == Decimal("0.10")


def test_a_request_that_is_answered_is_not_planned_and_counts_in_no_budget(ledger: Ledger) -> None:
    row = done(ledger, scope="clips.ipynb")
    dear = [plan(scope="clips.ipynb", estimated_usd=Decimal(9)) for _ in range(2)]
    assert list(ledger.insert_plans(dear[:1], budget_usd=Decimal(1), reuse=Reuse())) == [row]
    with pytest.raises(BudgetExceeded):
        ledger.insert_plans(dear, budget_usd=Decimal(1), reuse=Reuse())
    assert [item.run_id for item in ledger.list()] == [row.run_id]


def test_a_run_in_flight_cannot_be_forgotten(ledger: Ledger) -> None:
    row = submitted(ledger)
    with pytest.raises(LedgerError, match="not over"):
        ledger.forget(row.run_id)


def test_past_runs_forecast_the_next(ledger: Ledger) -> None:
    done(ledger)
    past = ledger.past_runs("wiro/animate-diff", "sandbox")
    assert expected_seconds(past, {"steps": "32"}) == pytest.approx(20.0)
    assert ledger.past_runs("wiro/animate-diff", "cloud") == ()


def test_questions_asked_often_never_scan_the_table(ledger: Ledger) -> None:
    submitted(ledger)
    statements: list[str] = []
    connection = ledger.read(lambda connection: connection)
    connection.set_trace_callback(statements.append)
    row = insert(ledger, plan(estimated_usd=Decimal(1)), budget_usd=Decimal(9))
    ledger.mark_submitting(row.run_id, NOW)
    ledger.mark_submitted(row.run_id, "5", TOKEN, NOW)
    ledger.find(row.run_id)
    ledger.find(row.short_id)
    ledger.answer_plans([row], Reuse(exclude=[row.run_id]))
    ledger.list()
    ledger.list(notebook="clips.ipynb")
    ledger.list(model="wiro/animate-diff", limit=None)
    ledger.unfinished()
    ledger.past_runs("wiro/animate-diff", "sandbox")
    ledger.read_budget("clips.ipynb", "sandbox")
    ledger.claim(row.run_id, "me", NOW, 30)
    ledger.heartbeat("me", NOW, 30)
    ledger.release("me")
    connection.set_trace_callback(None)
    asked = [text for text in statements if text.lstrip().startswith(("SELECT", "UPDATE"))]
    assert len(asked) > 12
    for text in asked:
        for step in connection.execute(f"EXPLAIN QUERY PLAN {text}"):
            detail = step["detail"]
            # An index walked in the order asked for stops at the limit; any other scan reads everything.
            assert not detail.startswith("SCAN runs") or ("INDEX" in detail and "LIMIT 50" in text), (detail, text)


def test_an_interrupt_inside_a_write_leaves_nothing_behind(ledger: Ledger) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM runs")
        raise KeyboardInterrupt

    row = insert(ledger, plan())
    with pytest.raises(KeyboardInterrupt):
        ledger.write(work)
    with closing(sqlite3.connect(ledger.path, timeout=0)) as other:
        assert other.execute("SELECT run_id FROM runs").fetchall() == [(row.run_id,)]
        other.execute("BEGIN IMMEDIATE")


# Progress, threads, secrets


def test_progress_never_touches_a_run_that_ended(ledger: Ledger) -> None:
    row, other = submitted(ledger), submitted(ledger)
    ledger.write_progress({row.run_id: {"percent": 10.0, "stage": "generating"}, other.run_id: {"percent": 20.0}})
    assert (ledger.get(row.run_id).percent, ledger.get(row.run_id).stage) == (10.0, "generating")
    ledger.finish(row.run_id, RunState.CANCELLED)
    ledger.write_progress({row.run_id: {"percent": 99.0}, other.run_id: {"percent": 30.0}})
    assert (ledger.get(row.run_id).percent, ledger.get(other.run_id).percent) == (10.0, 30.0)


def test_many_threads_write_at_once(ledger: Ledger) -> None:
    rows = [plan() for _ in range(40)]

    def work(part: list) -> None:
        for row in part:
            insert(ledger, row)
            ledger.mark_submitting(row.run_id, NOW)
            ledger.write_progress({row.run_id: {"percent": 1.0}})
            ledger.list(limit=5)

    threads = [threading.Thread(target=work, args=(rows[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.run_id for row in ledger.list(state="submitting", limit=None)} == {row.run_id for row in rows}


def test_the_token_shows_nowhere_but_in_its_column(ledger: Ledger) -> None:
    row = insert(ledger, plan(folder="/home/somebody/clips"))
    ledger.mark_submitting(row.run_id, NOW)
    ledger.mark_submitted(row.run_id, "22", TOKEN, NOW)
    ledger.finish(row.run_id, RunState.FAILED, message=f"tasktoken={TOKEN}", error={"message": f"bad {TOKEN}"})
    kept = ledger.get(row.run_id)
    assert kept.task_token == TOKEN
    (line,) = ledger.export_lines()
    for text in (repr(kept), kept.message, line):
        assert TOKEN not in text
    assert "/home/somebody" not in line
    assert json.loads(line)["run_id"] == row.run_id
