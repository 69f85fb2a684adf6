"""No key, secret or task token in anything that is written or shown: files, messages, logs, tracebacks."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebook.kernels import REPLY_TIMEOUT_S, convert_executed, live_client
from wiro_nb.config import ledger_path
from wiro_nb.provenance.embed import read_embedded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
TROUBLE, NO_TROUBLE = "trouble", "no trouble"
LOGIN = "%wiro login"
TYPED = ("typedKey0123456789", "typedSecret0123456789")
# What a person may do in a notebook, with every log on and every traceback as long as IPython can make it.
CELLS = [
    "import logging\nlogging.basicConfig(filename='everything.log', level=logging.DEBUG)",
    "%load_ext wiro_nb",
    "%wiro",
    "%wiro models sand",
    f"%wiro info {MODEL}",
    f"%wiro form {MODEL}",
    f"%%wiro {MODEL} seed=7 --as clip --wait\na lighthouse",
    "clip",
    "print(repr(clip), vars(clip), clip.record)",
    "from wiro_nb.session import get_manager\nmanager = get_manager()\nvars(manager), manager.choice",
    "print(vars(manager.choice.service) if hasattr(manager.choice.service, '__dict__') else "
    "manager.choice.service)",
    f"%%wiro {MODEL} --as held\n[hold] never shown",
    "held.cancel(); held.wait(check=False)",
    f"%%wiro {MODEL} --wait\n[fail] a failure",
    "%config WiroMagics",
    "%config WiroMagics.debug = True",
    "%xmode Verbose",
    f"%%wiro {MODEL} --wait --fresh\n[fail] a failure with the longest traceback",
    f"import wiro_nb\nawait wiro_nb.run({MODEL!r}, prompt='[fail] awaited', fresh=True)",
    "manager.attach('99999999')",
    TROUBLE,
    "clip.download()",
    "manager.attach(clip.task_id)",
    "held.cancel(); held.wait(0.2)",
    "%wiro wait",
    NO_TROUBLE,
    "%wiro runs",
    "%wiro verify",
    "print('\\n'.join(manager.ledger.export_lines()))",
    "import pickle\nprint(pickle.dumps(wiro_nb.runs()[0].error))",
    "%wiro login typed-on-the-line",
    "%wiro use nowhere",
    LOGIN,
    "%wiro help",
    "%unload_ext wiro_nb",
]


@dataclass
class Front:
    """A kernel and everything it ever said to its front end."""

    client: Any
    messages: list[str] = field(default_factory=list)

    def run(self, code: str, answers: tuple[str, ...] = ()) -> str:
        """Runs a cell, types what it asks for without showing it, and returns its status."""
        message_id = self.client.execute(code, allow_stdin=True, stop_on_error=False)
        for typed in answers:
            question = self.client.get_stdin_msg(timeout=REPLY_TIMEOUT_S)
            assert question["content"]["password"], "what is typed must not be shown"
            self.client.input(typed)
        while True:
            message = self.client.get_iopub_msg(timeout=REPLY_TIMEOUT_S)
            self.messages.append(repr(message))
            mine = message["parent_header"].get("msg_id") == message_id
            if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=REPLY_TIMEOUT_S)
            self.messages.append(repr(reply))
            if reply["parent_header"].get("msg_id") == message_id:
                return str(reply["content"]["status"])

    def listen_on(self) -> None:
        """Takes what comes outside of cells."""
        while True:
            try:
                self.messages.append(repr(self.client.get_iopub_msg(timeout=0.3)))
            except queue.Empty:
                return


@pytest.fixture
def place(sandbox: Any, point_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where everything goes that the package writes."""
    point_at(sandbox)
    for name, folder in (("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime"), ("HOME", "home")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("WIRO_NOTEBOOK", str(tmp_path / "work" / "secret.ipynb"))
    return tmp_path


@pytest.fixture
def front(place: Path) -> Iterator[Front]:
    with (
        (place / "kernel.stderr").open("wb") as stderr,
        (place / "kernel.stdout").open("wb") as stdout,
        live_client(place / "work", stderr=stderr, stdout=stdout) as (_, client),
    ):
        yield Front(client)


def secrets_of(sandbox: Any, *, tasks: int) -> dict[str, str]:
    """Key, secret, and the token of every task there ever was, from the service's own books; at least so many."""
    connection = sqlite3.connect(sandbox.data / "sandbox.sqlite")
    tokens = {
        f"token of task {number}": token for number, token in connection.execute("SELECT id, token FROM tasks")
    }
    connection.close()
    assert len(tokens) >= tasks
    typed = dict(zip(("typed key", "typed secret"), TYPED, strict=True))
    return {"API key": sandbox.api_key, "API secret": sandbox.api_secret, **typed, **tokens}


def find_leaks(secrets: dict[str, str], texts: dict[str, str | bytes]) -> list[str]:
    return [
        f"{name} in {where}"
        for where, text in texts.items()
        for name, secret in secrets.items()
        if (secret.encode() if isinstance(text, bytes) else secret) in text
    ]


def written(place: Path) -> dict[str, str | bytes]:
    """Every file below the place but the ledger, which is where tokens may be."""
    ledger = ledger_path()
    files: dict[str, str | bytes] = {}
    for path in place.rglob("*"):
        if path.is_file() and not path.name.startswith(ledger.name):
            # A living kernel's database has a journal for a moment: what is gone again is not left.
            with contextlib.suppress(FileNotFoundError):
                files[str(path.relative_to(place))] = path.read_bytes()
    return files


def test_a_whole_notebook_leaves_no_secret_in_any_message_or_file(front: Front, place: Path, sandbox: Any) -> None:
    states = {}
    for code in CELLS:
        if code in (TROUBLE, NO_TROUBLE):
            sandbox.set_faults("Task/Detail:code=1; file:403" if code is TROUBLE else "")
        else:
            states[code] = front.run(code, answers=TYPED if code is LOGIN else ())
    front.listen_on()
    for code in CELLS[:10]:
        assert states[code] == "ok", code
    for code in CELLS:
        if any(word in code for word in ("longest", "awaited", "fetch(", "attach(", "login", "nowhere")):
            assert states[code] == "error", code
    exported = subprocess.run(
        [sys.executable, "-m", "wiro_nb", "runs", "--export"],
        capture_output=True,
        env=dict(os.environ),
        timeout=60,
    )
    assert exported.returncode == 0, exported.stderr
    assert len(exported.stdout.splitlines()) >= 4
    secrets = secrets_of(sandbox, tasks=3)
    files = written(place)
    assert {"everything.log", "0.mp4", "run.json"} <= {Path(name).name for name in files}
    messages = {f"message {number}": text for number, text in enumerate(front.messages)}
    assert any("comm_open" in text for text in front.messages), "widget state is among the messages"
    assert any("a lighthouse" in text for text in front.messages)
    assert any("'traceback'" in text and "finalize.py" in text for text in front.messages), "tracebacks are whole"
    streams: dict[str, str | bytes] = {"export": exported.stdout, "export's stderr": exported.stderr}
    assert find_leaks(secrets, {**messages, **files, **streams}) == []


def test_the_search_would_find_a_token(place: Path, sandbox: Any, make_manager: Any) -> None:
    """The ledger holds tokens, for its owner alone; so the search above looks for what is really there."""
    from tests.manager_tools import submit

    run = submit(make_manager()).wait(20)
    token = run.snapshot.task_token
    assert token in secrets_of(sandbox, tasks=1).values()
    ledger = ledger_path()
    kept = b"".join(path.read_bytes() for path in ledger.parent.glob(f"{ledger.name}*"))
    assert str(token).encode() in kept
    for path in ledger.parent.glob(f"{ledger.name}*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert find_leaks(secrets_of(sandbox, tasks=1), {"a": f"x{token}y"}) != []


def test_a_notebook_run_by_a_program_keeps_no_secret(
    place: Path, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nbclient, nbconvert and papermill leave it: with widget state, outputs and the clip's own record."""
    book = nbformat.v4.new_notebook()
    for code in ("%load_ext wiro_nb", f"%%wiro {MODEL} --as clip\na headless sea", "%wiro runs", "clip.show()"):
        book.cells.append(nbformat.v4.new_code_cell(code))
    path = place / "work" / "secret.ipynb"
    nbformat.write(book, path)
    monkeypatch.setenv("WIRO_HEADLESS", "1")
    done = convert_executed(path, "--to", "notebook", "--inplace")
    assert done.returncode == 0, done.stderr.decode()
    files = written(place)
    saved = json.loads(path.read_text())
    assert "a headless sea" in json.dumps(saved["cells"][1]["outputs"])
    (clip,) = place.rglob("*.mp4")
    assert read_embedded(clip) is not None
    assert find_leaks(secrets_of(sandbox, tasks=1), {**files, "stdout": done.stdout, "stderr": done.stderr}) == []
