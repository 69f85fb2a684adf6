"""Every ledger ever released opens with its rows; a migration that fails changes nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.migrations import MIGRATIONS, migrate
from wiro_nb.ledger.recovery import copy_rows
from wiro_nb.ledger.state import RunState

PAST = Path(__file__).parent / "ledgers"


def test_every_version_has_a_sample_with_rows() -> None:
    assert sorted(path.name for path in PAST.glob("*.sql")) == sorted(
        f"v{number}.sql" for number in range(1, len(MIGRATIONS) + 1)
    )


@pytest.mark.parametrize("sample", sorted(PAST.glob("*.sql")), ids=lambda path: path.stem)
def test_a_ledger_of_any_past_version_opens_with_its_rows(tmp_path: Path, sample: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sample.read_text())
    ledger = Ledger(path)
    finished, flying = ledger.list()[::-1]
    assert (finished.run_id, finished.state, finished.cost_usd) == (
        "01KAJ0000000000000000K3F9A",
        RunState.SUCCEEDED,
        Decimal("0.1200"),
    )
    assert finished.parameters == {"prompt": "a fox – été", "steps": "16"}
    assert finished.outputs[0].name == "clip.mp4"
    assert (flying.state, flying.task_id, flying.task_token) == (RunState.SUBMITTED, "2221", "sample-token-1")
    assert finished.compute_s == 60.0
    assert flying.submitted_at == datetime(2026, 11, 21, 9, 0, 5, tzinfo=UTC)
    assert ledger.get_budget("clips.ipynb") == Decimal("5.00")
    assert ledger.read_budget("clips.ipynb", "cloud").spent_usd == Decimal("0.1200")
    assert ledger.check_integrity() == "ok"
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


@pytest.mark.parametrize("sample", sorted(PAST.glob("*.sql")), ids=lambda path: path.stem)
def test_a_damaged_ledger_of_any_past_version_gives_its_rows(tmp_path: Path, sample: Path) -> None:
    damaged = tmp_path / "damaged.sqlite3"
    with closing(sqlite3.connect(damaged)) as connection:
        connection.executescript(sample.read_text())
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    told = ledger.write(lambda connection: copy_rows(connection, damaged))
    assert "has 2 runs read from it" in told
    assert [row.task_token for row in ledger.list()] == ["sample-token-1", "sample-token-0"]
    ledger.close()


def test_the_wall_time_of_a_rebuilt_row_becomes_its_compute_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((PAST / "v4.sql").read_text())
        connection.execute("UPDATE runs SET elapsed_s = 120.5, record = '{\"elapsed_s\": 120.5}'")
        connection.commit()
    ledger = Ledger(path)
    assert ledger.get("01KAJ0000000000000000K3F9A").compute_s == pytest.approx(60.0)
    ledger.close()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None)) as opened:
        yield opened


ADD_TABLE = ("CREATE TABLE extra (name TEXT)",)
ADD_AND_FAIL = (
    "CREATE TABLE more (name TEXT)",
    "INSERT INTO extra VALUES ('half')",
    "INSERT INTO nowhere VALUES (1)",
)


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_change_and_its_mark_are_committed_together(connection: sqlite3.Connection) -> None:
    migrate(connection, (ADD_TABLE,))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (ADD_TABLE, ADD_AND_FAIL))
    assert tables(connection) == {"extra"}
    assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert not connection.in_transaction


def test_many_that_migrate_at_once_change_it_once(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
                migrate(connection, (ADD_TABLE,))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert problems == []
