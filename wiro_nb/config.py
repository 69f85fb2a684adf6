"""Configuration of runs: `Settings`, and the folders of ledger and caches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from wiro_nb.errors import ConfigError

DATA_DIR_VARIABLE = "WIRO_DATA_DIR"
SANDBOX, LOCAL = "sandbox", "local"
FREE_SERVICES = {SANDBOX: "free, sandbox", LOCAL: "free, on this machine"}
"""The services that this package starts as processes of its own, and what a run costs there: nothing is billed."""
ANY_NOTEBOOK = "*"
"""The file name where no front end gives one: all work in one folder belongs together."""
SWEEP_LIMIT_USD, SWEEP_LIMIT_RUNS = Decimal("1.00"), 12
"""More money or more runs at once need a confirmation."""


def data_dir() -> Path:
    """Returns the folder of the ledger and the caches, made readable by its owner alone.

    Raises:
        ConfigError: The folder cannot be made.

    Source: `WIRO_DATA_DIR`, else the platform's folder for user data.
    """
    chosen = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    try:
        return _private_folder(Path(chosen).expanduser().absolute() if chosen else _platform_folder())
    except RuntimeError:  # "~name" without such a user
        raise ConfigError(
            f"The data folder {chosen} names the home of an unknown user.",
            hint=f"set {DATA_DIR_VARIABLE} to a folder you can write to",
        ) from None


def ledger_path() -> Path:
    """Returns the path of the ledger's SQLite file."""
    return data_dir() / "ledger.sqlite3"


def cache_dir() -> Path:
    """Returns the folder of caches, such as model details."""
    return _private_folder(data_dir() / "cache")


def sandbox_dir() -> Path:
    """Returns the folder of the sandbox's tasks and files."""
    return _private_folder(data_dir() / "sandbox")


def local_dir() -> Path:
    """Returns the folder of the service that generates on this machine: its tasks, files and accepted licences."""
    return _private_folder(data_dir() / "local")


def _platform_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("wiro_nb", appauthor=False))


def _private_folder(folder: Path) -> Path:
    try:
        # mkdir's mode covers only the last part; parents are the system's or the user's own.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data folder {folder.name} cannot be made: {error.strerror or error}.",
            hint=f"set {DATA_DIR_VARIABLE} to a folder you can write to",
        ) from error
    return folder


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the manager; the notebook's traits write them.

    Attributes:
        out_dir: Folder of the clips, relative to the notebook's folder, or absolute.
        embed_record: True writes the record into the finished clip.
        max_download_bytes: Files larger than this are not fetched (default 2 GB).
        max_cost_usd: Upper bound for one run whose price is known, or None.
        budget_usd: What any one notebook may spend, or None; a notebook's own lower budget holds.
        poll_s: Seconds between polls while the socket is down; the last one repeats.
        safety_poll_s: Seconds between polls of silent runs while the socket is up.
        catch_up_s: Seconds of silence after registering before a run's state is read.
        connect_patience_s: How long a run waits for a service that never answered in this process.
        outage_patience_s: How long a planned run waits for a service that did answer before.
        unknown_patience_s: How long a service that knows nothing of a paid task is asked again (not a free one).
        uncertain_checks_s: Seconds before each search for a task whose answer was lost.
        slot_retry_s: Seconds between tries while all slots are taken and no run of this process ends.
        download_patience_s: How long a download that makes no progress is tried again.
        download_retry_s: Seconds between tries of a download; the last one repeats.
        late_outputs_s: Seconds before each further look at a success that lists no files.
        late_checks_s: Seconds before each question for the cost or files that an ended run lacks.
        lease_s: How long a run belongs to a process that says nothing.
        heartbeat_s: Seconds between two extensions of a process's leases.
        observe_s: Seconds between looks at a run that another process drives.
        callbacks_per_s: Most calls a second of one change callback while a run moves.
        local_python: Interpreter in which the service `local` runs its models when it starts next; "" stands for
            `WIRO_LOCAL_PYTHON`, else for this one.
    """

    out_dir: str = "wiro_outputs"
    embed_record: bool = True
    max_download_bytes: int = 2_000_000_000
    max_cost_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    poll_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    safety_poll_s: float = 30.0
    catch_up_s: float = 1.0
    connect_patience_s: float = 60.0
    outage_patience_s: float = 3600.0
    unknown_patience_s: float = 60.0
    uncertain_checks_s: tuple[float, ...] = (0.2, 1.0, 3.0, 8.0)
    slot_retry_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    download_patience_s: float = 600.0
    download_retry_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
    late_outputs_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    late_checks_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    lease_s: float = 20.0
    heartbeat_s: float = 5.0
    observe_s: float = 1.0
    callbacks_per_s: float = 10.0
    local_python: str = ""
