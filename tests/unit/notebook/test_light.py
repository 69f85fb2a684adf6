"""Loading costs nothing heavy: no HTTP client, no socket, no video library, no numbers library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"httpx2", "websockets", "av", "numpy", "PIL", "uvicorn", "starlette", "keyring"}
IMPORT = "import wiro_nb; wiro_nb.__all__; dir(wiro_nb)"
LOAD = (
    "from IPython.core.interactiveshell import InteractiveShell\n"
    "shell = InteractiveShell.instance()\n"
    "shell.run_line_magic('load_ext', 'wiro_nb')\n"
)


@pytest.mark.parametrize(("code", "allowed"), [(IMPORT, set()), (LOAD, set())])
def test_nothing_heavy_is_imported(code: str, allowed: set[str], tmp_path: Path) -> None:
    tail = "\nimport sys; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    environment = {"PATH": "", "HOME": str(tmp_path), "WIRO_DATA_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    loaded = set(done.stdout.split())
    assert loaded & HEAVY == allowed
    if code == IMPORT:
        assert "IPython" not in loaded


def test_loading_starts_no_thread_and_imports_few_modules(tmp_path: Path) -> None:
    code = LOAD.replace("shell.run", "before = set(sys.modules), threading.active_count()\nshell.run")
    tail = "print(len(set(sys.modules) - before[0]), threading.active_count() - before[1])"
    environment = {"PATH": "", "HOME": str(tmp_path), "WIRO_DATA_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, threading, ipywidgets\n{code}\n{tail}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    modules, threads = map(int, done.stdout.split())
    assert (modules <= 60, threads) == (True, 0), f"{modules} modules over IPython and ipywidgets"


def test_the_public_names_exist() -> None:
    code = "import wiro_nb\nassert all(getattr(wiro_nb, name) for name in wiro_nb.__all__)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
