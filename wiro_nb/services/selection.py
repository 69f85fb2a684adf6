"""Selects the service of runs and finds its key: the sandbox, local models, the cloud, or a named service.

Choosing costs no connection and starts nothing; `services.connection` connects at first use.

A key is looked for in the environment (`WIRO_API_KEY`, `WIRO_API_SECRET`; for the cloud or the address in
`WIRO_BASE_URL` only), then in the system's keyring when the `keyring` package is installed, and then in
`credentials.json` in the data folder, readable by its owner alone. It is never a trait and never in a record.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from wiro_nb.api import CLOUD_BASE_URL, CLOUD_SOCKET_URL, LOOPBACK, Credentials, Service
from wiro_nb.config import FREE_SERVICES, LOCAL, SANDBOX, data_dir
from wiro_nb.errors import ConfigError, MissingCredentials
from wiro_nb.files import write_atomically
from wiro_nb.redaction import SecretText

CLOUD = "cloud"
KEYRING_SERVICE = "wiro_nb"
FILE_NAME = "credentials.json"
ALLOW_HTTP = "WIRO_ALLOW_HTTP"
"""Set to anything, it lets the key travel over plain http to other machines."""


@dataclass(frozen=True, slots=True)
class ServiceChoice:
    """A service that was chosen, before anything connects to it.

    Attributes:
        name: "sandbox", "local", "cloud", a name of the user's own, or a URL.
        reason: Why this one, for people ("no key was found").
        service: Its addresses and key; None for a free service, whose port is known once it runs.
        key_source: "environment", "keyring", "file" or "" (free services).
    """

    name: str
    reason: str
    service: Service | None = None
    key_source: str = ""

    @property
    def is_free(self) -> bool:
        """True when nothing costs money."""
        return self.name in FREE_SERVICES

    @property
    def recorded_url(self) -> str:
        """The address in records and ledger; the real port of a free service changes with each start."""
        return "http://127.0.0.1/v1" if self.is_free else self.base_url

    @property
    def label(self) -> str:
        """The service as a heading names it."""
        return f"{self.name}, free" if self.is_free else self.name

    @property
    def free_label(self) -> str:
        """Returns "free, sandbox" or "free, on this machine"; "" for a service that may bill."""
        return FREE_SERVICES.get(self.name, "")

    @property
    def base_url(self) -> str:
        """Where requests go; "" for a free service."""
        return self.service.base_url if self.service is not None else ""

    @property
    def account(self) -> str | None:
        """A hash that tells the accounts of a service apart without showing the key; None for a free service."""
        if self.service is None or self.service.credentials is None:
            return None
        return hashlib.sha256(f"wiro_nb account {self.service.credentials.key}".encode()).hexdigest()[:16]


def resolve_service(name: str | None = None) -> ServiceChoice:
    """Chooses a service.

    Args:
        name: "sandbox", "local", "cloud", a named one or a URL. None takes `WIRO_SERVICE`; without it the
            cloud when a key is found, else the sandbox.

    Raises:
        MissingCredentials: The service needs a key and none was found.
        ConfigError: There is no service of this name.
    """
    asked = (name or _variable("WIRO_SERVICE")).strip()
    reason = "asked for" if name else "WIRO_SERVICE"
    if asked.lower() in FREE_SERVICES:
        return ServiceChoice(asked.lower(), reason)
    chosen = CLOUD if asked.lower() in ("", CLOUD) else asked
    if asked:
        addresses_of(chosen)  # an unknown name is told before a missing key
    try:
        credentials, source = find_credentials(chosen)
    except MissingCredentials:
        if asked:
            raise
        return ServiceChoice(SANDBOX, "no key was found")
    service = Service(chosen, *addresses_of(chosen), credentials)
    return ServiceChoice(chosen, reason if asked else f"a key was found ({source})", service, source)


def _variable(name: str) -> str:
    # Variables are looked up one by one: a traceback that lists local variables must not show the environment.
    return os.environ.get(name, "").strip()


def addresses_of(name: str) -> tuple[str, str]:
    """Returns base URL and WebSocket address of a service that is not free.

    Raises:
        ConfigError: There is no service of this name, its address holds a login, or the key would travel
            unencrypted.
    """
    base_url, socket_url = _find_addresses(name)
    addresses = base_url, socket_url or socket_url_for(base_url)
    for address in addresses:
        parts = urlsplit(address)
        if "@" in parts.netloc:
            raise ConfigError(
                "the address of a service holds no login: it would stay in the notebook and in records",
                hint="%wiro use with the address alone; the key comes from %wiro login",
            )
        if parts.scheme in ("http", "ws") and parts.hostname not in LOOPBACK and not _variable(ALLOW_HTTP):
            raise ConfigError(
                f"the key would travel unencrypted to {parts.hostname}: its address begins with {parts.scheme}://",
                hint=f"use https://, or set {ALLOW_HTTP}=1 where the network is trusted",
            )
    return addresses


def _find_addresses(name: str) -> tuple[str, str | None]:
    if name.lower() == CLOUD:
        base_url = _variable("WIRO_BASE_URL") or CLOUD_BASE_URL
        socket_url = _variable("WIRO_SOCKET_URL")
        return base_url, socket_url or (CLOUD_SOCKET_URL if base_url == CLOUD_BASE_URL else None)
    if "://" in name:
        return name, None
    named = named_services()
    if name not in named:
        known = ", ".join((SANDBOX, LOCAL, CLOUD, *named))
        raise ConfigError(
            f"there is no service named {name}", details=[f"known: {known}"], hint="%wiro use sandbox"
        )
    return named[name]


def socket_url_for(base_url: str) -> str:
    """Returns the WebSocket address that matches a base URL: same host and path, `ws` or `wss`."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"{base_url} is not the address of a service", hint="%wiro use http://127.0.0.1:PORT/v1")
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path, "", ""))


