"""One process a data folder: the lock, and `sandbox.json`, where others read how to reach the living one.

The lock is held by the operating system and falls with the process, however that ends, so there is no
stale lock to clean up.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

__all__ = ["Claim"]

_WAIT_S = 10.0


class Claim:
    """The right to serve a data folder.

    Args:
        folder: The data folder; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._lock_path = folder / "lock"
        self._info_path = folder / "sandbox.json"
        self._handle: IO[bytes] | None = None

    def take(self) -> dict[str, Any] | None:
        """Takes the folder, or finds who has it.

        Returns:
            None when the folder is ours now, else the connection info of the living sandbox.

        Raises:
            TimeoutError: Another process holds the folder and did not say how to reach it.
        """
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if self._lock():
                self._info_path.unlink(missing_ok=True)
                return None
            if info := self._read():
                return info
            time.sleep(0.05)  # the other one is still starting
        raise TimeoutError(f"{self._lock_path.parent.name}: in use by a process that does not answer")

    def publish(self, info: dict[str, Any]) -> None:
        """Writes how to reach this sandbox, readable by its owner alone."""
        draft = self._info_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
            json.dump(info, target)
        draft.replace(self._info_path)

    def retire(self) -> None:
        """Takes the address back: this sandbox is about to end, and who comes now waits for the folder instead."""
        if self._handle:
            self._info_path.unlink(missing_ok=True)

    def give_back(self) -> None:
        """Lets the folder go."""
        if self._handle:
            self.retire()
            self._handle.close()
            self._handle = None

    def _read(self) -> dict[str, Any] | None:
        try:
            info = json.loads(self._info_path.read_text())
        except (OSError, ValueError):
            return None
        return info if isinstance(info, dict) else None

    def _lock(self) -> bool:
        handle = self._lock_path.open("ab")
        try:
            if sys.platform == "win32":
                import msvcrt

                handle.seek(0)
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            return False
        self._handle = handle
        return True
