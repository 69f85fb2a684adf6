"""`wiro-nb run`, `runs`, `models`: what a person reads in a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import VACE, WAN
from tests.unit.cli.commands import Command
from wiro_nb.cli import build_parser
from wiro_nb.config import ledger_path
from wiro_nb.formatting import STATE_FILTERS


def test_a_missing_prompt_is_told_for_the_shell(command: Command) -> None:
    code, _, err = command("run", WAN)
    assert code == 2
    assert 'next: prompt="..."' in err
    assert "%wiro" not in err


def test_a_folder_that_is_a_file_is_refused_with_the_shells_option(command: Command, own_folders: Path) -> None:
    (own_folders / "taken").write_text("x")
    code, _, err = command("run", WAN, "prompt=a cat", "--out", own_folders / "taken")
    assert code == 2
    assert "taken is a file" in err
    assert "--out DIR" in err


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_the_preview_of_a_request_shows_no_query_of_a_presigned_address(command: Command, form: list[str]) -> None:
    signed = "https://files.example/a.png?X-Amz-Signature=0123456789abcdef"
    code, out, err = command("run", VACE, "prompt=a cat", "--file", f"inputImage={signed}", "--dry-run", *form)
    assert code == 0
    assert "https://files.example/a.png" in out
    assert "0123456789abcdef" not in out + err


def test_filters_that_fit_nothing_are_told_from_an_empty_ledger(command: Command) -> None:
    assert "No runs in the ledger yet" in command("runs")[1]
    assert command("run", WAN, "prompt=a cat")[0] == 0
    told = command("runs", "--state", "failed")[1]
    assert told == "No run in the ledger fits state failed\n  next: wiro-nb runs for all of them\n"
    assert WAN in command("runs", "--state", "done")[1]
    for state in STATE_FILTERS:
        assert build_parser().parse_args(["runs", "--state", state]).state == state
    for words in (("--limit", "0"), ("--limit", "9" * 5000), ("--state", "nosuch")):
        with pytest.raises(SystemExit) as refused:
            command("runs", *words)
        assert refused.value.code == 2


def test_a_damaged_ledger_is_told_with_the_shells_command(command: Command) -> None:
    ledger_path().write_bytes(b"no database " * 500)
    code, _, err = command("runs")
    assert code == 0
    assert "The ledger was damaged." in err
    assert "wiro-nb attach TASK brings them back" in " ".join(err.split())


def test_no_model_found_names_the_way_back(command: Command) -> None:
    assert "No models match “zzz”" in command("models", "zzz")[1]


def test_a_run_whose_file_was_not_saved_says_so_by_its_exit_code_and_wait_gets_it(
    command: Command, sandbox: Any
) -> None:
    words = ("run", "sandbox/plain-clip", "frames=9", "prompt=a boat lost in the mail")
    sandbox.set_faults("file:wrong-type")
    try:
        code, out, err = command(*words)
        short = out.partition("run ")[2][:5]
        assert code == 3
        assert "content is text/html" in out
        assert f"wiro-nb wait {short}" in err
        assert command("wait", short)[0] == 3
        assert command(*words)[0] == 3
    finally:
        sandbox.set_faults("")
    code, out, err = command("wait", short)
    assert code == 0, err
    assert "0.mp4" in out
    assert "Downloading them again at no cost" in err
    assert "fetched again" not in command(*words)[2]


def test_a_setting_given_twice_is_refused_as_in_a_notebook(command: Command) -> None:
    code, _, err = command("run", WAN, "prompt=a cat", "prompt=a dog")
    assert code == 2
    assert "prompt is given twice" in err


def test_a_lost_answer_is_settled_in_the_shell_by_attach_and_forget(command: Command, sandbox: Any) -> None:
    body = {"prompt": "a task from elsewhere", "numFrames": 5, "steps": 2}
    task = sandbox.call(f"/Run/{WAN}", body)["taskid"]
    code, out, err = command("attach", task)
    assert code == 0, err
    assert "0.mp4" in out
    short = out.partition("run ")[2][:5]
    assert short in command("runs")[1]
    assert command("forget", short)[0] == 0
    assert short not in command("runs")[1]
    code, _, err = command("attach", "../x")
    assert code == 2
    assert "digits as the service shows them" in err
    assert "knows no task" in command("attach", "999")[2]
