"""Brings the ledger's tables to the latest version.

Each version is a tuple of statements. `PRAGMA user_version` marks the version. It lives in the file's header and
takes part in transactions, so a change and its mark are committed together or not at all. Statements that have
been released are never edited: a later version is a new tuple at the end of `MIGRATIONS`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from wiro_nb.errors import LedgerError

_RUNS_AND_BUDGETS = (
    """
    CREATE TABLE runs (
        run_id TEXT NOT NULL PRIMARY KEY, short_id TEXT NOT NULL, state TEXT NOT NULL,
        model TEXT NOT NULL, run_path TEXT NOT NULL, service TEXT NOT NULL, base_url TEXT NOT NULL,
        created TEXT NOT NULL, submitting_at TEXT, submitted_at TEXT, started_at TEXT, finished_at TEXT,
        elapsed_s REAL, request_sha256 TEXT NOT NULL, schema_sha256 TEXT,
        notebook TEXT, cell_id TEXT, source_sha256 TEXT, origin TEXT NOT NULL,
        task_id TEXT, task_token TEXT, exit_code TEXT, estimated_usd TEXT, cost_usd TEXT,
        stage TEXT NOT NULL DEFAULT '', percent REAL, message TEXT NOT NULL DEFAULT '',
        starred INTEGER NOT NULL DEFAULT 0, queue_order INTEGER,
        lease_owner TEXT, lease_until TEXT, deleted INTEGER NOT NULL DEFAULT 0,
        signature TEXT NOT NULL DEFAULT '', work REAL, folder TEXT, parent TEXT,
        -- Long texts come last, so that a scan of what stands before them skips their pages.
        search_text TEXT NOT NULL DEFAULT '', request TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '[]',
        error TEXT, uploaded TEXT, record TEXT
    )
    """,
    "CREATE INDEX runs_by_short ON runs (short_id)",
    "CREATE INDEX runs_by_time ON runs (created, run_id)",
    "CREATE INDEX runs_by_notebook ON runs (notebook, created, run_id)",
    "CREATE INDEX runs_by_state ON runs (state, created, run_id)",
    "CREATE INDEX runs_by_model ON runs (model COLLATE NOCASE, created, run_id)",
    "CREATE INDEX runs_by_request ON runs (request_sha256, created, run_id)",
    "CREATE INDEX runs_by_task ON runs (task_id) WHERE task_id IS NOT NULL",
    "CREATE INDEX runs_by_lease ON runs (lease_owner) WHERE lease_owner IS NOT NULL",
    # Covers the sums of money, so that they never read the wide rows.
    "CREATE INDEX runs_by_money ON runs (notebook, service, created, state, cost_usd, estimated_usd)",
    "CREATE TABLE budgets (notebook TEXT PRIMARY KEY, budget_usd TEXT NOT NULL)",
)


def _media() -> Iterator[str]:
    """Adds the hashes of generated files, so that an input file identifies the run that made it.

    Triggers keep the table in step with `runs.outputs`, whichever function writes them. Frames taken out of a
    clip are added when they are taken; `frame` is NULL for whole files.
    """
    yield """
        CREATE TABLE media (
            sha256 TEXT NOT NULL, run_id TEXT NOT NULL, output INTEGER NOT NULL, frame INTEGER,
            PRIMARY KEY (sha256, run_id, output)
        ) WITHOUT ROWID
    """
    for name in ("sha256", "stored_sha256"):
        found = f"json_extract(made.value, '$.{name}')"
        yield f"""
            INSERT OR IGNORE INTO media SELECT {found}, runs.run_id, made.key, NULL
            FROM runs, json_each(runs.outputs) AS made WHERE {found} IS NOT NULL
        """
        for event in ("INSERT ON runs", "UPDATE OF outputs ON runs"):
            yield f"""
                CREATE TRIGGER media_{name}_{event.split()[0].lower()} AFTER {event} BEGIN
                    INSERT OR IGNORE INTO media SELECT {found}, NEW.run_id, made.key, NULL
                    FROM json_each(NEW.outputs) AS made WHERE {found} IS NOT NULL;
                END
            """


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _RUNS_AND_BUDGETS,
    (
        "ALTER TABLE runs ADD COLUMN sweep_id TEXT",
        "ALTER TABLE runs ADD COLUMN sweep_point INTEGER",
        "CREATE INDEX runs_by_sweep ON runs (sweep_id, sweep_point) WHERE sweep_id IS NOT NULL",
    ),
    tuple(_media()),
    # The cancel request survives its process and reaches the process that drives the run.
    ("ALTER TABLE runs ADD COLUMN cancel_at TEXT",),
    # Rows rebuilt from sidecars held the wall time of their record in place of the compute time.
    (
        "ALTER TABLE runs RENAME COLUMN elapsed_s TO compute_s",
        """
        UPDATE runs SET compute_s = (julianday(finished_at) - julianday(started_at)) * 86400
        WHERE record IS NOT NULL AND compute_s = json_extract(record, '$.elapsed_s')
        """,
    ),
    # Where a run answers the same request again, and which account it belongs to.
    (
        "ALTER TABLE runs ADD COLUMN scope TEXT",
        "ALTER TABLE runs ADD COLUMN account TEXT",
        "UPDATE runs SET scope = notebook",
    ),
)


def migrate(connection: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Brings the tables to the latest version.

    Args:
        connection: In autocommit mode. Several processes may do this at once: each step reads the version
            again once it holds the write lock.
        migrations: In order; the first makes version 1.

    Raises:
        LedgerError: The file was made by a later wiro_nb.
        sqlite3.Error: As SQLite says it; the file is then at the last whole version.
    """
    while (version := _version(connection)) < len(migrations):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection) == version:
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
    if version > len(migrations):
        raise LedgerError(
            f"The ledger was written by a later version of wiro_nb (its format is {version}, this one reads up to "
            f"{len(migrations)}).",
            hint="pip install --upgrade wiro_nb, then restart the kernel",
            reason="newer",
        )


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
