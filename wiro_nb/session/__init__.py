"""The thread-safe facade of all runs in this process: plans, prices, submits and lists them.

The manager of this process is made at first use, closed at exit, and not shared with a forked child.
"""

from __future__ import annotations

import atexit
import importlib
import os
import threading

from wiro_nb.session.manager import Manager

_manager: Manager | None = None
_manager_lock = threading.Lock()


def get_manager() -> Manager:
    """Returns the manager of this process, made at first use."""
    global _manager
    with _manager_lock:
        if _manager is None or _manager.is_closed:
            _manager = Manager()
        return _manager


def has_manager() -> bool:
    """Returns True when this process has made its manager."""
    return _manager is not None


def close_manager(timeout_s: float = 5.0) -> None:
    """Closes the manager of this process, if there is one; the next `get_manager` makes another."""
    global _manager
    with _manager_lock:
        manager, _manager = _manager, None
    if manager is not None:
        manager.close(timeout_s)


def _after_fork() -> None:
    # Thread, sockets and leases belong to the parent; the child makes its own when it needs them.
    global _manager, _manager_lock
    _manager = None
    _manager_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
# Before the interpreter ends its worker threads: a request under way still needs them to write its answer. What
# was registered last is called first, so the module that ends them, imported late by asyncio, has to be there.
importlib.import_module("concurrent.futures.thread")
getattr(threading, "_register_atexit", atexit.register)(close_manager)
