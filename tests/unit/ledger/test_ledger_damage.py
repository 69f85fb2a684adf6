"""Disks and files that fail: plain words, nothing half written, nothing lost in silence."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.ledger.ledger_tools import TOKEN, done, insert, plan, submitted
from wiro_nb.errors import InputError, LedgerError
from wiro_nb.ids import new_run_id
from wiro_nb.ledger import sqlite_file as ledger_file
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.rows import export_line
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.provenance.record import build_record


def opened_with(*pragmas: str, uri: str = "") -> Callable[[Path], sqlite3.Connection]:
    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}{uri}", uri=True, isolation_level=None, check_same_thread=False
        )
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    return connect


def test_a_busy_file_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3", busy_timeout_s=0.05)
    row = submitted(ledger)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another program") as caught:
            insert(ledger, plan())
        assert caught.value.reason == "busy"
        assert "Nothing was sent" in caught.value.billed
        assert [kept.run_id for kept in ledger.list()] == [row.run_id]
        other.execute("ROLLBACK")
    insert(ledger, plan())
    ledger.close()


def test_a_write_waits_for_a_short_hold(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3", busy_timeout_s=60)
    other = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=lambda: insert(ledger, plan()))
    writer.start()
    other.execute("COMMIT")
    writer.join(timeout=60)
    other.close()
    assert len(ledger.list()) == 1
    ledger.close()


@pytest.mark.parametrize("how", [opened_with(uri="?mode=ro"), opened_with("query_only = 1")])
def test_a_read_only_ledger_can_be_read_and_says_why_it_cannot_be_written(
    tmp_path: Path, how: Callable[[Path], sqlite3.Connection]
) -> None:
    first = Ledger(tmp_path / "ledger.sqlite3")
    row = insert(first, plan())
    ledger = Ledger(first.path, connect=how)
    assert ledger.get(row.run_id) == row
    with pytest.raises(LedgerError, match="cannot be written: the file or its disk is read-only") as caught:
        insert(ledger, plan())
    assert caught.value.reason == "read-only"
    assert "WIRO_DATA_DIR" in caught.value.hint
    ledger.close()
    first.close()


def test_a_ledger_of_a_read_only_disk_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Ledger(tmp_path / "ledger.sqlite3")
    row = insert(first, plan())  # still in the journal beside the file
    monkeypatch.setattr(ledger_file.os, "access", lambda path, mode: mode != os.W_OK)
    ledger = Ledger(first.path)
    assert ledger.list() == (row,)
    with pytest.raises(LedgerError, match="read-only") as caught:
        insert(ledger, plan())
    assert "Nothing was sent" in caught.value.billed
    ledger.close()
    first.close()


def test_a_folder_that_is_a_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3 cannot be") as caught:
        Ledger(tmp_path / "data" / "ledger.sqlite3")
    assert "Nothing was sent" in caught.value.billed


def test_a_full_disk_stops_the_run_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    Ledger(path).close()
    ledger = Ledger(path, connect=opened_with("max_page_count = 40"))
    kept = []

    def fill() -> None:
        for _ in range(100):
            kept.append(insert(ledger, plan(record="r" * 5_000)).run_id)

    with pytest.raises(LedgerError, match="disk is full") as caught:
        fill()
    assert "Nothing was sent" in caught.value.billed
    assert kept
    assert {row.run_id for row in ledger.list(limit=None)} == set(kept)
    ledger.close()


def damage(path: Path, where: slice) -> None:
    data = bytearray(path.read_bytes())
    data[where] = b"\xa5" * len(data[where])
    path.write_bytes(data)


def write_sidecar(data_folder: Path) -> str:
    """Writes the record of a finished run into a folder that is noted in the data folder; returns the run's id."""
    run_id, folder = new_run_id(), data_folder / "wiro_outputs"
    record = build_record(
        run_id=run_id,
        status="succeeded",
        model={"slug": "wiro/animate-diff", "run_path": "wiro/animate-diff", "schema_sha256": None},
        service={"name": "sandbox", "base_url": "http://127.0.0.1:1/v1"},
        parameters={"prompt": "a fox"},
        files={},
        outputs=[],
        price={"estimated_usd": None, "cost_usd": None},
        elapsed_s=1.0,
        times=dict.fromkeys(("created", "submitted", "started", "finished"), datetime.now(UTC)),
    )
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "run.json").write_text(json.dumps({"wiro": record}))
    (data_folder / "folders.txt").write_text(f"{folder}\tclips.ipynb\n")
    return run_id


def filled(path: Path, rows: int = 60) -> list[LedgerRow]:
    ledger = Ledger(path)
    ledger.set_budget("clips.ipynb", Decimal("7"))
    kept = [submitted(ledger, record="r" * 3_000, created=plan().created) for _ in range(rows)]
    ledger.close()
    return kept


def test_a_file_without_a_header_is_moved_aside_and_rebuilt_from_sidecars(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, rows=3)
    damage(path, slice(0, 4096))
    run_id = write_sidecar(tmp_path)
    ledger = Ledger(path)
    assert ledger.get(run_id).state is RunState.SUCCEEDED
    (notice,) = ledger.take_notices()
    (aside,) = tmp_path.glob("ledger.damaged-*.sqlite3")
    assert aside.name in notice
    assert "1 run from the run folders" in notice
    assert "%wiro attach" in notice
    assert ledger.take_notices() == ()
    assert aside.read_bytes()[:16] == b"\xa5" * 16
    assert (path.stat().st_mode & 0o777, ledger.check_integrity()) == (0o600, "ok")
    ledger.close()