# Keys ----------------------------------------------------------------------------------------


def find_credentials(name: str) -> tuple[Credentials, str]:
    """Finds the key of a service: in the environment, the keyring or the file, in this order.

    Returns:
        The credentials and their source: "environment", "keyring" or "file".

    Raises:
        MissingCredentials: There is none; `looked_in` has each place with what was found there.
    """
    looked_in = []
    for source, place, search in (
        ("environment", "WIRO_API_KEY", _find_in_environment),
        ("keyring", "keyring", _find_in_keyring),
        ("file", FILE_NAME, _find_in_file),
    ):
        credentials, finding = search(name)
        if credentials is not None:
            return credentials, source
        looked_in.append([place, finding])
    raise MissingCredentials(f"{name} needs an API key and none was found", looked_in=looked_in)


def _find_in_environment(name: str) -> tuple[Credentials | None, str]:
    key = SecretText(_variable("WIRO_API_KEY"))
    if not key:
        return None, "not set"
    # No other service may see the cloud's key, except an address that replaces the cloud's.
    address = _variable("WIRO_BASE_URL").rstrip("/")
    if name.lower() != CLOUD and (not address or name.rstrip("/") != address):
        return None, "set, but it is for the cloud or the address in WIRO_BASE_URL"
    return Credentials(key, SecretText(_variable("WIRO_API_SECRET")) or None), "set"


def _find_in_keyring(name: str) -> tuple[Credentials | None, str]:
    try:
        keyring = _keyring()
        if keyring is None:
            return None, "not installed"
        return _to_credentials(name, json.loads(keyring.get_password(KEYRING_SERVICE, name) or "null"))
    except Exception as error:  # a locked or broken keyring must not stop the search
        return None, f"not readable ({type(error).__name__})"


def _find_in_file(name: str) -> tuple[Credentials | None, str]:
    if not _file().exists():
        return None, "no such file"
    return _to_credentials(name, _read_file().get(name))


def _to_credentials(name: str, entry: Any) -> tuple[Credentials | None, str]:
    if not isinstance(entry, dict) or not entry.get("key"):
        return None, f"no key for {name}"
    return Credentials(str(entry["key"]), entry.get("secret") or None), "found"


def named_services() -> dict[str, tuple[str, str | None]]:
    """Returns the base URL and, where one was given, the WebSocket address of each service named at login."""
    entries = ((name, entry) for name, entry in sorted(_read_file().items()) if isinstance(entry, dict))
    return {
        name: (str(entry["base_url"]), entry.get("socket_url") or None)
        for name, entry in entries
        if entry.get("base_url")
    }


def save_credentials(
    name: str, credentials: Credentials, *, base_url: str | None = None, socket_url: str | None = None
) -> str:
    """Stores a key for later sessions and returns where ("keyring" or "file").

    Args:
        name: The service, "cloud" or a name of the user's own.
        credentials: The key and, for signature projects, the secret.
        base_url: Address of a named service; None for the cloud.
        socket_url: Its WebSocket address; None derives it from `base_url`.

    Raises:
        ConfigError: The file cannot be written.
    """
    entries = _read_file()
    entry: dict[str, Any] = {"base_url": base_url, "socket_url": socket_url} if base_url else {}
    secrets = {"key": credentials.key, "secret": credentials.secret}
    place = "keyring" if _store_in_keyring(name, json.dumps(secrets)) else "file"
    if place == "file":
        entry |= secrets
    if entry:
        entries[name] = entry
    else:
        entries.pop(name, None)
    _write_file(entries)
    return place


def forget_credentials(name: str) -> bool:
    """Removes a stored key from keyring and file; True when there was one. The environment stays as it is."""
    removed = _store_in_keyring(name, None)
    entries = _read_file()
    if entries.pop(name, None) is not None:
        _write_file(entries)
        removed = True
    return removed


def _file() -> Path:
    return data_dir() / FILE_NAME


def _read_file() -> dict[str, Any]:
    try:
        data = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_file(entries: Mapping[str, Any]) -> None:
    try:
        if entries:
            write_atomically(_file(), json.dumps(entries, indent=2).encode(), mode=0o600)
        else:
            _file().unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the key could not be stored: {FILE_NAME} cannot be written ({error.strerror})",
            hint="set WIRO_API_KEY (and WIRO_API_SECRET) in the environment",
        ) from None


def _keyring() -> Any | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    import keyring

    # The "fail" and "null" backends stand for: no keyring on this machine.
    return None if keyring.get_keyring().priority <= 0 else keyring


def _store_in_keyring(name: str, text: str | None) -> bool:
    """Sets what the keyring holds, or removes it; True where it was there to be set or removed."""
    with contextlib.suppress(Exception):
        keyring = _keyring()
        if keyring is not None and text is not None:
            keyring.set_password(KEYRING_SERVICE, name, text)
            return True
        if keyring is not None and keyring.get_password(KEYRING_SERVICE, name):
            keyring.delete_password(KEYRING_SERVICE, name)
            return True
    return False
