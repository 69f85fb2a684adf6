"""What the command says in a shell: its own commands, and an exit code a script can act on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.forked import run_command
from tests.snapshots import make_snapshot
from tests.terminals import terminal_stream
from wiro_nb import errors
from wiro_nb.cli import main
from wiro_nb.cli.output import ProgressLine, as_shell, error_code, exit_code
from wiro_nb.formatting import format_bar
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.terminal import fit_terminal, wrap_terminal

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("next: %wiro wait 8k2qf", "next: wiro-nb wait 8k2qf"),
        ("next: %wiro download 8k2qf", "next: wiro-nb wait 8k2qf"),
        ("next: %wiro info pruna/vace", "next: wiro-nb schema pruna/vace"),
        ("next: %wiro", "next: wiro-nb runs"),
        ("next: %wiro, then %wiro show 8k2qf", "next: wiro-nb runs, then wiro-nb show 8k2qf"),
        ("next: %wiro form a/b --from 8k2qf", "next: in a notebook: %wiro form a/b --from 8k2qf"),
        ("next: %wiro login, or %wiro use sandbox (free)", "next: wiro-nb login, or --service sandbox (free)"),
        ('next: prompt="...", or the text below the %%wiro line', 'next: prompt="..."'),
        ("next: a cell with %%wiro a/b", "next: a cell with %%wiro a/b"),
        ("next: %config WiroMagics.out_dir = 'FOLDER', a folder", "next: --out DIR, a folder"),
        ("a prompt about $5 and 100%", "a prompt about $5 and 100%"),
    ],
)
def test_commands_are_those_of_the_shell(text: str, wanted: str) -> None:
    assert as_shell(text) == wanted


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidParameter, 2),
        (errors.BudgetExceeded, 2),
        (errors.MissingExtra, 2),
        (errors.RunFailed, 1),
        (errors.SubmitUncertain, 1),
        (errors.ConnectFailed, 3),
        (errors.AuthRejected, 3),
        (errors.LedgerError, 3),
    ],
)
def test_exit_codes_follow_the_kind_of_error(kind: type[errors.WiroError], code: int) -> None:
    assert error_code(kind("it went wrong")) == code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "wiro-nb demo"),
        (["spent", "--by", "day"], "next: in a notebook: %wiro spent"),
        (["help"], "next: wiro-nb --help"),
        (["nosuch"], "There is no command nosuch.\n  next: wiro-nb --help"),
        (["modles"], "next: wiro-nb models, or wiro-nb --help"),
    ],
)
def test_a_line_without_a_command_of_the_shell_says_what_to_type(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(words)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert told in err


def test_a_log_says_once_that_contact_is_lost_and_once_that_it_is_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ProgressLine()
    shot = make_snapshot(RunState.SUBMITTED, Stage.GENERATING, run_id="01JDY1ABC", service="sandbox")
    for lost_since in (None, NOW, NOW, None, None):
        line(replace(shot, lost_since=lost_since))
    line(replace(shot, state=RunState.UNCERTAIN, message="No answer to Run; looking for the task"))
    line(replace(shot, lost_since=NOW, state=RunState.SUCCEEDED))
    line.close()
    lost, back, asked = capsys.readouterr().err.splitlines()
    assert "Lost contact with sandbox" in lost
    assert "Connected again" in back
    assert asked == "Run y1abc: No answer to Run; looking for the task"


def test_a_progress_bar_fills_in_plain_characters_where_others_cannot_be_written() -> None:
    shot = make_snapshot(RunState.SUBMITTED, Stage.GENERATING, run_id="01JDY1ABC", percent=50.0)
    plain = format_bar(shot, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert plain == "y1abc [#######-------] Generating 50%"
    assert "███████░░░░░░░" in format_bar(shot, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    long = replace(shot, step=500, steps=1000, elapsed_s=36_000.0, remaining_s=36_000.0)
    assert len(format_bar(long, io.StringIO())) <= 79


def test_the_completion_script_offers_commands_and_options_in_bash() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "wiro_nb", "completion"], capture_output=True, text=True, check=True
    ).stdout
    probe = 'COMP_WORDS=(wiro-nb {}); COMP_CWORD={}; _wiro_nb; echo "${{COMPREPLY[@]}}"'
    for words, place, wanted in (("ru", 1, "run runs"), ("run --max", 2, "--max-cost")):
        answer = subprocess.run(
            ["bash", "-c", f"{script}\n{probe.format(words, place)}"], capture_output=True, text=True, check=True
        )
        assert answer.stdout.split() == wanted.split()


def test_lab_starts_jupyterlab_on_a_copy_of_the_tutorials_with_the_options_given(tmp_path: Path) -> None:
    lab = tmp_path / "modules" / "jupyterlab"
    lab.mkdir(parents=True)
    (lab / "__init__.py").touch()
    (lab / "__main__.py").write_text(
        "import os, sys; print(os.path.basename(os.getcwd()), *sys.argv[1:], flush=True)"
    )
    env = {**os.environ, "PYTHONPATH": str(lab.parent)}
    done = run_command(["lab", "mine", "--port", "9999", "--no-browser"], cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout.split()[:4]) == (
        0, ["mine", "01-quickstart.ipynb", "--port=9999", "--no-browser"],
    ), done.stderr  # fmt: skip
    assert (tmp_path / "mine" / "01-quickstart.ipynb").is_file()


def test_a_program_in_the_foreground_ends_with_this_one(tmp_path: Path) -> None:
    child = "import os, sys, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import pathlib, sys; from wiro_nb.cli.tutorials import run_child; "
        f"sys.exit(run_child([sys.executable, '-c', {child!r}], pathlib.Path('.')))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.terminate()
    assert parent.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_progress_line_fits_the_terminal() -> None:
    assert len(fit_terminal("x" * 200, io.StringIO())) == 79
    assert fit_terminal("short", io.StringIO()) == "short"


def test_a_terminal_breaks_lines_between_words_and_a_file_gets_them_as_they_are() -> None:
    text = "  next    break between words\na-name-that-is-longer-than-the-line\n  a setting that goes on"
    assert wrap_terminal(text, io.StringIO()) == text
    with Path(os.devnull).open("w") as stream:
        assert wrap_terminal(text, stream) == text
    with terminal_stream(22) as stream:
        shown = wrap_terminal(text, stream)
    assert shown.split("\n") == [
        "  next    break", "          between", "          words", "a-name-that-is-longer-than-the-line",
        "  a setting that goes", "    on",
    ]  # fmt: skip


@pytest.mark.parametrize("state", list(RunState))
def test_a_run_that_gave_no_result_or_an_unknown_one_is_no_success_for_a_shell(state: RunState) -> None:
    is_failure = state in (RunState.FAILED, RunState.CANCELLED, RunState.UNCERTAIN, RunState.SUBMITTING)
    assert (exit_code(state) != 0) is is_failure
