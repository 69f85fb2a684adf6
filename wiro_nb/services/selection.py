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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from wiro_nb.api.service import CLOUD_BASE_URL, CLOUD_SOCKET_URL, LOOPBACK, Credentials, Service
from wiro_nb.config import FREE_SERVICES, data_dir
from wiro_nb.errors import ConfigError, MissingCredentials
from wiro_nb.files import write_atomically
from wiro_nb.redaction import SecretText

CLOUD = "cloud"
SANDBOX = "sandbox"
LOCAL = "local"
KEYRING_SERVICE = "wiro_nb"
FILE_NAME = "credentials.json"
_FREE_LABELS = {SANDBOX: "free, sandbox", LOCAL: "free, on this machine"}
ALLOW_HTTP = "WIRO_ALLOW_HTTP"
"""Set to anything, it lets the key travel over plain http to other machines."""


@dataclass(frozen=True, slots=True)
class ServiceChoice:
    """A service that was chosen, before anything connects to it.

    Attributes:
        name: "sandbox", "local", "cloud", a name of the user's own, or a URL.
        reason: Why this one, for people ("no key was found").
        base_url, socket_url: Addresses; empty for a free service, whose port is known once it runs.
        key_source: "environment", "keyring", "file" or "" (free services).
        looked_in: The places searched for a key, each with the finding.
    """

    name: str
    reason: str
    base_url: str = ""
    socket_url: str = ""
    key_source: str = ""
    looked_in: tuple[tuple[str, str], ...] = ()
    credentials: Credentials | None = field(default=None, repr=False)

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
        """What a run costs where that is nothing, else ""; see the function `free_label`."""
        return free_label(self.name)

    @property
    def account(self) -> str | None:
        """A hash that tells the accounts of a service apart without showing the key; None for a free service."""
        if self.credentials is None:
            return None
        return hashlib.sha256(f"wiro_nb account {self.credentials.key}".encode()).hexdigest()[:16]

    def to_service(self) -> Service:
        """Returns the addresses and key as the API client takes them (not for a free service)."""
        if self.is_free:
            raise ConfigError(f"the service {self.name} has no fixed address")
        return Service(self.name, self.base_url, self.socket_url, self.credentials, False)


def free_label(service: str) -> str:
    """Returns "free, sandbox" or "free, on this machine"; "" for a service that may bill."""
    return _FREE_LABELS.get(service, "")


def resolve_service(
    name: str | None = None, *, folder: Path | None = None, environ: Mapping[str, str] | None = None
) -> ServiceChoice:
    """Chooses a service.

    Args:
        name: "sandbox", "local", "cloud", a named one or a URL. None takes `WIRO_SERVICE`; without it the
            cloud when a key is found, else the sandbox.
        folder: In place of the data folder.
        environ: In place of the process's environment.

    Raises:
        MissingCredentials: The service needs a key and none was found.
        ConfigError: There is no service of this name.
    """
    environ = _wiro_variables(os.environ if environ is None else environ)
    folder = data_dir() if folder is None else folder
    asked = (name or environ.get("WIRO_SERVICE", "")).strip()
    if asked.lower() in FREE_SERVICES:
        return ServiceChoice(asked.lower(), "asked for" if name else "WIRO_SERVICE")
    service = asked if asked and asked.lower() != CLOUD else CLOUD
    found = find_credentials(service, folder, environ=environ)
    if not asked and found.credentials is None:
        return ServiceChoice(SANDBOX, "no key was found", looked_in=found.looked_in)
    base_url, socket_url = addresses_of(service, folder, environ)
    if found.credentials is None:
        looked_in = [*map(list, found.looked_in)]
        raise MissingCredentials(f"{service} needs an API key and none was found", looked_in=looked_in)
    return ServiceChoice(
        service,
        "asked for" if name else "WIRO_SERVICE" if asked else f"a key was found ({found.source})",
        base_url,
        socket_url,
        found.source,
        found.looked_in,
        found.credentials,
    )


def _wiro_variables(environ: Mapping[str, str]) -> Mapping[str, str]:
    # Not the whole environment: a traceback that lists variables would show all other variables.
    ours = {name: value for name, value in environ.items() if name.startswith("WIRO_")}
    return {name: SecretText(value) if "_API_" in name else value for name, value in ours.items()}


