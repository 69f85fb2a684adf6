"""`wiro-nb lab`: JupyterLab on a copy of the tutorial notebooks."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from wiro_nb.errors import ConfigError, MissingExtra

QUICKSTART = "01-quickstart.ipynb"
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


def find_tutorials() -> Path:
    """Returns the folder of the tutorial notebooks: in the installed package, or beside it in a source checkout.

    Raises:
        ConfigError: The installation has none.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "tutorials", package.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise ConfigError(
        "the tutorials are not part of this installation", hint="python -m pip install --force-reinstall wiro_nb"
    )


def copy_tutorials(target: Path) -> list[Path]:
    """Copies the notebooks that are not there yet, so that a person's own changes stay.

    Returns:
        The notebooks in the target folder, sorted.

    Raises:
        ConfigError: The folder cannot be written.
    """
    source = find_tutorials()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for item in sorted(source.iterdir()):
            if item.suffix == ".ipynb" and not (target / item.name).exists():
                shutil.copyfile(item, target / item.name)
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror}", hint="wiro-nb lab OTHER_FOLDER"
        ) from None
    return sorted(target.glob("*.ipynb"))