def test_runs_in_flight_come_back_from_the_readable_part(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    rows = filled(path)
    middle = path.stat().st_size // 2
    damage(path, slice(middle, middle + 8192))
    ledger = Ledger(path)
    assert ledger.check_integrity() == "ok", "the check itself replaces it"
    assert ledger.take_notices()
    found = {row.run_id: row for row in ledger.list(limit=None)}
    assert len(rows) * 0.7 < len(found) <= len(rows)
    assert all(row.task_token == TOKEN for row in found.values())
    assert ledger.get_budget("clips.ipynb") == Decimal("7")
    assert ledger.check_integrity() == "ok"
    assert len(list(tmp_path.glob("ledger.damaged-*.sqlite3"))) == 1
    ledger.close()


def test_damage_met_by_a_write_is_mended_and_the_write_is_done_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path)
    ledger = Ledger(path)
    damage(path, slice(4096, 40_000))
    row = insert(ledger, plan())
    assert ledger.get(row.run_id) == row
    assert len(ledger.take_notices()) == 1
    assert ledger.check_integrity() == "ok"
    ledger.close()


def test_two_that_meet_the_damage_make_one_new_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, rows=3)
    damage(path, slice(0, 4096))
    run_id = write_sidecar(tmp_path)
    opened: list[Ledger] = []
    threads = [threading.Thread(target=lambda: opened.append(Ledger(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(opened) == 4
    row = insert(opened[0], plan())
    assert {kept.run_id for ledger in opened for kept in ledger.list()} == {row.run_id, run_id}
    assert len(list(tmp_path.glob("ledger.damaged-*.sqlite3"))) == 1
    assert sum(len(ledger.take_notices()) for ledger in opened) == 1
    for ledger in opened:
        ledger.close()


def test_a_rebuild_that_fails_leaves_the_damaged_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, rows=1)
    damage(path, slice(0, 4096))
    before = path.read_bytes()
    (tmp_path / "ledger.sqlite3.new").mkdir()
    with pytest.raises(LedgerError):
        Ledger(path)
    assert path.read_bytes() == before
    (tmp_path / "ledger.sqlite3.new").rmdir()
    Ledger(path).close()


def test_a_ledger_replaced_by_another_process_is_opened_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    done(ledger)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"old-{path.name}"))
    row = insert(ledger, plan())
    other = Ledger(ledger.path)
    assert other.get(row.run_id) == row
    other.close()
    ledger.close()


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(LedgerError, match="later version") as caught:
        Ledger(path)
    assert "upgrade" in caught.value.hint


def test_a_rescue_that_died_half_way_does_not_lock_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, rows=1)
    damage(path, slice(0, 4096))
    for name in ("ledger.sqlite3.rescue", "ledger.sqlite3.new"):
        (tmp_path / name).touch()
    ledger = Ledger(path)
    insert(ledger, plan())
    assert len(ledger.take_notices()) == 1
    ledger.close()


COLUMNS = ("request", "outputs", "error", "created", "finished_at", "state", "model", "record")
DAMAGED = ("x", "", "[]", "3", "[" * 100_000, b"\xff", '{"seed": 3, "files": 3}', -5, 10**18)


def test_a_row_with_a_damaged_field_is_still_listed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    whole = done(ledger)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")  # they read JSON
        for column, value in itertools.product(COLUMNS, DAMAGED):
            (before,) = connection.execute(f"SELECT {column} FROM runs").fetchone()
            connection.execute(f"UPDATE runs SET {column} = ?", (value,))
            (row,) = ledger.list()
            assert row.run_id == whole.run_id
            assert row.load_record() in (None, {"seed": 3, "files": 3})
            json.loads(export_line(replace(row, record=None)))
            if column in ("state", "request", "created"):
                assert column in row.message
            if column == "state":
                assert row.state is RunState.UNCERTAIN
            connection.execute(f"UPDATE runs SET {column} = ?", (before,))
    ledger.close()


@pytest.mark.parametrize("column", ["state", "created", "cost_usd"])
def test_a_run_with_a_damaged_field_still_counts_with_its_estimate(tmp_path: Path, column: str) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    submitted(ledger, estimated_usd=Decimal("0.5"))
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as connection:
        for value in ("x", "", b"\xff"):
            connection.execute(f"UPDATE runs SET {column} = ?", (value,))
            (money,) = ledger.spending("model")
            assert (money.runs, money.spent_usd, money.reserved_usd) == (1, Decimal(0), Decimal("0.5"))
    ledger.close()


@pytest.mark.parametrize(("limit", "count"), [(np.int64(1), 1), (10**30, 2), (-1, 0), (None, 2)])
def test_a_limit_is_any_whole_number(tmp_path: Path, limit: Any, count: int) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    submitted(ledger)
    submitted(ledger)
    assert len(ledger.list(limit=limit)) == count
    for wrong in (1.5, "3", float("nan")):
        with pytest.raises(InputError, match="whole number"):
            ledger.list(limit=wrong)  # type: ignore[arg-type]
    ledger.close()
