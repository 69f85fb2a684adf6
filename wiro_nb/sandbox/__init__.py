"""The sandbox: a local service with the API of Wiro, so that a first try, a tutorial and a test need no account.

It is a process of its own (`python -m wiro_nb sandbox`) that serves HTTP and WebSocket on 127.0.0.1, keeps its
data in SQLite and renders labelled clips. It and `wiro_nb.api` never import each other, so that the same mistake
in both cannot hide. Only the command line imports this package.

    serve > app > events, runner > engines | store, models, faults
"""

from __future__ import annotations

from collections.abc import Sequence

from wiro_nb.errors import MissingExtra

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the sandbox; see `wiro_nb.sandbox.serve.main`.

    Raises:
        MissingExtra: A package of the `sandbox` extra is not installed.
    """
    packages = ("av", "numpy", "PIL", "python_multipart", "starlette", "uvicorn")
    MissingExtra.require("the sandbox", "sandbox", *packages)
    from wiro_nb.sandbox import serve

    return serve.main(argv)
