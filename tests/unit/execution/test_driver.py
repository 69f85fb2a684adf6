"""A run's life against a real sandbox process: every way it can end."""

from __future__ import annotations

import asyncio
import errno
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import QUICK, VACE, WAN, find_made, submit, submit_request, wait_for, wait_for_stage
from tests.unit.provenance.signing import make_certificates
from wiro_nb.errors import BudgetExceeded, InsufficientFunds, MissingCredentials, RunFailed, UnknownModel
from wiro_nb.execution.requests import Origin
from wiro_nb.files import hash_file
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.presentation.run import run_text
from wiro_nb.provenance.content_credentials import CERTIFICATE, KEY
from wiro_nb.provenance.embed import read_embedded
from wiro_nb.provenance.record import check_record
from wiro_nb.session.manager import Manager
from wiro_nb.sweeps.plan import plan_sweep


def test_a_run_ends_with_its_clip_its_record_and_its_cost(manager: Manager, own_folders: Path) -> None:
    run = submit(manager).wait(60)
    assert run.state is RunState.SUCCEEDED
    assert run.path is not None
    assert run.path.is_file()
    assert own_folders in run.path.parents
    record = check_record(run.record)
    assert record == read_embedded(run.path) == json.loads((run.path.parent / "run.json").read_text())["wiro"]
    assert record["outputs"][0]["path"] == run.path.relative_to(own_folders).as_posix()
    assert record["made_by"] == {"engine": "instant"}, "what the service says about the making"
    assert run.cost_usd == Decimal(record["price"]["cost_usd"]) > 0
    assert manager.budget().spent_usd == run.cost_usd
    assert manager.get(run.short_id) is run


