"""`wiro-nb lab`: JupyterLab on a copy of the tutorials."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from wiro_nb.cli.tutorials import QUICKSTART, copy_tutorials
from wiro_nb.errors import MissingExtra

DEFAULT_FOLDER = "wiro_tutorials"


def lab(arguments: argparse.Namespace) -> int:
    """Opens the tutorials; ends when JupyterLab ends."""
    require_lab("jupyterlab")
    folder = Path(arguments.folder or DEFAULT_FOLDER)
    copy_tutorials(folder)
    print(f"tutorials are in {folder}; stop JupyterLab with Ctrl-C", file=sys.stderr)
    command = [sys.executable, "-m", "jupyterlab", QUICKSTART, f"--port={arguments.port or 8888}"]
    if arguments.no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return subprocess.run(command, cwd=folder, check=False).returncode


def require_lab(*packages: str) -> None:
    """Raises when a package of the lab extra is not installed.

    Raises:
        MissingExtra: With the command that installs it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(
                f"this needs the package {package}",
                hint='python -m pip install "wiro_nb[lab]"',
                extra="lab",
                package=package,
            )
