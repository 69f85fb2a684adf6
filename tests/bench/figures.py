"""A figure, and the table of all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        group: Heading it stands under.
        what: What was measured, with its unit.
        value: As printed.
        budget: The design's bound, or "".
        met: False when the bound is missed; None when there is none.
    """

    group: str
    what: str
    value: str
    budget: str = ""
    met: bool | None = None


def bounded(group: str, what: str, value: float, most: float, unit: str, *, digits: int = 1) -> Figure:
    """Returns a figure with an upper bound."""
    return Figure(group, what, f"{value:,.{digits}f} {unit}", f"<= {most:g} {unit}", value <= most)


def skipped(group: str, what: str, install: str) -> Figure:
    """Returns a figure that was not measured, with what is missing."""
    return Figure(group, what, f"skipped: {install}")


def print_table(figures: Sequence[Figure], about: Sequence[str]) -> None:
    """Prints Markdown, so that it can be pasted."""
    for line in about:
        print(line)
    print("\n| what | value | budget | |\n|---|---|---|---|")
    group = ""
    for figure in figures:
        if figure.group != group:
            group = figure.group
            print(f"| **{group}** | | | |")
        verdict = {True: "met", False: "missed", None: ""}[figure.met]
        print(f"| {figure.what} | {figure.value} | {figure.budget} | {verdict} |")


def child(module: str, options: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs a module of this package in a fresh process and returns the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:  # without the command: it holds the sandbox's keys
        raise SystemExit(f"tests.bench.{module} failed; see above")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
