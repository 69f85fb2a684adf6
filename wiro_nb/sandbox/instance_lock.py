"""One process a data folder: a lock, and `sandbox.json` with the address of the running sandbox.

The operating system releases the lock when the process ends in any way, so there are no stale locks.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

_WAIT_S = 10.0


class InstanceLock:
    """The exclusive right to serve a data folder.

    Args:
        folder: The data folder; created when missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._lock_path = folder / "lock"
        self._info_path = folder / "sandbox.json"
        self._handle: IO[bytes] | None = None

    def acquire(self) -> dict[str, Any] | None:
        """Locks the folder, or reads the address of the sandbox that holds it.

        Returns:
            None when the lock was acquired, else the connection info of the running sandbox.

        Raises:
            TimeoutError: Another process holds the lock and publishes no address.
        """
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if self._try_lock():
                self._info_path.unlink(missing_ok=True)
                return None
            if info := self._read():
                return info
            time.sleep(0.05)  # the other process is still starting
        raise TimeoutError(f"{self._lock_path.parent.name}: in use by a process that does not answer")

    def publish(self, info: dict[str, Any]) -> None:
        """Writes the connection info, readable by its owner only."""
        draft = self._info_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
            json.dump(info, target)
        draft.replace(self._info_path)

    def retire(self) -> None:
        """Removes the address before this sandbox ends: a new process then waits for the lock instead."""
        if self._handle:
            self._info_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Releases the lock."""
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

    def _try_lock(self) -> bool:
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
