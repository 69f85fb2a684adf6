"""Command lines as a shell calls them, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    sandbox: Any, point_at: Callable[[Any], None], own_folders: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs one command line; returns exit code, stdout, stderr."""
    point_at(sandbox)

    def call(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
