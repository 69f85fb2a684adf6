"""An "interpreter" for `--python` that runs the stub worker, whatever module it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

STUB = Path(__file__).with_name("stub_worker.py")


def write_stub_python(folder: Path) -> str:
    """Writes the program into a folder and returns its path; it passes the worker's index on."""
    path = folder / "stub-python"
    path.write_text(f'#!/bin/sh\nfor index; do :; done\nexec "{sys.executable}" "{STUB}" "$index"\n')
    path.chmod(0o700)
    return str(path)
