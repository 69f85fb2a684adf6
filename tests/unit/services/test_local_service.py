"""The service `local`: a process, a data folder and a name of its own, and never the sandbox's runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import WAN, find_made, submit, submit_request
from wiro_nb.errors import ConfigError, NotAccessible
from wiro_nb.execution.settings import Settings
from wiro_nb.formatting import describe_cost
from wiro_nb.ledger.state import RunState
from wiro_nb.presentation.run import run_text

QUICKLY = ("--engine", "instant", "--speed", "20")


def test_local_has_a_process_and_records_of_its_own_and_the_sandbox_answers_none_of_its_requests(
    make_manager: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WIRO_LOCAL_OPTIONS", " ".join(QUICKLY))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WIRO_LOCAL_WEIGHTS", raising=False)
    manager = make_manager(service="sandbox", sandbox_arguments=QUICKLY)
    request = manager.prepare(WAN, {"prompt": "a cat", "seed": "7"})
    practice = submit_request(manager, request).wait(60)
    assert find_made(manager, request, None) == practice

    manager.services.use("local")
    assert find_made(manager, request, None) is None
    run = submit_request(manager, request).wait(60)
    assert run.id != practice.id
    assert (run.state, run.snapshot.service, run.snapshot.is_free) == (RunState.SUCCEEDED, "local", True)
    assert run.record is not None
    assert run.record["service"] == {"name": "local", "base_url": "http://127.0.0.1/v1"}
    assert describe_cost(run.snapshot) == "free, on this machine"
    assert "sandbox" not in run_text(run.snapshot).lower()
    notices = {card.slug: card.notice for card in manager.models("", limit=50)}
    assert notices["pruna/vace"] == "weights not here: wiro-nb local pull pruna/vace"
    assert {path.parent.name for path in (tmp_path / "data").glob("*/sandbox.sqlite")} == {"sandbox", "local"}


def test_the_interpreter_and_further_options_reach_the_process(
    make_manager: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    home = tmp_path / "home"
    home.mkdir()
    (home / "sitecustomize.py").write_text(
        f"import sys, pathlib; pathlib.Path({str(seen)!r}).write_text(' '.join(sys.orig_argv[-12:]))"
    )
    monkeypatch.setenv("PYTHONPATH", str(home))
    monkeypatch.setenv("WIRO_LOCAL_OPTIONS", "--ray auto --engine nonsense")
    manager = make_manager(service="local", settings=Settings(local_python="/opt/torch/bin/python"))
    # It says so at once: a service that ends as it starts is no outage to wait for.
    with pytest.raises(ConfigError, match="the service local did not start") as caught:
        submit(manager).wait(20)
    assert any("nonsense" in line for line in caught.value.details)
    assert "--engine diffusers --python /opt/torch/bin/python --ray auto --engine nonsense" in seen.read_text()


def test_a_model_whose_weights_are_not_here_is_refused_with_the_command_that_downloads_them(
    make_manager: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WIRO_LOCAL_WEIGHTS", raising=False)
    run = submit(make_manager(service="local"))
    with pytest.raises(NotAccessible, match="are not on this machine") as caught:
        run.wait(30)
    assert caught.value.hint == f"wiro-nb local pull {WAN}, then %wiro rerun {run.short_id}"
