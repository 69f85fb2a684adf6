"""What the command prints: JSON or plain lines on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wiro_nb import errors
from wiro_nb.runs.snapshot import RunState, Snapshot

EXIT_DONE, EXIT_RUN, EXIT_INPUT, EXIT_SERVICE = 0, 1, 2, 3


def report_error(error: errors.WiroError) -> int:
    """Prints an error for people and returns its exit code."""
    if errors.WiroError.debug:
        raise error
    for line in error.lines():
        print(as_shell(line), file=sys.stderr)
    if isinstance(error, (errors.InputError, errors.ConfigError)):
        return EXIT_INPUT
    return EXIT_RUN if isinstance(error, errors.RunError) else EXIT_SERVICE


def as_shell(text: str) -> str:
    """Returns a text whose commands are those of the shell instead of the notebook's."""
    return text.replace("%wiro ", "wiro-nb ").replace("%wiro", "wiro-nb --help")


def print_json(value: Any) -> None:
    """Prints one JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain))


def print_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> None:
    """Prints aligned columns; the last one may be long."""
    table = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def exit_code(state: RunState) -> int:
    """Returns the exit code a run's state stands for."""
    return EXIT_DONE if state in (RunState.SUCCEEDED, RunState.SUBMITTED, RunState.PLANNED) else EXIT_RUN


class ProgressLine:
    """One line on stderr that follows a run; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = ""
        self._live = sys.stderr.isatty()

    def __call__(self, snapshot: Snapshot) -> None:
        """Shows a snapshot (called on the I/O thread)."""
        if not self._live:
            return
        text = describe_progress(snapshot)
        if text != self._shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self._shown:
            print(file=sys.stderr, flush=True)
            self._shown = ""


def describe_progress(snapshot: Snapshot) -> str:
    """Returns one line about a run: state, numbers, time left."""
    parts = [f"{snapshot.model} {snapshot.short_id}:", str(snapshot.stage)]
    if snapshot.state.is_final:
        parts[1] = str(snapshot.state)
    elif snapshot.percent is not None:
        parts.append(f"{snapshot.percent:.0f}%")
    if snapshot.step is not None and snapshot.steps:
        parts.append(f"step {snapshot.step} of {snapshot.steps}")
    if snapshot.remaining_s is not None and not snapshot.state.is_final:
        parts.append(f"about {snapshot.remaining_s:.0f} s left")
    if snapshot.lost_since is not None:
        parts.append("(lost contact, trying again)")
    elif snapshot.message and snapshot.state is RunState.PLANNED:
        parts.append(f"({snapshot.message})")
    return " ".join(parts)


def money(amount: Decimal | None, *, unknown: str = "not known") -> str:
    """Returns an amount as people read it: three decimals under ten cents, else two."""
    if amount is None:
        return unknown
    if amount == 0:
        return "$0"
    return f"${amount:.3f}" if amount < Decimal("0.1") else f"${amount:.2f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