def test_a_disk_that_is_too_full_for_the_sidecar_leaves_the_record_in_clip_and_ledger(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill_up(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wiro_nb.provenance.record.write_atomically", fill_up)
    run = submit(manager, "a cat").wait(60)
    assert run.path is not None
    assert run.record == read_embedded(run.path)
    assert run.outputs[0].stored_sha256 == hash_file(run.path)
    (said,) = caplog.records
    assert said.getMessage() == f"run {run.short_id} has no run.json: No space left on device"
    assert said.exc_info is None


def test_the_intent_is_on_disk_when_submit_returns(manager: Manager) -> None:
    run = submit(manager, "[hold] a cat")
    row = manager.ledger.get(run.id)
    assert row.parameters["prompt"] == "[hold] a cat"
    assert not row.state.is_final
    run.cancel()
    run.wait(60)


def test_a_failed_run_raises_with_what_the_model_said_and_costs_nothing(manager: Manager) -> None:
    run = submit(manager, "[fail] a cat")
    with pytest.raises(RunFailed) as caught:
        run.wait(60)
    assert caught.value.run_id == run.id
    assert caught.value.exit_code == "1"
    assert "Billed: nothing" in caught.value.billed
    assert run.state is RunState.FAILED
    assert run.path is None
    assert run.record is not None
    assert run.record["status"] == "failed"
    assert manager.ledger.get(run.id).error is not None


def test_a_fatal_error_before_the_run_is_a_failure(manager: Manager) -> None:
    run = submit(manager, "[crash] a cat").wait(60, check=False)
    assert run.state is RunState.FAILED
    assert run.snapshot.stage is not Stage.DONE


def test_a_cancel_between_the_end_of_a_task_and_its_record_loses_no_end(
    start_sandbox: Any, point_at: Any, make_manager: Any
) -> None:
    service = start_sandbox()
    point_at(service)
    manager = make_manager(settings=replace(QUICK, download_patience_s=60))
    service.set_faults("file:503")
    run = submit(manager, "a cat")
    wait_for_stage(run, Stage.FETCHING)
    run.cancel()
    wait_for(run, lambda run: run.snapshot.cancel_requested)
    service.set_faults("")
    assert run.wait(60).state is manager.ledger.get(run.id).state is RunState.SUCCEEDED
    assert run.path is not None


@pytest.mark.parametrize("mark", ["[queue]", "[hold]"])
def test_cancelling_ends_a_queued_and_a_running_task_and_is_a_result(
    manager: Manager, sandbox: Any, mark: str
) -> None:
    run = submit(manager, f"{mark} a cat")
    wait_for_stage(run, Stage.QUEUED if mark == "[queue]" else Stage.GENERATING)
    run.cancel()
    assert run.wait(60) is run
    assert run.state is RunState.CANCELLED
    task = next(task for task in sandbox.audit()["tasks"] if str(task["task_id"]) == run.task_id)
    assert task["status"] == "task_cancel"


def test_a_run_that_stopped_being_followed_can_be_cancelled(
    manager: Manager, sandbox: Any, make_manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = submit(manager, "[hold] a cat")
    wait_for_stage(begun, Stage.GENERATING)
    manager.close()
    monkeypatch.delenv("WIRO_API_KEY")
    run = make_manager(service="sandbox").get(begun.id)
    with pytest.raises(MissingCredentials):
        run.wait(60)
    monkeypatch.setenv("WIRO_API_KEY", sandbox.api_key)
    run.cancel()
    assert run.wait(60).state is RunState.CANCELLED


def test_a_run_ends_although_the_folders_of_notebook_and_kernel_were_deleted(
    manager: Manager, sandbox: Any, tmp_path: Path, own_folders: Path
) -> None:
    origin, out_dir = Origin(str(own_folders / "a.ipynb")), str(tmp_path / "clips")
    run = submit(manager, "[hold] a cat", origin=origin, out_dir=out_dir)
    wait_for_stage(run, Stage.GENERATING)
    own_folders.rmdir()
    sandbox.release(run.task_id)
    assert run.wait(60).path is not None
    assert manager.ledger.get(run.id).state is RunState.SUCCEEDED


def test_a_signed_clip_says_whose_credentials_it_carries(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    for name, content in zip((CERTIFICATE, KEY), make_certificates(), strict=True):
        (tmp_path / name).write_bytes(content)
        monkeypatch.setenv(name, str(tmp_path / name))
    run = submit(manager).wait(60)
    shown = "credentials Studio of the tests, valid, unknown signer"
    assert shown in run_text(run.snapshot)
    assert shown in run_text(manager.get(run.id).snapshot)
    assert run.path is not None
    assert hash_file(run.path) == run.snapshot.outputs[0].stored_sha256
    assert b"not made by a model" in run.path.read_bytes()
    assert b"trainedAlgorithmicMedia" not in run.path.read_bytes()
    monkeypatch.setenv(KEY, str(tmp_path / "none.pem"))
    again = submit(manager, "another prompt").wait(60)
    assert "credentials not signed: none.pem: No such file" in run_text(again.snapshot)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_callbacks_come_on_the_io_thread_and_a_broken_one_harms_nobody(
    manager: Manager, sandbox: Any, error: type[BaseException]
) -> None:
    run = submit(manager, "[hold] a cat")
    seen: list[tuple[bool, int, RunState]] = []

    def break_down(_: object) -> None:
        raise error("broken on purpose")

    run.on_change(break_down)
    run.on_change(lambda snapshot: seen.append((manager.is_io_thread(), snapshot.version, snapshot.state)))
    wait_for_stage(run, Stage.GENERATING)
    sandbox.release(run.task_id)
    run.wait(60)
    assert all(on_thread for on_thread, _, _ in seen)
    versions = [version for _, version, _ in seen]
    assert versions == sorted(versions)
    assert seen[-1][2] is RunState.SUCCEEDED
    assert sum(state.is_final for _, _, state in seen) == 1


def test_when_the_end_is_told_the_record_is_there(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[hold] a cat")
    found: list[object] = []
    run.on_change(lambda snapshot: found.append(run.record) if snapshot.state.is_final else None)
    wait_for_stage(run, Stage.GENERATING)
    sandbox.release(run.task_id)
    run.wait(60)
    assert found
    assert found[0] is not None


def test_the_same_request_is_found_done_in_its_notebook_only(manager: Manager, own_folders: Path) -> None:
    here = Origin(notebook=str(own_folders / "a.ipynb"), kind="magic")
    run = submit(manager, origin=here).wait(60)
    again = manager.prepare(WAN, {"prompt": "a cat"})
    assert find_made(manager, again, here.notebook) is run
    assert find_made(manager, again, str(own_folders / "b.ipynb")) is None


def test_a_copied_notebook_brings_its_runs_along(manager: Manager, own_folders: Path) -> None:
    wanted = manager.prepare(WAN, {"prompt": "a cat", "seed": 7})
    run = submit_request(manager, wanted, origin=Origin(notebook=str(own_folders / "a.ipynb"), kind="magic")).wait(
        60
    )
    copy = own_folders / "copy.ipynb"
    here = Origin(notebook=str(copy), kind="magic")
    for text in ("", "[]", '{"metadata": {"wiro": {"runs": {"x": {"format": 1, "run_id": "x", "model": {}}}}}}'):
        copy.write_text(text, "utf-8")
        assert find_made(manager, wanted, str(copy)) is None
    copy.write_text(json.dumps({"metadata": {"wiro": {"runs": {run.id: run.record}}}, "cells": []}), "utf-8")
    assert find_made(manager, wanted, str(copy)) is run
    assert find_made(manager, manager.prepare(WAN, {"prompt": "a cat", "seed": 8}), str(copy)) is None
    plan = plan_sweep(manager, WAN, {"seed": [8, 7]}, {"prompt": "a cat"}, origin=here)
    assert plan.made == {1: run}
    manager.ledger.forget(run.id)
    assert find_made(manager, wanted, str(copy)) is None


def test_a_run_can_be_the_input_of_the_next(manager: Manager) -> None:
    picture = (
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"
        b"\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\3\1\1\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82"
    )
    prepared = manager.prepare(VACE, {"prompt": "go on", "inputImage": picture})
    run = submit_request(manager, prepared).wait(60)
    kept = run.files["inputImage"][0]
    assert kept["sha256"]
    assert kept["size_bytes"] == len(picture)
    assert run.folder is not None
    assert list((run.folder.parent / ".inputs").glob(f"{kept['sha256']}*"))
    following = manager.prepare(VACE, {"prompt": "and on", "inputImage": [run]})
    assert following.files["inputImage"][0].content_type == "image/png"


def test_refusals_by_the_service_end_the_run_with_its_words(
    start_sandbox: Any, point_at: Any, make_manager: Any
) -> None:
    poor = start_sandbox("--engine", "instant", "--speed", "instant", "--balance", "0.10")
    point_at(poor)
    run = submit(make_manager())
    with pytest.raises(InsufficientFunds):
        run.wait(60)
    assert run.state is RunState.FAILED
    assert poor.audit()["tasks"] == []


def test_a_price_over_the_limit_stops_the_run_before_anything_is_written(manager: Manager) -> None:
    with pytest.raises(BudgetExceeded):
        submit(manager, max_cost_usd=Decimal("0.0001"))
    assert manager.runs() == []
    assert submit(manager, max_cost_usd=Decimal(10)).estimate is not None


def test_an_unknown_model_names_near_ones(manager: Manager) -> None:
    with pytest.raises(UnknownModel) as caught:
        manager.schema("prunaa/vacee")
    assert VACE in caught.value.near


def test_slots_full_waits_in_order_and_what_is_cancelled_meanwhile_is_never_sent(
    start_sandbox: Any, point_at: Any, make_manager: Any
) -> None:
    small = start_sandbox("--engine", "instant", "--speed", "20", "--balance", "5")
    point_at(small)
    manager = make_manager()
    held = submit(manager, "[hold] first")
    wait_for_stage(held, Stage.GENERATING)
    others = [submit(manager, f"number {index}") for index in range(3)]
    # The first tries again now and then, and is no place ahead of the others while it does.
    wait_for(others[-1], lambda _: [run.snapshot.ahead for run in others] == [0, 1, 2])
    assert all(run.state in (RunState.PLANNED, RunState.SUBMITTING) for run in others)
    dropped = others.pop(1)
    dropped.cancel()
    assert dropped.wait(60).state is RunState.CANCELLED
    assert dropped.task_id is None
    small.release(held.task_id)
    for run in (held, *others):
        run.wait(60)
    ids = [int(run.task_id or 0) for run in (held, *others)]
    assert ids == sorted(ids)
    assert len(small.audit()["tasks"]) == 3


def test_many_runs_at_once_are_each_sent_once_and_all_end(manager: Manager) -> None:
    runs = [submit(manager, f"number {index}") for index in range(25)]
    for run in runs:
        run.wait(60)
    assert len({run.task_id for run in runs}) == 25


def test_a_task_that_shows_an_error_is_watched_until_it_recovers(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[stderr-then-recover] a cat")
    wait_for(run, lambda run: "may recover" in run.snapshot.message)
    assert run.state is RunState.SUBMITTED
    assert "The worker was lost" in run.snapshot.message
    sandbox.release(run.snapshot.task_id)
    assert run.wait(60).state is RunState.SUCCEEDED
    assert run.snapshot.cost_usd


def test_inputs_of_every_type_reach_the_service_as_they_are(manager: Manager, sandbox: Any) -> None:
    values: dict[str, Any] = {
        "palette": ["blue", "green"],
        "look": "",
        "path": [1, None],
        "extra": {"k": [1]},
        "loop": True,
    }
    values |= {"tint": "#abcdef", "copies": "2", "strength": "0.25"}
    run = submit_request(manager, manager.prepare("sandbox/plain-clip", {"prompt": "every type", **values})).wait(
        60
    )
    received = next(task for task in sandbox.audit()["tasks"] if task["task_id"] == run.task_id)["parameters"]
    assert {name: received[name] for name in values} == {**values, "copies": 2, "strength": 0.25}
    assert {name: (run.record or {})["parameters"][name] for name in values} == {
        **values, "copies": 2, "strength": 0.25,
    }  # fmt: skip
