"""Run ids: ULIDs, sortable by time, and the short forms people type."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ID_LENGTH = 26
SHORT_LENGTH = 5

_RANDOM_BITS = 80
_TIME_LIMIT = 1 << 48
_LOOK_ALIKES = str.maketrans({"I": "1", "L": "1", "O": "0"})


_lock = threading.Lock()
_last = -1


def new_run_id() -> str:
    """Returns a new run id: a ULID, 26 characters of Crockford's base 32.

    Ids increase strictly within the process, even when the clock stands or goes back.

    Source: ulid/spec, "Monotonicity".
    """
    global _last
    with _lock:
        moment = min(max(time.time_ns() // 1_000_000, 0), _TIME_LIMIT - 1)
        if moment > _last >> _RANDOM_BITS:
            _last = (moment << _RANDOM_BITS) | int.from_bytes(os.urandom(10), "big")
        else:
            _last += 1
        return "".join(ALPHABET[_last >> shift & 31] for shift in range(5 * ID_LENGTH - 5, -1, -5))


def short_id(run_id: str) -> str:
    """Returns the form people read and type: the last five characters, lower case."""
    return run_id[-SHORT_LENGTH:].lower()


def normalise_query(query: str) -> str:
    """Returns what a user typed as the characters of an id: upper case, I and L as 1, O as 0."""
    return query.strip().lstrip("#").upper().translate(_LOOK_ALIKES)


_FEWEST = 3
"""Fewer characters match a run by chance."""


def match_ids(query: str, run_ids: Iterable[str]) -> list[str]:
    """Finds the ids that a query may mean.

    Args:
        query: A whole id, a short id, or at least three first or last characters, in any case.
        run_ids: The ids to choose from.

    Returns:
        One id when the query is clear; several when it is not; none when nothing fits. A whole id
        wins over a short id, a short id over a prefix or suffix.
    """
    wanted = normalise_query(query)
    if len(wanted) < _FEWEST:
        return []
    ids = list(dict.fromkeys(run_ids))
    if wanted in ids:
        return [wanted]
    by_short = [run_id for run_id in ids if len(wanted) == SHORT_LENGTH and run_id.endswith(wanted)]
    return by_short or [run_id for run_id in ids if run_id.startswith(wanted) or run_id.endswith(wanted)]
