"""Odd values, folders and variables are refused with a sentence, or simply work; none is a bare traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.forked import run_command
from tests.manager_tools import WAN, submit_request
from wiro_nb.errors import ConfigError, InputError, InvalidFile, WiroError
from wiro_nb.ledger.state import RunState
from wiro_nb.provenance.record import read_sidecar
from wiro_nb.session.manager import Manager


@pytest.mark.parametrize("seed", [np.int64(5), np.float64(5), np.array(5), np.str_("5"), np.uint8(5)])
def test_numpy_scalars_are_values(manager: Manager, seed: Any) -> None:
    prepared = manager.prepare(WAN, {"prompt": "x", "seed": seed})
    assert str(prepared.parameters["seed"]) == "5"
    assert submit_request(manager, prepared).wait(30).state is RunState.SUCCEEDED


@pytest.mark.parametrize("shape", [(0, 0, 3), (0,), (5, 0), (1, 2, 3, 4, 5), (3,)])
def test_an_array_that_is_no_picture_is_refused(manager: Manager, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidFile) as caught:
        manager.prepare("pruna/vace", {"prompt": "x", "inputImage": np.zeros(shape, np.int32)})
    assert caught.value.message.count("inputImage: ") == 1


@pytest.mark.parametrize("out_dir", ["a:b", "C:", "\\back", "two\nlines"])
@pytest.mark.skipif(sys.platform == "win32", reason="folders of Windows have no such names")
def test_a_folder_that_other_systems_read_otherwise_costs_no_record(manager: Manager, out_dir: str) -> None:
    run = submit_request(manager, manager.prepare(WAN, {"prompt": "x", "seed": 5}), out_dir=out_dir).wait(30)
    assert run.record is not None
    assert run.record["outputs"][0]["path"] is None
    assert run.path is not None
    assert read_sidecar(run.path.with_name("run.json")) == run.record


def test_a_search_for_what_is_no_text_finds_nothing(manager: Manager) -> None:
    assert manager.runs(text="caf\udce9") == []


def test_the_home_of_nobody_is_no_folder(manager: Manager) -> None:
    with pytest.raises(WiroError):
        manager.prepare("pruna/vace", {"prompt": "x", "inputImage": "~nosuch/x.png"})
    with pytest.raises(ConfigError, match="cannot be written"):
        submit_request(manager, manager.prepare(WAN, {"prompt": "x"}), out_dir="~nosuch/x")


@pytest.mark.parametrize("task_id", [float("nan"), float("inf"), None, "", " ", "\ud800", "9" * 5000, [], 1.5])
def test_what_is_no_task_is_not_attached(manager: Manager, task_id: Any) -> None:
    with pytest.raises(InputError, match="named by its id"):
        manager.attach(task_id)


@pytest.mark.parametrize(
    ("service", "variable", "value"),
    [("sandbox", "WIRO_SANDBOX_SPEED", "x"), ("local", "WIRO_LOCAL_OPTIONS", "--engine 'diffusers")],
)
def test_a_variable_that_cannot_be_read_is_said_and_nothing_waits(
    make_manager: Any, monkeypatch: pytest.MonkeyPatch, service: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    made = make_manager(service=service)
    prepared = made.prepare(WAN, {"prompt": "x"})
    with pytest.raises(ConfigError, match=variable):
        submit_request(made, prepared)


COMMANDS = {
    "limit of 5,000 digits": ["runs", "--limit", "9" * 5000],
    "limit of 20 digits": ["runs", "--limit", "9" * 20],
    "sandbox on a device": ["sandbox", "--data", "/dev/null"],
    "sandbox in no folder": ["sandbox", "--data", "/proc/nope"],
    "sandbox on a damaged file": ["sandbox", "--data", "damaged"],
    "sandbox on a folder": ["sandbox", "--data", "folder"],
    "a file as the output folder": ["run", WAN, "prompt=x", "--out", "damaged/sandbox.sqlite"],
    "output folder of a long name": ["run", WAN, "prompt=x", "--out", "n" * 300],
    "output folder of nobody": ["run", WAN, "prompt=x", "--out", "~nosuch/x"],
    "output folder that is no text": ["run", WAN, "prompt=x", "--out", "caf\udce9"],
}


def call(words: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    return run_command(words, env={**os.environ, "WIRO_SERVICE": "sandbox", **changes})


def check_sentence(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 8000


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_that_cannot_be_is_a_sentence(own_folders: Path, name: str) -> None:
    (own_folders / "damaged").mkdir()
    (own_folders / "damaged" / "sandbox.sqlite").write_bytes(b"no database" * 500)
    (own_folders / "folder" / "sandbox.sqlite").mkdir(parents=True)
    check_sentence(call(COMMANDS[name]))


def test_a_data_folder_of_nobody_is_a_sentence(own_folders: Path) -> None:
    check_sentence(call(["runs"], WIRO_DATA_DIR="~nosuch/x"))


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems keep folders that are in use, and names are text"
)
@pytest.mark.parametrize("name", [b"gone", b"caf\xe9"])
def test_a_folder_that_was_deleted_or_has_no_readable_name_is_a_sentence(own_folders: Path, name: bytes) -> None:
    folder = own_folders / os.fsdecode(name)
    words = [
        "sh",
        "-c",
        'cd "$0" && if [ "${0##*/}" = gone ]; then rmdir "$0"; fi; exec "$@"',
        folder,
        sys.executable,
        "-m",
        "wiro_nb",
    ]
    for command, code in (["runs"], 0), (["run", WAN, "prompt=x"], 2):
        folder.mkdir(exist_ok=True)
        environ = {**os.environ, "WIRO_SERVICE": "sandbox", "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([*words, *command], env=environ, capture_output=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr


HOSTILE_BODIES = {
    "deep": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "surrogates": rb'{"prompt": "\ud800", "\udfff": "x"}',
    "4,000 digits": b'{"prompt": "x", "seed": ' + b"9" * 4000 + b"}",
    "5,000 digits": b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    "NaN": b'{"prompt": "x", "seed": NaN, "usd": NaN}',
    "NaN as text": b'{"usd": "NaN", "taskid": "NaN"}',
    "Infinity": b'{"usd": "Infinity", "seed": Infinity}',
}


@pytest.mark.parametrize("body", HOSTILE_BODIES)
def test_the_sandbox_answers_every_body(sandbox: Any, body: str) -> None:
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    paths = [
        f"{sandbox.base_url}/Run/{WAN}",
        f"{sandbox.base_url}/Task/Detail",
        f"{sandbox.origin}/sandbox/balance",
    ]
    for url in paths:
        if "balance" in url and b"usd" not in HOSTILE_BODIES[body]:
            continue
        headers = {**sandbox.headers(), "Content-Type": "application/json"}
        request = urllib.request.Request(url, HOSTILE_BODIES[body], headers)
        try:
            with opener.open(request, timeout=30) as response:
                status = response.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        assert status < 500, url
