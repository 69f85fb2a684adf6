"""Several processes in one ledger: nobody sends a run twice, spends twice, or loses what was written."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.ledger.ledger_tools import NOW, TOKEN, insert, plan, start, submitted
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import RunState

PRELUDE = """
import sys
from decimal import Decimal
from pathlib import Path
from tests.unit.ledger.ledger_tools import NOW, insert, plan
from wiro_nb.errors import WiroError
from wiro_nb.ledger.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), busy_timeout_s=60)
print("ready", flush=True)
sys.stdin.readline()
"""


def together(path: Path, code: str, count: int = 2) -> list[str]:
    """Runs the code in several processes that begin at the same moment; returns what each printed."""
    processes = [start(PRELUDE + code, str(path), str(number)) for number in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return printed


OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from tests.unit.ledger.ledger_tools import insert, plan
from wiro_nb.ledger.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]))
insert(ledger, plan())
ledger.close()
"""


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger(tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def test_two_processes_insert_at_once_and_all_rows_are_there(ledger: Ledger) -> None:
    together(ledger.path, "for _ in range(50): insert(ledger, plan())")
    assert len(ledger.list(limit=None)) == 100


def test_two_processes_cannot_both_take_the_last_of_the_budget(ledger: Ledger) -> None:
    ledger.set_budget("clips.ipynb", Decimal("1.00"))
    code = """
passed = 0
for _ in range(20):
    try:
        insert(ledger, plan(estimated_usd=Decimal("0.10")))
        passed += 1
    except WiroError:
        pass
print(passed)
"""
    assert sum(int(text) for text in together(ledger.path, code)) == 10
    assert ledger.read_budget("clips.ipynb", "sandbox").reserved_usd == Decimal("1.00")


def test_two_processes_that_start_sweeps_at_once_stay_within_the_budget_together(ledger: Ledger) -> None:
    ledger.set_budget("clips.ipynb", Decimal("1.00"))
    code = """
passed = 0
for _ in range(5):
    try:
        ledger.insert_plans([plan(estimated_usd=Decimal("0.10")) for _ in range(3)])
        passed += 1
    except WiroError as error:
        assert error.over_usd == "0.20"
print(passed)
"""
    assert sum(int(text) for text in together(ledger.path, code)) == 3
    assert len(ledger.list(limit=None)) == 9
    assert ledger.read_budget("clips.ipynb", "sandbox").reserved_usd == Decimal("0.90")


def test_one_of_two_processes_gets_each_run(ledger: Ledger) -> None:
    for _ in range(20):
        submitted(ledger)
    code = """
mine = [row.run_id for row in ledger.unfinished() if ledger.claim(row.run_id, "owner" + sys.argv[2], NOW, 30)]
print(" ".join(mine))
"""
    first, second = (set(text.split()) for text in together(ledger.path, code))
    assert not first & second
    assert len(first | second) == 20


def test_one_of_two_processes_may_send_a_planned_run(ledger: Ledger) -> None:
    for _ in range(10):
        insert(ledger, plan())
    code = """
sent = 0
for row in ledger.unfinished():
    try:
        ledger.mark_submitting(row.run_id, NOW)
        sent += 1
    except WiroError:
        pass
print(sent)
"""
    assert sum(int(text) for text in together(ledger.path, code)) == 10


def test_a_lease_is_taken_over_only_when_it_has_ended(ledger: Ledger) -> None:
    run_id = submitted(ledger).run_id
    assert ledger.claim(run_id, "a", NOW, 30)
    assert ledger.claim(run_id, "a", NOW, 30)
    assert not ledger.claim(run_id, "b", NOW + timedelta(seconds=29), 30)
    assert ledger.heartbeat("a", NOW + timedelta(seconds=20), 30) == {run_id: False}
    assert not ledger.claim(run_id, "b", NOW + timedelta(seconds=40), 30)
    assert ledger.claim(run_id, "b", NOW + timedelta(seconds=50), 30)
    assert ledger.heartbeat("a", NOW + timedelta(seconds=51), 30) == {}
    assert ledger.release("a", run_id) == 0
    assert ledger.release("b") == 1
    assert ledger.claim(run_id, "c", NOW, 30)
    ledger.finish(run_id, RunState.CANCELLED)
    assert ledger.heartbeat("c", NOW, 30) == {}
    assert not ledger.claim(run_id, "c", NOW, 30), "a run that has ended is nobody's"
    assert ledger.get(run_id).lease_owner is None
    assert not ledger.claim("01NOSUCHRUN", "c", NOW, 30)


def kill_when_ready(code: str, path: Path) -> None:
    process: subprocess.Popen[str] = start(code, str(path))
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "now\n"
    process.kill()
    process.wait(timeout=60)
    process.stdin.close()
    process.stdout.close()


def test_a_process_killed_inside_a_transaction_leaves_nothing_of_it(ledger: Ledger) -> None:
    before = insert(ledger, plan())
    code = """
import sys, time
from pathlib import Path
from tests.unit.ledger.ledger_tools import NOW, insert, plan
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.rows import insert_row
ledger = Ledger(Path(sys.argv[1]))
def work(connection):
    for _ in range(200):
        insert_row(connection, plan(record="r" * 20_000))
    print("now", flush=True)
    time.sleep(60)
ledger.write(work)
"""
    kill_when_ready(code, ledger.path)
    assert [row.run_id for row in ledger.list(limit=None)] == [before.run_id]
    insert(ledger, plan())
    assert ledger.check_integrity() == "ok"


def test_what_was_said_to_be_written_survives_kill_9(ledger: Ledger) -> None:
    code = f"""
import sys, time
from pathlib import Path
from tests.unit.ledger.ledger_tools import NOW, insert, plan
from wiro_nb.ledger.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
row = insert(ledger, plan())
ledger.mark_submitting(row.run_id, NOW)
ledger.mark_submitted(row.run_id, "77", {TOKEN!r}, NOW)
print("now", flush=True)
time.sleep(60)
"""
    kill_when_ready(code, ledger.path)
    (row,) = ledger.unfinished()
    assert (row.state, row.task_id, row.task_token) == (RunState.SUBMITTED, "77", TOKEN)


def test_a_forked_child_opens_the_file_for_itself(ledger: Ledger) -> None:
    code = """
import os, sys
from pathlib import Path
from tests.unit.ledger.ledger_tools import insert, plan
from wiro_nb.ledger.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
insert(ledger, plan())
mine = ledger.read(lambda connection: connection)
child = os.fork()
if child == 0:
    insert(ledger, plan())
    os._exit(0 if ledger.read(lambda connection: connection) is not mine else 1)
assert os.waitpid(child, 0)[1] == 0
insert(ledger, plan())
"""
    process = start(code, str(ledger.path))
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(ledger.list()) == 3


def test_a_second_look_at_the_file_keeps_this_processs_locks(tmp_path: Path) -> None:
    """Else another process takes itself for the last one and deletes the journal that is still in use."""
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(path)
    insert(ledger, plan())
    Ledger(path).close()
    journal = path.with_name(f"{path.name}-wal")
    number = journal.stat().st_ino
    other = start(OPEN_AND_CLOSE, str(path))
    other.communicate(timeout=120)
    assert other.returncode == 0
    assert journal.stat().st_ino == number
    assert len(ledger.list()) == 2
    ledger.close()
