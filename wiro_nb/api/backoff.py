"""Delays between tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def jittered_delays(
    random: Callable[[], float], *, first_s: float = 0.5, longest_s: float = 30.0
) -> Iterator[float]:
    """Yields growing delays without end, each drawn from the upper half of a doubling span.

    The jitter keeps many clients that lost the same service from coming back in step.

    Args:
        random: Gives numbers from 0 to 1, such as `random.random`.
        first_s: Upper end of the first span, in seconds.
        longest_s: No delay is longer.
    """
    span = first_s
    while True:
        yield span * (0.5 + 0.5 * random())
        span = min(span * 2, longest_s)
