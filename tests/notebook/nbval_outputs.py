"""A pytest plugin for nbval: one kernel for all notebooks, and the outputs of each cell are written back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import nbval.plugin
import pytest
from nbval.kernel import RunningKernel

from tests.notebook.reset import RESET

TIMEOUT_S = 60


class OneKernel(RunningKernel):  # type: ignore[misc]
    """A kernel that outlives its notebook, and is as good as new in the folder of the next one."""

    started: Any = None

    def __new__(cls, kernel_name: str, cwd: str | None = None, **options: Any) -> OneKernel:
        return cls.started or super().__new__(cls)

    def __init__(self, kernel_name: str, cwd: str | None = None, **options: Any) -> None:
        if OneKernel.started is None:
            super().__init__(kernel_name, cwd, **options)
            OneKernel.started = self
        reset = self.execute_cell_input(RESET.format(environment=dict(os.environ), folder=cwd))
        self.await_reply(reset, TIMEOUT_S)
        self.await_idle(reset, TIMEOUT_S)

    def stop(self) -> None:
        """Leaves the kernel to the next notebook."""


nbval.plugin.RunningKernel = OneKernel


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ends the kernel, and writes the notebooks that were checked, with the outputs of this execution."""
    if OneKernel.started is not None:
        RunningKernel.stop(OneKernel.started)
    books = {}
    for item in session.items:
        if isinstance(item, nbval.plugin.IPyNbCell):
            item.cell.outputs = item.test_outputs or []
            books[Path(item.parent.fspath)] = item.parent.nb
    for path, book in books.items():
        nbformat.write(book, path)
