"""Selects the service of runs: the sandbox, local models, the cloud, or a named service.

Choosing costs no connection and starts nothing; `services.connection` connects at first use.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from wiro_nb.api import CLOUD_BASE_URL, CLOUD_SOCKET_URL, LOOPBACK, Service
from wiro_nb.config import FREE_SERVICES, LOCAL, SANDBOX
from wiro_nb.errors import ConfigError, MissingCredentials
from wiro_nb.services.credentials import CLOUD, find_credentials, named_services, read_variable

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
        return "http://127.0.0.1/v1" if self.service is None else self.service.base_url

    @property
    def label(self) -> str:
        """The service as a heading names it."""
        return f"{self.name}, free" if self.is_free else self.name

    @property
    def free_label(self) -> str:
        """Returns "free, sandbox" or "free, on this machine"; "" for a service that may bill."""
        return FREE_SERVICES.get(self.name, "")

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
    asked = (name or read_variable("WIRO_SERVICE")).strip()
    reason = "asked for" if name else "WIRO_SERVICE"
    if asked.lower() in FREE_SERVICES:
        return ServiceChoice(asked.lower(), reason)
    chosen = CLOUD if asked.lower() in ("", CLOUD) else asked
    try:
        credentials, source = find_credentials(chosen)
    except MissingCredentials:
        if not asked:
            return ServiceChoice(SANDBOX, "no key was found")
        find_service(chosen)  # an unknown name is told before a missing key
        raise
    service = replace(find_service(chosen), credentials=credentials)
    return ServiceChoice(chosen, reason if asked else f"a key was found ({source})", service, source)


def find_service(name: str, base_url: str | None = None, socket_url: str | None = None) -> Service:
    """Returns a service that is not free, without its key.

    Args:
        name: "cloud", a named one or a URL.
        base_url: In place of the address that is known for this name.
        socket_url: The WebSocket address, in the same way.

    Raises:
        ConfigError: There is no service of this name, its address is none or holds a login, or the key would
            travel unencrypted.
    """
    known = (base_url, None) if base_url else _find_addresses(name)
    addresses = known[0], socket_url or known[1] or ""
    if any("@" in address for address in addresses):
        raise ConfigError(
            "the address of a service holds no login: it would stay in the notebook and in records",
            hint="%wiro use with the address alone; the key comes from %wiro login",
        )
    service = Service(name, *addresses)
    for parts in map(urlsplit, (service.base_url, service.socket_url)):
        if parts.scheme in ("http", "ws") and parts.hostname not in LOOPBACK and not read_variable(ALLOW_HTTP):
            raise ConfigError(
                f"the key would travel unencrypted to {parts.hostname}: its address begins with {parts.scheme}://",
                hint=f"use https://, or set {ALLOW_HTTP}=1 where the network is trusted",
            )
    return service


def _find_addresses(name: str) -> tuple[str, str | None]:
    if name.lower() == CLOUD:
        base_url = read_variable("WIRO_BASE_URL") or CLOUD_BASE_URL
        socket_url = read_variable("WIRO_SOCKET_URL")
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
