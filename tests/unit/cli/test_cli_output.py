"""What the command says in a shell: its own commands, and an exit code a script can act on."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from wiro_nb import errors
from wiro_nb.cli import main
from wiro_nb.cli.output import ProgressLine, as_shell, error_code
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.presentation.formatting import fit_terminal

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("next: %wiro wait 8k2qf", "next: wiro-nb wait 8k2qf"),
        ("next: %wiro download 8k2qf", "next: wiro-nb wait 8k2qf"),
        ("next: %wiro info pruna/vace", "next: wiro-nb schema pruna/vace"),
        ("next: %wiro", "next: wiro-nb runs"),
        ("next: %wiro, then %wiro show 8k2qf", "next: wiro-nb runs, then wiro-nb show 8k2qf"),
        ("next: %wiro form a/b --source 8k2qf", "next: in a notebook: %wiro form a/b --source 8k2qf"),
        ("next: %wiro login, or %wiro use sandbox (free)", "next: set WIRO_API_KEY, or --service sandbox (free)"),
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
        (["login"], "next: set WIRO_API_KEY"),
        (["spent", "--by", "day"], "next: in a notebook: %wiro spent"),
        (["help"], "next: wiro-nb --help"),
        (["nosuch"], "invalid choice: 'nosuch'"),
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
    shot = Snapshot("01JD", "y1abc", "a/b", "sandbox", True, RunState.SUBMITTED, Stage.GENERATING)
    for lost_since in (None, NOW, NOW, None, None):
        line(replace(shot, lost_since=lost_since))
    line(replace(shot, lost_since=NOW, state=RunState.SUCCEEDED))
    lost, back = capsys.readouterr().err.splitlines()
    assert "Lost contact with sandbox" in lost
    assert "Connected again" in back


def test_a_progress_line_fits_the_terminal() -> None:
    assert len(fit_terminal("x" * 200, io.StringIO())) == 79
    assert fit_terminal("short", io.StringIO()) == "short"
