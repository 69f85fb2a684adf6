"""`wiro-nb login`, `logout`: a key is checked, stored, used and removed, and never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_command
from tests.manager_tools import WAN
from tests.unit.cli.commands import Command


def test_a_named_service_is_logged_in_to_used_and_forgotten(
    command: Command, sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WIRO_SERVICE", "WIRO_API_KEY", "WIRO_API_SECRET", "WIRO_BASE_URL", "WIRO_SOCKET_URL"):
        monkeypatch.delenv(name, raising=False)

    def log_in(key: str) -> tuple[int, str, str]:
        typed = tmp_path / "typed"
        typed.write_text(f"{key}\n{sandbox.api_secret}\n")
        with typed.open() as stdin:
            words = ["login", "--name", "class", "--base-url", sandbox.base_url]
            done = run_command(words, stdin=stdin.fileno())
        return done.returncode, done.stdout, done.stderr

    assert log_in("a-key-of-nobody-at-all")[0] == 3
    assert log_in("")[0] == 2
    code, out, err = log_in(sandbox.api_key)
    assert code == 0, err
    assert "--service class" in err
    assert sandbox.api_key not in out + err
    assert command("run", WAN, "prompt=a cat", "--service", "class")[0] == 0
    assert "is removed" in command("logout", "--name", "class")[2]
    assert command("run", WAN, "prompt=a dog", "--service", "class")[0] != 0
