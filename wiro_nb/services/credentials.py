"""Finds, saves and removes the keys of services.

A key is looked for in the environment (`WIRO_API_KEY`, `WIRO_API_SECRET`; for the cloud or the address in
`WIRO_BASE_URL` only), then in the system's keyring when the `keyring` package is installed, and then in
`credentials.json` in the data folder, readable by its owner alone. It is never a trait and never in a record.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiro_nb.api import Credentials
from wiro_nb.config import data_dir
from wiro_nb.errors import ConfigError, MissingCredentials
from wiro_nb.files import write_atomically
from wiro_nb.redaction import SecretText

CLOUD = "cloud"
KEYRING_SERVICE = "wiro_nb"
FILE_NAME = "credentials.json"


def read_variable(name: str) -> str:
    """Returns a variable of the environment, "" when it is not set."""
    # Variables are looked up one by one: a traceback that lists local variables must not show the environment.
    return os.environ.get(name, "").strip()


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
    key = SecretText(read_variable("WIRO_API_KEY"))
    if not key:
        return None, "not set"
    # No other service may see the cloud's key, except an address that replaces the cloud's.
    address = read_variable("WIRO_BASE_URL").rstrip("/")
    if name.lower() != CLOUD and (not address or name.rstrip("/") != address):
        return None, "set, but it is for the cloud or the address in WIRO_BASE_URL"
    return Credentials(key, SecretText(read_variable("WIRO_API_SECRET")) or None), "set"


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
