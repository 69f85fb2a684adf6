"""What the command prints cannot control a terminal, and printing never changes what a paid run earned."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.cli.commands import Command
from wiro_nb.cli.output import print_json, print_table, say
from wiro_nb.terminal import safe_streams

EVIL = "a\x1b[2Jb\x9b31mc\x07d\u202ee\u2066f\re\x00g\x7fh"
PLAIN = "a[2Jb31mcdefegh"


def test_no_text_of_others_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with safe_streams():
        print(f"{EVIL}\tü\r\nnext")
        print_table([[EVIL, EVIL]], heads=("one", "two"))
        say(EVIL)
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{PLAIN}\tü\r\nnext\n")
    assert captured.err == f"{PLAIN}\n"
    assert not set(captured.out) & set("\x1b\x9b\x07\u202e\u2066\x00\x7f")


def test_json_keeps_its_value_and_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with safe_streams():
        print_json({"text": EVIL, "cost": Decimal("0.25")})
    line = capsys.readouterr().out
    assert json.loads(line) == {"text": EVIL, "cost": "0.25"}
    assert not set(line) & set("\x1b\x9b\x07\u202e\u2066\x00\x7f")


def test_an_encoding_that_lacks_a_character_replaces_it() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    with contextlib.redirect_stdout(stream), safe_streams():
        print("ein Löwe \ud800 🦁")
        sys.stdout.flush()
    assert written.getvalue() == b"ein L?we ? ?\n"


def test_a_stderr_that_breaks_is_no_failure() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with contextlib.redirect_stderr(Broken()), safe_streams():
        say("for nobody")


RUN = ["run", "Wan-AI/Wan2.2-TI2V-5B-text-to-video", "prompt=ein Löwe 🦁", "--json"]


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_closed_or_full_stderr_leaves_exit_code_and_record(
    command: Command, own_folders: Path, redirection: str
) -> None:
    words = f'"$0" -m wiro_nb "$@" {redirection}'
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["sh", "-c", words, sys.executable, *RUN], stdout=subprocess.PIPE, env=environ, check=False, timeout=60
    )
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["status"] == "succeeded"
    unknown = subprocess.run(
        ["sh", "-c", words, sys.executable, "show", "zzzzz"], stdout=subprocess.PIPE, check=False, timeout=60
    )
    assert (unknown.returncode, unknown.stdout) == (2, b"")
