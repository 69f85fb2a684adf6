"""Which service runs go to: the sandbox, the models on this machine, the cloud, or one the user named.

Choosing costs no connection and starts nothing; `services.connection` connects at first use.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from wiro_nb.api.service import CLOUD_BASE_URL, CLOUD_SOCKET_URL, LOOPBACK, Credentials, Service
from wiro_nb.config import FREE_SERVICES, data_dir
from wiro_nb.errors import ConfigError, MissingCredentials
from wiro_nb.redaction import SecretText
from wiro_nb.services.credentials import CLOUD, find_credentials, named_services

SANDBOX = "sandbox"
LOCAL = "local"
_FREE_LABELS = {SANDBOX: "free, sandbox", LOCAL: "free, on this machine"}
ALLOW_HTTP = "WIRO_ALLOW_HTTP"
"""Set to anything, it lets the key travel over plain http to other machines."""


@dataclass(frozen=True, slots=True)
class ServiceChoice:
    """A service that was chosen, before anything connects to it.

    Attributes:
        name: "sandbox", "local", "cloud", a name of the user's own, or a URL.
        is_free: True when nothing costs money: `FREE_SERVICES`.
        reason: Why this one, for people ("no key was found").
        base_url, socket_url: Addresses; empty for a free service, whose port is known once it runs.
        key_source: "environment", "keyring", "file" or "" (free services).
        looked_in: The places searched for a key, each with the finding.
    """

    name: str
    is_free: bool
    reason: str
    base_url: str = ""
    socket_url: str = ""
    key_source: str = ""
    looked_in: tuple[tuple[str, str], ...] = ()
    credentials: Credentials | None = field(default=None, repr=False)

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
    environ = _our_part(os.environ if environ is None else environ)
    folder = data_dir() if folder is None else folder
    asked = (name or environ.get("WIRO_SERVICE", "")).strip()
    if asked.lower() in FREE_SERVICES:
        return ServiceChoice(asked.lower(), True, "asked for" if name else "WIRO_SERVICE")
    service = asked if asked and asked.lower() != CLOUD else CLOUD
    found = find_credentials(service, folder, environ=environ)
    if not asked and found.credentials is None:
        return ServiceChoice(SANDBOX, True, "no key was found", looked_in=found.looked_in)
    base_url, socket_url = addresses_of(service, folder, environ)
    if found.credentials is None:
        looked_in = [*map(list, found.looked_in)]
        raise MissingCredentials(f"{service} needs an API key and none was found", looked_in=looked_in)
    return ServiceChoice(
        service,
        False,
        "asked for" if name else "WIRO_SERVICE" if asked else f"a key was found ({found.source})",
        base_url,
        socket_url,
        found.source,
        found.looked_in,
        found.credentials,
    )


def _our_part(environ: Mapping[str, str]) -> Mapping[str, str]:
    # Not the whole environment: a traceback that lists variables would show whatever else stands in it.
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
    """Returns the WebSocket address that stands beside a base URL: same host and path, `ws` or `wss`."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"{base_url} is not the address of a service", hint="%wiro use http://127.0.0.1:PORT/v1")
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path, "", ""))
