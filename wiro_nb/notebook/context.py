"""Detects where the code runs: terminal, live front end, headless runner or plain Python, and in which cell.

A headless runner (nbclient, papermill, nbconvert, nbval, Voila) executes cells with `allow_stdin`
false; live front ends send true. That one field of the request decides, and `WIRO_HEADLESS` (1 or 0)
overrides it. Facts are read at every use: one kernel can be driven by both, one after the other.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wiro_nb.config import ANY_NOTEBOOK

_INJECTED_HEAD = "# Parameters\n"
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential")

Kind = Literal["plain", "terminal", "kernel-live", "kernel-headless"]


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Facts of the present request.

    Attributes:
        kind: "plain" (no IPython), "terminal", "kernel-live" or "kernel-headless".
        notebook: Absolute path of the notebook; where no front end gives it, the kernel's folder and `*`, so
            that runs of one folder belong together; None in plain Python.
        cell_id: Id of the running cell, or None.
        source_sha256: Hash of the running cell's text, or None.
        execution_id: The same within one execution of a cell, and for no other.
    """

    kind: Kind
    notebook: str | None = None
    cell_id: str | None = None
    source_sha256: str | None = None
    execution_id: str | None = None

    @property
    def is_headless(self) -> bool:
        """True when a cell must wait for its runs and failures must raise."""
        return self.kind == "kernel-headless"

    @property
    def is_live(self) -> bool:
        """True when a user watches the notebook, so widgets and later updates are seen."""
        return self.kind == "kernel-live"

    @property
    def folder(self) -> Path:
        """The folder that relative paths in outputs start from."""
        return Path.cwd() if self.notebook is None else Path(self.notebook).parent


def current_shell() -> Any | None:
    """Returns the running IPython shell, or None. Never imports IPython by itself."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def current_context(shell: Any | None = None) -> ExecutionContext:
    """Returns the facts of the present request.

    Args:
        shell: The IPython shell; None asks IPython.
    """
    shell = shell if shell is not None else current_shell()
    if shell is None:
        return ExecutionContext("plain")
    if getattr(shell, "kernel", None) is None:
        inputs = getattr(shell, "user_ns", {}).get("In")
        source = _sha256(inputs[-1]) if isinstance(inputs, list) and inputs else None
        execution_id = f"in-{getattr(shell, 'execution_count', 0)}"
        return ExecutionContext("terminal", _folder_identity(), None, source, execution_id)
    get_parent = getattr(shell, "get_parent", None)
    parent = get_parent() if get_parent is not None else None
    parent = parent if isinstance(parent, Mapping) else {}
    kind: Kind = "kernel-headless" if _is_headless(parent) else "kernel-live"
    code = parent.get("content", {}).get("code") if _is_execute(parent) else None
    message_id = parent.get("header", {}).get("msg_id")
    cell_id = parent.get("metadata", {}).get("cellId")
    cell_id = cell_id if isinstance(cell_id, str) and cell_id else None
    return ExecutionContext(kind, _notebook(shell, kind), cell_id, _sha256(code), message_id)


def injected_parameters() -> dict[str, Any] | None:
    """Returns what papermill put into the running notebook, by name, or None when it put in nothing.

    A kernel does not get the notebook's metadata, so the injected cell is recognised by its first line. Names that
    may hold a secret are left out, because records travel with the clips.
    """
    shell = current_shell()
    inputs = getattr(shell, "user_ns", {}).get("In")
    if not isinstance(inputs, list):
        return None
    source = next((text for text in reversed(inputs) if str(text).startswith(_INJECTED_HEAD)), None)
    if source is None:
        return None
    try:
        statements = ast.parse(source).body
        given = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError):
        return None  # a cell of the user's own that only begins like an injected one
    return {name: value for name, value in given.items() if not _SECRET_NAME.search(name)} or None


def _is_execute(parent: Mapping[str, Any]) -> bool:
    return bool(parent.get("header", {}).get("msg_type") == "execute_request")


def _is_headless(parent: Mapping[str, Any]) -> bool:
    override = os.environ.get("WIRO_HEADLESS", "").strip()
    if override in ("0", "1"):
        return override == "1"
    return bool(_is_execute(parent) and parent.get("content", {}).get("allow_stdin") is False)


def _notebook(shell: Any, kind: Kind) -> str | None:
    if named := os.environ.get("WIRO_NOTEBOOK"):
        return str(Path(named).absolute())
    vscode = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__")
    if isinstance(vscode, str) and vscode:
        return vscode
    # A headless kernel may have inherited the variable from the notebook that started the runner.
    session = os.environ.get("JPY_SESSION_NAME", "")
    if kind == "kernel-live" and session.endswith(".ipynb"):
        return str(Path(session).absolute())
    return _folder_identity()


def _folder_identity() -> str:
    return str(Path.cwd() / ANY_NOTEBOOK)


def _sha256(text: object) -> str | None:
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) and text else None
