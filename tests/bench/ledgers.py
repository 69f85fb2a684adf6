"""The ledger by itself: rows a second, questions at many rows, and whether a run costs more in a full ledger."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH = 1000


def make_rows(first: int, count: int) -> list[Any]:
    """Returns planned rows as a notebook makes them, each of another request."""
    from wiro_nb.ids import new_run_id

    pattern = _pattern()
    return [
        replace(
            pattern,
            run_id=new_run_id(),
            notebook=f"notebook{number % 50}.ipynb",
            request_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            created=_START + timedelta(seconds=number),
            estimated_usd=Decimal("0.01"),
        )
        for number in range(first, first + count)
    ]


@cache
def _pattern() -> Any:
    from wiro_nb.execution.requests import Origin, plan_row
    from wiro_nb.schema import find_bundled
    from wiro_nb.schema.values import prepare
    from wiro_nb.services.selection import ServiceChoice

    schema = find_bundled(MODEL)
    assert schema is not None
    return plan_row(
        prepare(schema, {"prompt": "a lake at dawn", "seed": "7"}),
        ServiceChoice("sandbox", "by a benchmark"),
        origin=Origin("notebook.ipynb", "cell", None, "python"),
        created=_START,
        out_folder=Path("/nowhere"),
    )


def fill(ledger: Any, count: int, *, have: int = 0) -> float:
    """Adds finished rows in large steps; returns rows a second."""
    from wiro_nb.ledger.state import RunState

    start = time.perf_counter()
    for first in range(have, count, _BATCH):
        rows = make_rows(first, min(_BATCH, count - first))
        ledger.reinsert([_finished(row, number, RunState.SUCCEEDED) for number, row in enumerate(rows, first)])
    return (count - have) / (time.perf_counter() - start)


def _finished(row: Any, number: int, state: Any) -> Any:
    return replace(
        row,
        state=state,
        task_id=str(100_000 + number),
        compute_s=3.0,
        cost_usd=Decimal("0.01"),
        finished_at=row.created + timedelta(seconds=3),
    )


def one_life(ledger: Any, number: int) -> None:
    """Takes a run through all its steps, each durable."""
    from wiro_nb.ledger.state import RunState

    (row,) = make_rows(10_000_000 + number, 1)
    ledger.insert_plans([row])
    ledger.mark_submitting(row.run_id, row.created)
    ledger.mark_submitted(row.run_id, f"t{row.run_id}", "token-" + row.run_id, row.created)
    ledger.finish(row.run_id, RunState.SUCCEEDED, finished_at=row.created, record="{}")


def best_ms(work: Callable[[], object], times: int = 7) -> float:
    """Returns the shortest of several times, milliseconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found) * 1e3


def measure(most: int) -> list[Figure]:
    """Fills a ledger step by step, up to `most` rows, and asks it the questions of every day."""
    from wiro_nb.ledger.ledger import Ledger
    from wiro_nb.ledger.reuse import Reuse

    group, figures, lives = "ledger", [], {}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite3")
        have = 0
        for rows in sorted({10, 100, 1_000, 10_000, most}):
            rate, have = fill(ledger, rows, have=have), rows
            if rows <= 10_000:
                cpu, turns = time.process_time(), 20
                for number in range(turns):
                    one_life(ledger, rows + number)
                lives[rows] = (time.process_time() - cpu) * 1e3 / turns
        figures.append(Figure(group, "rows a second, restored in thousands", f"{rate:,.0f}"))
        figures.append(
            Figure(
                group,
                "CPU of a run's four durable steps at 10 / 100 / 1,000 / 10,000 rows",
                " / ".join(f"{lives[rows]:.1f}" for rows in sorted(lives)) + " ms",
            )
        )
        row = ledger.list(limit=1)[0]
        questions: tuple[tuple[str, Callable[[], object]], ...] = (
            ("the latest 50 runs", lambda: ledger.list(limit=50)),
            ("the latest 50 of a notebook", lambda: ledger.list(notebook="notebook7.ipynb", limit=50)),
            ("a run by its short id", lambda: ledger.find(row.short_id)),
            ("the same request before", lambda: ledger.answer_plans([row], Reuse())),
            ("times of earlier runs", lambda: ledger.past_runs(MODEL, "sandbox")),
            ("unfinished runs", lambda: ledger.unfinished()),
            ("money of a notebook", lambda: ledger.read_budget("notebook7.ipynb", "sandbox")),
        )
        for what, question in questions:
            figures.append(Figure(group, f"at {most:,} rows: {what}", f"{best_ms(question):.2f} ms"))
        ledger.close()
    return figures


if __name__ == "__main__":
    from dataclasses import asdict

    print(json.dumps({"figures": [asdict(figure) for figure in measure(json.loads(sys.argv[1])["rows"])]}))