def addresses_of(name: str, folder: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """Returns base URL and WebSocket address of a service that is not free.

    Raises:
        ConfigError: There is no service of this name, its address holds a login, or the key would travel
            unencrypted.
    """
    addresses = _find_addresses(name, folder, environ)
    for address in addresses:
        _check_address(address, environ)
    return addresses


def _check_address(address: str, environ: Mapping[str, str]) -> None:
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ConfigError(
            "the address of a service holds no login: it would stay in the notebook and in records",
            hint="%wiro use with the address alone; the key comes from %wiro login",
        )
    if parts.scheme in ("http", "ws") and parts.hostname not in LOOPBACK and not environ.get(ALLOW_HTTP):
        raise ConfigError(
            f"the key would travel unencrypted to {parts.hostname}: its address begins with {parts.scheme}://",
            hint=f"use https://, or set {ALLOW_HTTP}=1 where the network is trusted",
        )


def _find_addresses(name: str, folder: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    if name.lower() == CLOUD:
        base_url = environ.get("WIRO_BASE_URL", "").strip() or CLOUD_BASE_URL
        asked = environ.get("WIRO_SOCKET_URL", "").strip()
        return base_url, asked or (CLOUD_SOCKET_URL if base_url == CLOUD_BASE_URL else socket_url_for(base_url))
    if "://" in name:
        return name, socket_url_for(name)
    named = named_services(folder)
    if name not in named:
        known = ", ".join((SANDBOX, LOCAL, CLOUD, *named))
        raise ConfigError(
            f"there is no service named {name}", details=[f"known: {known}"], hint="%wiro use sandbox"
        )
    base_url, socket_url = named[name]
    return base_url, socket_url or socket_url_for(base_url)


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


@dataclass(frozen=True, slots=True)
class FoundCredentials:
    """The outcome of a search.

    Attributes:
        credentials: What was found, or None.
        source: "environment", "keyring", "file" or "".
        looked_in: Each place with what was found there, for people.
    """

    credentials: Credentials | None
    source: str
    looked_in: tuple[tuple[str, str], ...]


def find_credentials(name: str, data_dir: Path, *, environ: Mapping[str, str] | None = None) -> FoundCredentials:
    """Looks for the key of a service.

    Args:
        name: The service, e.g. "cloud".
        data_dir: Folder of the credentials file.
        environ: In place of the process's environment.
    """
    looked: list[tuple[str, str]] = []
    for source, place, credentials, finding in _search(name, data_dir, os.environ if environ is None else environ):
        looked.append((place, finding))
        if credentials is not None:
            return FoundCredentials(credentials, source, tuple(looked))
    return FoundCredentials(None, "", tuple(looked))


def _search(
    name: str, data_dir: Path, environ: Mapping[str, str]
) -> Iterator[tuple[str, str, Credentials | None, str]]:
    yield "environment", "WIRO_API_KEY", *_find_in_environment(name, environ)
    yield "keyring", "keyring", *_find_in_keyring(name)
    yield "file", FILE_NAME, *_find_in_file(name, data_dir)


def _find_in_environment(name: str, environ: Mapping[str, str]) -> tuple[Credentials | None, str]:
    key = SecretText(environ.get("WIRO_API_KEY", "").strip())
    if not key:
        return None, "not set"
    # No other service may see the cloud's key, except an address that replaces the cloud's.
    address = environ.get("WIRO_BASE_URL", "").strip().rstrip("/")
    if name.lower() != CLOUD and (not address or name.rstrip("/") != address):
        return None, "set, but it is for the cloud or the address in WIRO_BASE_URL"
    return Credentials(key, SecretText(environ.get("WIRO_API_SECRET", "").strip()) or None), "set"


def _find_in_keyring(name: str) -> tuple[Credentials | None, str]:
    try:
        keyring = _keyring()
        if keyring is None:
            return None, "not installed"
        return _to_credentials(name, json.loads(keyring.get_password(KEYRING_SERVICE, name) or "null"))
    except Exception as error:  # a locked or broken keyring must not stop the search
        return None, f"not readable ({type(error).__name__})"


def _find_in_file(name: str, data_dir: Path) -> tuple[Credentials | None, str]:
    if not (data_dir / FILE_NAME).exists():
        return None, "no such file"
    return _to_credentials(name, _read_file(data_dir).get(name))


def _to_credentials(name: str, entry: Any) -> tuple[Credentials | None, str]:
    if not isinstance(entry, dict) or not entry.get("key"):
        return None, f"no key for {name}"
    return Credentials(str(entry["key"]), entry.get("secret") or None), "found"


def named_services(data_dir: Path) -> dict[str, tuple[str, str | None]]:
    """Returns the base URL and, where one was given, the WebSocket address of each service named at login."""
    entries = ((name, entry) for name, entry in sorted(_read_file(data_dir).items()) if isinstance(entry, dict))
    return {
        name: (str(entry["base_url"]), entry.get("socket_url") or None)
        for name, entry in entries
        if entry.get("base_url")
    }


def save_credentials(
    name: str,
    credentials: Credentials,
    data_dir: Path,
    *,
    base_url: str | None = None,
    socket_url: str | None = None,
) -> str:
    """Stores a key for later sessions and returns where ("keyring" or "file").

    Args:
        name: The service, "cloud" or a name of the user's own.
        credentials: The key and, for signature projects, the secret.
        data_dir: Folder of the credentials file.
        base_url: Address of a named service; None for the cloud.
        socket_url: Its WebSocket address; None derives it from `base_url`.

    Raises:
        ConfigError: The file cannot be written.
    """
    entries = _read_file(data_dir)
    entry: dict[str, Any] = {"base_url": base_url, "socket_url": socket_url} if base_url else {}
    secrets = {"key": credentials.key, "secret": credentials.secret}
    place = "keyring" if _store_in_keyring(name, json.dumps(secrets)) else "file"
    if place == "file":
        entry |= secrets
    if entry:
        entries[name] = entry
    else:
        entries.pop(name, None)
    _write_file(entries, data_dir)
    return place


def forget_credentials(name: str, data_dir: Path) -> bool:
    """Removes a stored key from keyring and file; True when there was one. The environment stays as it is."""
    removed = _store_in_keyring(name, None)
    entries = _read_file(data_dir)
    if entries.pop(name, None) is not None:
        _write_file(entries, data_dir)
        removed = True
    return removed


def _read_file(data_dir: Path) -> dict[str, Any]:
    try:
        data = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_file(entries: Mapping[str, Any], data_dir: Path) -> None:
    path = data_dir / FILE_NAME
    try:
        if not entries:
            path.unlink(missing_ok=True)
            return
        data_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(entries, indent=2).encode(), mode=0o600)
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
