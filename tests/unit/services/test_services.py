"""Which service is chosen, where keys come from, and that they stay secret."""

from __future__ import annotations

import asyncio
import importlib
import json
import stat
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.manager_tools import WAN, submit
from tests.unit.api.servers import read_request, response, tcp_server
from wiro_nb.api import Credentials
from wiro_nb.api.answers import read_task
from wiro_nb.api.pricing import read_pricing
from wiro_nb.config import data_dir
from wiro_nb.errors import AuthRejected, BudgetExceeded, ConfigError, MissingCredentials
from wiro_nb.execution.requests import Origin
from wiro_nb.schema import find_bundled, read_detail
from wiro_nb.services.credentials import find_credentials, forget_credentials, save_credentials
from wiro_nb.services.selection import ServiceChoice, resolve_service
from wiro_nb.session.manager import Manager

KEY, SECRET = "key-for-tests-1234", "secret-for-tests-5678"


def chosen(name: str | None = None, **variables: str) -> ServiceChoice:
    """Returns the service that these variables of the environment choose; no others are set."""
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in variables.items():
            environment.setenv(variable, value)
        return resolve_service(name)


def test_without_a_key_the_sandbox_is_chosen_and_the_places_are_known(own_folders: Path) -> None:
    assert (chosen().is_free, chosen().reason) == (True, "no key was found")
    with pytest.raises(MissingCredentials) as caught:
        find_credentials("cloud")
    assert [place for place, _ in caught.value.looked_in] == ["WIRO_API_KEY", "keyring", "credentials.json"]


def test_a_key_in_the_environment_chooses_the_cloud(own_folders: Path) -> None:
    choice = chosen(WIRO_API_KEY=KEY)
    assert (choice.name, choice.key_source) == ("cloud", "environment")
    assert choice.service.base_url.startswith("https://")
    assert KEY not in repr(choice)


def test_the_cloud_without_a_key_says_where_was_looked(own_folders: Path) -> None:
    with pytest.raises(MissingCredentials) as caught:
        chosen("cloud")
    assert ["WIRO_API_KEY", "not set"] in caught.value.looked_in


def test_addresses_of_the_environment_stand_in_for_the_cloud(own_folders: Path) -> None:
    environ = {"WIRO_API_KEY": KEY, "WIRO_BASE_URL": "http://127.0.0.1:9/v1"}
    choice = chosen(**environ)
    assert choice.service.socket_url == "ws://127.0.0.1:9/v1"
    asked = chosen(**environ, WIRO_SOCKET_URL="ws://127.0.0.1:10/v1")
    assert asked.service.socket_url == "ws://127.0.0.1:10/v1"
    assert chosen(**environ | {"WIRO_BASE_URL": "HTTP://LocalHost:9/v1/"}).recorded_url == "http://localhost:9/v1"


