"""Virtual environments made for a test, and the wheel they get."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and how to run a command in it."""

    folder: Path
    borrows: bool = False

    @property
    def bin(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> str:
        return str(self.bin / "python")

    def variables(self, data: Path, **more: str) -> dict[str, str]:
        """The environment of a process in it: nothing of this project's settings, no account."""
        (data / "ipython").mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WIRO_", "PYTHON"))}
        path = os.pathsep.join([str(self.bin), kept.get("PATH", "")])
        jupyter = {"JUPYTER_RUNTIME_DIR": str(data / "runtime"), "IPYTHONDIR": str(data / "ipython")}
        if self.borrows:  # what Jupyter's packages keep outside of site-packages
            jupyter["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
        own = {"PATH": path, "VIRTUAL_ENV": str(self.folder), "WIRO_DATA_DIR": str(data), **jupyter}
        return {**kept, **own, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **more}

    def run(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in it and returns how it ended."""
        return subprocess.run(
            words, cwd=cwd, env=dict(env), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def install(self, *words: str, cwd: Path = ROOT, timeout_s: float = 600) -> None:
        """`pip install` with these words; a failure is the test's failure."""
        command = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def make_environment(folder: Path, *, borrow: bool) -> Environment:
    """Makes an environment with pip.

    Args:
        folder: Where.
        borrow: True lets it see the packages of the environment the tests run in, which spares their download;
            the package itself is never borrowed.
    """
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    made = Environment(folder, borrow)
    if borrow:
        site = next(folder.glob("lib/python*/site-packages"))
        # A path file and not system-site-packages: this interpreter may be an environment itself.
        borrowed = [path for path in sys.path if path.endswith("-packages")]
        (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return made


def copy_tree(target: Path) -> Path:
    """Copies what a release would hold into a new folder, without anything that lies about here."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
            copy.chmod(source.stat().st_mode)
    return target
