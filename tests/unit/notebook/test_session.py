"""Which kind of place the code runs in is decided by the request alone, or by the person."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wiro_nb.execution.settings import Settings
from wiro_nb.notebook.account import status
from wiro_nb.notebook.session import Preferences, Session, current_context, injected_parameters
from wiro_nb.session.manager import Manager


def kernel_shell(content: dict[str, Any], **metadata: Any) -> Any:
    parent = {"header": {"msg_type": "execute_request", "msg_id": "m1"}, "content": content, "metadata": metadata}
    return SimpleNamespace(kernel=object(), get_parent=lambda: parent, user_ns={})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WIRO_HEADLESS", "WIRO_NOTEBOOK", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("allow_stdin", "kind"), [(True, "kernel-live"), (False, "kernel-headless")])
def test_stdin_tells_people_from_programs(allow_stdin: bool, kind: str) -> None:
    assert current_context(kernel_shell({"allow_stdin": allow_stdin})).kind == kind


@pytest.mark.parametrize(("value", "kind"), [("1", "kernel-headless"), ("0", "kernel-live"), ("", "kernel-live")])
def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch, value: str, kind: str) -> None:
    monkeypatch.setenv("WIRO_HEADLESS", value)
    assert current_context(kernel_shell({"allow_stdin": True})).kind == kind


def test_cell_and_source_come_from_the_request() -> None:
    context = current_context(kernel_shell({"allow_stdin": True, "code": "%wiro"}, cellId="abc"))
    assert context.cell_id == "abc"
    assert context.source_sha256 == hashlib.sha256(b"%wiro").hexdigest()
    assert context.execution_id == "m1"


def test_a_live_kernel_knows_its_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "a.ipynb"))
    context = current_context(kernel_shell({"allow_stdin": True}))
    assert context.notebook == str(tmp_path / "a.ipynb")
    assert context.folder == tmp_path


def test_a_headless_kernel_does_not_inherit_the_notebook_that_started_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "outer.ipynb"))
    context = current_context(kernel_shell({"allow_stdin": False}))
    assert context.notebook == str(tmp_path / "*")
    assert context.folder == tmp_path


def test_an_editor_may_tell_the_notebook_in_a_variable() -> None:
    shell = kernel_shell({"allow_stdin": True})
    shell.user_ns["__vsc_ipynb_file__"] = "/w/b.ipynb"
    assert current_context(shell).notebook == "/w/b.ipynb"


def test_a_shell_without_a_kernel_is_a_terminal() -> None:
    assert current_context(SimpleNamespace(user_ns={"In": ["", "x"]}, execution_count=1)).kind == "terminal"


def test_the_manager_gets_every_preference_that_is_one_of_its_settings(process_manager: Manager) -> None:
    process_manager.settings = Settings(callbacks_per_s=3.0)
    chosen = {"out_dir": "clips", "embed_record": False, "max_download_bytes": 5, "local_python": "/opt/python"}
    kernel = Session()
    kernel.preferences = Preferences(**chosen, budget_usd=Decimal(2))  # type: ignore[arg-type]
    assert kernel.manager(choose=False) is process_manager
    assert process_manager.settings == Settings(**chosen, budget_usd=Decimal(2), callbacks_per_s=3.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "given"),
    [("[1, None]", {"x": [1, None]}), ("{1, 2}", None), ("1e999", None), ("b'x'", None), ("f()", None)],
)
def test_only_parameters_that_a_record_can_hold_are_recorded(
    shell: SimpleNamespace, value: str, given: dict[str, Any] | None
) -> None:
    shell.user_ns["In"] = ["", f"# Parameters\nx = {value}\n", "x"]
    assert injected_parameters() == given


def test_the_status_says_where_the_key_is_from_and_that_the_sandbox_needs_none(
    process_manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRO_API_KEY", "key-of-the-tests-0001")
    for service, said in (("sandbox", "none needed"), ("cloud", "key from the environment")):
        process_manager.services.use(service)
        assert said in status().output().text