_KEYRING = """
import types

kept = {}


def get_keyring():
    return types.SimpleNamespace(priority=5)


def get_password(service, name):
    return kept.get((service, name))


def set_password(service, name, password):
    kept[service, name] = password


def delete_password(service, name):
    del kept[service, name]
"""


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], str]]:
    """Stands in for the package that reaches the system's keyring; gives what it keeps."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "keyring.py").write_text(_KEYRING)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    real = sys.modules.pop("keyring", None)
    yield importlib.import_module("keyring").kept
    del sys.modules["keyring"]
    if real is not None:
        sys.modules["keyring"] = real


def test_where_there_is_a_keyring_it_has_the_key_and_the_file_only_the_address(
    own_folders: Path, keyring: dict[tuple[str, str], str]
) -> None:
    assert save_credentials("studio", Credentials(KEY, SECRET), base_url="https://studio.example/v1") == "keyring"
    assert KEY not in (data_dir() / "credentials.json").read_text()
    found, source = find_credentials("studio")
    assert (found.key, found.secret, source) == (KEY, SECRET, "keyring")
    assert forget_credentials("studio")
    assert not keyring
    assert not forget_credentials("studio")
    with pytest.raises(MissingCredentials) as caught:
        find_credentials("studio")
    assert ["keyring", "no key for studio"] in caught.value.looked_in


def test_a_keyring_that_fails_is_passed_over(own_folders: Path, keyring: dict[tuple[str, str], str]) -> None:
    keyring["wiro_nb", "cloud"] = "no JSON"
    with pytest.raises(MissingCredentials) as caught:
        find_credentials("cloud")
    assert ["keyring", "not readable (JSONDecodeError)"] in caught.value.looked_in


def test_an_unknown_name_lists_the_known_ones(own_folders: Path) -> None:
    save_credentials("studio", Credentials(KEY, SECRET), base_url="https://studio.example/v1")
    with pytest.raises(ConfigError) as caught:
        chosen("studios")
    assert "studio" in caught.value.details[0]
    assert chosen("studio").service.base_url == "https://studio.example/v1"


def test_the_credentials_file_is_for_its_owner_alone_and_goes_with_the_last_key(own_folders: Path) -> None:
    save_credentials("cloud", Credentials(KEY, SECRET))
    path = own_folders.parent / "data" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert find_credentials("cloud") == (Credentials(KEY, SECRET), "file")
    assert forget_credentials("cloud")
    assert not path.exists()
    assert not forget_credentials("cloud")


def test_the_environment_key_goes_to_the_cloud_or_its_stand_in_alone(own_folders: Path) -> None:
    own = "own-key-for-tests-99"
    save_credentials("studio", Credentials(own), base_url="https://studio.example/v1")
    environ = {"WIRO_API_KEY": KEY, "WIRO_API_SECRET": SECRET}
    studio = chosen("studio", **environ)
    assert (studio.service.credentials, studio.key_source) == (Credentials(own), "file")
    for address in ("https://elsewhere.example/v1", "https://studio.example/v1"):
        with pytest.raises(MissingCredentials) as caught:
            chosen(address, **environ)
        assert "for the cloud" in caught.value.looked_in[0][1]
    instead = {**environ, "WIRO_BASE_URL": "https://elsewhere.example/v1"}
    for name in ("cloud", "CLOUD", "https://elsewhere.example/v1/"):
        choice = chosen(name, **instead)
        assert choice.service.credentials == Credentials(KEY, SECRET)
        assert choice.service.base_url.rstrip("/") == "https://elsewhere.example/v1"


@pytest.mark.parametrize("variable", ["WIRO_BASE_URL", "WIRO_SOCKET_URL"])
def test_no_key_travels_unencrypted_to_another_machine_unless_it_is_allowed(
    own_folders: Path, variable: str
) -> None:
    scheme = "http" if variable == "WIRO_BASE_URL" else "ws"
    environ = {"WIRO_API_KEY": KEY, variable: f"{scheme}://elsewhere.example/v1"}
    with pytest.raises(ConfigError, match=r"unencrypted to elsewhere\.example") as caught:
        chosen("cloud", **environ)
    assert "WIRO_ALLOW_HTTP=1" in str(caught.value.hint)
    chosen("cloud", **environ, WIRO_ALLOW_HTTP="1")
    chosen("cloud", **{**environ, variable: f"{scheme}://[::1]:9/v1"})


@pytest.mark.parametrize(
    "address",
    ["http://user:pw-of-mine@127.0.0.1/v1", "https://user@host.example/v1", "https://host.example/v1@user"],
)
def test_an_address_with_a_login_is_refused_and_not_repeated(own_folders: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="holds no login") as caught:
        chosen(address, WIRO_API_KEY=KEY)
    assert "user" not in str(caught.value)


def test_login_keeps_only_a_key_that_works(
    make_manager: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRO_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("WIRO_SOCKET_URL", sandbox.socket_url)
    manager = make_manager()
    with pytest.raises(AuthRejected):
        manager.services.login("not-a-key-of-anybody", "nor-a-secret-of-anybody")
    assert manager.choice.is_free
    monkeypatch.setenv("WIRO_API_KEY", KEY)
    connection = manager.services.connection("cloud")
    monkeypatch.delenv("WIRO_API_KEY")
    manager.services.login(sandbox.api_key, sandbox.api_secret)
    assert manager.service_name == "cloud"
    assert connection.choice is manager.choice, "a connection that was there already goes on with the new key"
    with pytest.raises(AuthRejected):
        manager.services.login("not-a-key-of-anybody", "nor-a-secret-of-anybody")
    assert make_manager().service_name == "cloud"
    assert submit(manager).wait(60).path is not None
    assert manager.services.logout()
    assert manager.choice.is_free


@pytest.mark.parametrize("has_inputs", [True, False])
def test_what_the_service_shows_of_a_model_wins_over_the_bundled_inputs_once_it_was_read(
    make_manager: Any, point_at: Any, has_inputs: bool
) -> None:
    bundled = find_bundled("pruna/vace")
    assert bundled is not None
    inputs = [{"id": "prompt", "type": "text"}, {"id": "mood", "type": "select", "options": ["calm"]}]
    tool = {
        "slugowner": "pruna", "slugproject": "vace", "cleanslugowner": "pruna", "cleanslugproject": "vace-2",
        "parameters": inputs if has_inputs else None,
        "dynamicprice": [{"inputs": {}, "price": "0.5", "priceMethod": "cpr"}],
    }  # fmt: skip

    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await read_request(reader))[0][":path"] == "/v1/Tool/Detail"
        writer.write(response({"result": True, "tool": [tool]}))

    async def read_page() -> Manager:
        async with tcp_server(show) as service:
            keys = SimpleNamespace(socket_url=service.socket_url, api_key=KEY, api_secret=SECRET)
            point_at(keys, service.base_url)
            manager: Manager = make_manager()
            assert manager.schema("pruna/vace") == bundled
            assert await asyncio.to_thread(manager.prices.detail, "pruna/vace") is not None
        return manager

    manager = asyncio.run(read_page())
    if has_inputs:
        prepared = manager.prepare("pruna/vace", {"prompt": "a fox", "mood": "calm"})
        assert prepared.schema.run_path == "pruna/vace-2"
        assert prepared.parameters["mood"] == "calm"
    else:
        assert manager.schema("pruna/vace") == bundled


def test_a_page_that_the_service_refuses_is_asked_for_once_by_all_runs_and_anew_by_the_user(
    make_manager: Any, start_sandbox: Any, point_at: Any
) -> None:
    service = start_sandbox(
        "--engine", "instant", "--speed", "50", "--balance", "1000", "--faults", "Tool/Detail:code=1@1-2"
    )
    point_at(service)
    manager = make_manager()

    def asked() -> int:
        return int(service.audit()["requests"].get("Tool/Detail", 0))

    for run in [submit(manager, f"cat {number}") for number in range(5)]:
        assert run.wait(60).snapshot.estimated_usd is None
    submit(manager, "one more").wait(60)
    assert asked() == 1
    assert manager.prices.detail(WAN) is None
    assert asked() == 2
    with pytest.raises(BudgetExceeded, match="unknown"):
        submit(manager, "within a limit", max_cost_usd=Decimal(5))
    assert asked() == 2
    assert manager.prices.detail(WAN) is not None
    assert submit(manager, "within a limit", max_cost_usd=Decimal(5)).wait(60).snapshot.estimated_usd is not None
    assert asked() == 3


@pytest.mark.parametrize("as_text", [True, False])
def test_a_price_table_and_parameters_may_be_text_or_values(as_text: bool) -> None:
    rows = [{"inputs": {}, "price": "0.5", "priceMethod": "cpr"}]
    items = [{"title": "", "items": [{"id": "prompt", "type": "textarea"}]}]

    def given(value: object) -> object:
        return json.dumps(value) if as_text else value

    raw = {"slugowner": "a", "slugproject": "b", "parameters": given(items), "dynamicprice": given(rows)}
    assert [entry.price for entry in read_pricing(raw).entries] == [Decimal("0.5")]
    assert read_detail(raw).get("prompt") is not None
    assert read_task({"id": "1", "parameters": given({"prompt": "a fox"})}).parameters == {"prompt": "a fox"}


def test_a_busy_service_is_asked_for_a_price_again_soon(
    make_manager: Any, start_sandbox: Any, point_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a price nothing is reserved from the budget; only "there is no such model" may last minutes."""
    point_at(start_sandbox("--engine", "instant", "--speed", "50", "--faults", "Tool/Detail:503@1-4"))
    manager = make_manager()
    assert manager.prices.detail(WAN) is None
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 15)
    assert submit(manager, "a cat").wait(60).snapshot.estimated_usd is not None


def test_a_price_is_asked_for_before_a_run_only_where_a_budget_depends_on_it(
    make_manager: Any, start_sandbox: Any, point_at: Any
) -> None:
    point_at(start_sandbox("--engine", "instant", "--speed", "50", "--balance", "1000"))
    manager, origin = make_manager(), Origin(notebook="/n/a.ipynb")
    assert submit(manager, origin=origin).snapshot.estimated_usd is None
    manager.ledger.set_budget(origin.notebook, Decimal(5))
    assert submit(manager, origin=origin).snapshot.estimated_usd is not None


def test_nothing_connects_again_once_the_manager_is_closed(manager: Manager) -> None:
    assert submit(manager).wait(60).path is not None
    connection = manager.services.connection(manager.service_name)
    manager.close()
    with pytest.raises(ConfigError, match="closed"):
        asyncio.run(connection.connect())
