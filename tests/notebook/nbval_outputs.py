"""A pytest plugin for nbval: writes the outputs of each executed cell back into the notebook."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbCell


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the notebooks that were checked, with the outputs of this execution."""
    books = {}
    for item in session.items:
        if isinstance(item, IPyNbCell):
            item.cell.outputs = item.test_outputs or []
            books[Path(item.parent.fspath)] = item.parent.nb
    for path, book in books.items():
        nbformat.write(book, path)
