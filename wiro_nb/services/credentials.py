"""Finds API keys, and stores those of `login`. A key is never a trait and never in a record.

Looked in, in this order: the environment (`WIRO_API_KEY`, `WIRO_API_SECRET`; for the cloud or the address in
`WIRO_BASE_URL` only), the system's keyring when the `keyring` package is installed, and `credentials.json` in the
data folder, readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.api.service import Credentials
from wiro_nb.errors import ConfigError
from wiro_nb.files import write_atomically
from wiro_nb.redaction import SecretText

KEYRING_SERVICE = "wiro_nb"
FILE_NAME = "credentials.json"
CLOUD = "cloud"


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
    # No other service may see the cloud's key, but for an address that stands in for the cloud.
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
