"""Run ids: ULIDs, sortable by time, and the short forms people type."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ID_LENGTH = 26
SHORT_LENGTH = 5

_RANDOM_BITS = 80
_TIME_LIMIT = 1 << 48
_LOOK_ALIKES = str.maketrans({"I": "1", "L": "1", "O": "0"})


class UlidMaker:
    """Makes ULIDs that increase strictly within the process, even when the clock stands or goes back.

    Args:
        clock_ms: Milliseconds since 1970.
        random_bytes: Gives that many random bytes.

    Source: ulid/spec, "Monotonicity".
    """

    def __init__(
        self,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._last = -1

    def new(self) -> str:
        """Returns the next id, 26 characters of Crockford's base 32."""
        with self._lock:
            moment = min(max(self._clock_ms(), 0), _TIME_LIMIT - 1)
            if moment > self._last >> _RANDOM_BITS:
                self._last = (moment << _RANDOM_BITS) | int.from_bytes(self._random_bytes(10), "big")
            else:
                self._last += 1
            return _encode(self._last)


def _encode(number: int) -> str:
    characters = []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, 32)
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


_maker = UlidMaker()


def new_run_id() -> str:
    """Returns a new run id."""
    return _maker.new()


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
    if len(wanted) == SHORT_LENGTH:
        by_short = [run_id for run_id in ids if run_id.endswith(wanted)]
        if by_short:
            return by_short
    return [run_id for run_id in ids if run_id.startswith(wanted) or run_id.endswith(wanted)]
