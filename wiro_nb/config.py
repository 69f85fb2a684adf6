"""The services that cost nothing, the limits of a sweep, and the folders of ledger and caches."""

from __future__ import annotations

import os
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
