"""Where the ledger and the caches live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from wiro_nb.errors import ConfigError

DATA_DIR_VARIABLE = "WIRO_DATA_DIR"


def data_dir() -> Path:
    """Returns the folder of the ledger and the caches, made readable by its owner alone.

    Raises:
        ConfigError: The folder cannot be made.

    Source: `WIRO_DATA_DIR`, else the platform's folder for user data.
    """
    chosen = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    return _private_folder(Path(chosen).expanduser().absolute() if chosen else _platform_folder())


def ledger_path() -> Path:
    """Returns the path of the ledger's SQLite file."""
    return data_dir() / "ledger.sqlite3"


def cache_dir() -> Path:
    """Returns the folder of what can be fetched again (model details)."""
    return _private_folder(data_dir() / "cache")


def sandbox_dir() -> Path:
    """Returns the folder in which the sandbox keeps its tasks and files."""
    return _private_folder(data_dir() / "sandbox")


def _platform_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("wiro_nb", appauthor=False))


def _private_folder(folder: Path) -> Path:
    try:
        # mkdir's mode covers only the last part; parents are the system's or the person's own.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data folder {folder.name} cannot be made: {error.strerror or error}.",
            hint=f"set {DATA_DIR_VARIABLE} to a folder you can write to",
        ) from error
    return folder
