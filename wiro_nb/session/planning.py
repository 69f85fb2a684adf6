"""Values worked out before a run is planned: its folders, its price, how long it should take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.errors import NOTHING_SENT, ConfigError
from wiro_nb.execution.request_rows import notebook_dir_of
from wiro_nb.ledger.recovery import remember_folder
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.provenance.reading import is_there

if TYPE_CHECKING:
    pass


def notebook_dir_of_row(row: LedgerRow) -> Path:
    """Returns the folder that a run's output paths start from."""
    if row.notebook is None and row.scope is not None:
        return Path(row.scope).parent
    if row.notebook or not row.folder:
        return notebook_dir_of(row.notebook)
    # Earlier versions did not note the folder; by default they saved two levels below it.
    return Path(row.folder).parent.parent


def out_folder_of(home: Path, out_dir: str | Path) -> Path:
    """Returns the folder of all runs' folders; raises ConfigError for "~name" of nobody on this machine."""
    try:
        return home / Path(out_dir).expanduser()
    except RuntimeError:
        raise _not_writable(
            f"the folder {str(out_dir)[:80]} cannot be written: its user is not known here"
        ) from None


def make_folder(folder: Path, scope: str | None) -> None:
    """Makes the folder of all runs' folders and notes what for: better refused now than after paying.

    Raises:
        ConfigError: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        is_file = is_there(folder) and folder.is_file()
        name = folder.name[:80]
        raise _not_writable(f"{name} is a file" if is_file else f"the folder {name} cannot be written")
    remember_folder(folder, scope or "")


def _not_writable(problem: str) -> ConfigError:
    return ConfigError(
        f"clips cannot be saved: {problem}",
        hint="%config WiroMagics.out_dir = 'FOLDER', a folder you can write to",
        billed=NOTHING_SENT,
    )
