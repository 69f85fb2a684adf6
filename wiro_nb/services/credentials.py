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
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class NamedService:
    """A service named by the user: its addresses, as stored in the credentials file."""

    base_url: str
    socket_url: str | None


def find_credentials(name: str, data_dir: Path, *, environ: Mapping[str, str] | None = None) -> FoundCredentials:
    """Looks for the key of a service.

    Args:
        name: The service, e.g. "cloud".
        data_dir: Folder of the credentials file.
        environ: In place of the process's environment.
    """
    environ = os.environ if environ is None else environ
    looked: list[tuple[str, str]] = []
    key = SecretText(environ.get("WIRO_API_KEY", "").strip())
    if key and not _is_for_environment_key(name, environ):
        looked.append(("WIRO_API_KEY", "set, but it is for the cloud or the address in WIRO_BASE_URL"))
    elif key:
        secret = SecretText(environ.get("WIRO_API_SECRET", "").strip()) or None
        return FoundCredentials(Credentials(key, secret), "environment", (("WIRO_API_KEY", "set"),))
    else:
        looked.append(("WIRO_API_KEY", "not set"))
    stored, finding = _read_keyring(name)
    looked.append(("keyring", finding))
    if stored is not None:
        return FoundCredentials(stored, "keyring", tuple(looked))
    entry, finding = _file_entry(name, data_dir)
    looked.append((FILE_NAME, finding))
    return FoundCredentials(entry, "file" if entry else "", tuple(looked))


def _is_for_environment_key(name: str, environ: Mapping[str, str]) -> bool:
    """True for the cloud and the address that stands in for it: no other service may see the cloud's key."""
    address = environ.get("WIRO_BASE_URL", "").strip().rstrip("/")
    return name.lower() == CLOUD or (bool(address) and name.rstrip("/") == address)


def find_named(name: str, data_dir: Path) -> NamedService | None:
    """Returns the addresses of a service named at login, or None."""
    entry = _read_file(data_dir).get(name)
    if not isinstance(entry, dict) or not entry.get("base_url"):
        return None
    return NamedService(str(entry["base_url"]), entry.get("socket_url") or None)


def named_services(data_dir: Path) -> tuple[str, ...]:
    """Returns the names of the user's own services, for `%wiro use`."""
    entries = _read_file(data_dir)
    return tuple(
        sorted(name for name, entry in entries.items() if isinstance(entry, dict) and entry.get("base_url"))
    )


def save_credentials(
    name: str,
    credentials: Credentials,
    data_dir: Path,
    *,
    base_url: str | None = None,
    socket_url: str | None = None,
    use_keyring: bool = True,
) -> str:
    """Stores a key for later sessions and returns where ("keyring" or "file").

    Args:
        name: The service, "cloud" or a name of the user's own.
        credentials: The key and, for signature projects, the secret.
        data_dir: Folder of the credentials file.
        base_url: Address of a named service; None for the cloud.
        socket_url: Its WebSocket address; None derives it from `base_url`.
        use_keyring: False writes the file even where a keyring is at hand.

    Raises:
        ConfigError: The file cannot be written.
    """
    entries = _read_file(data_dir)
    entry: dict[str, Any] = {"base_url": base_url, "socket_url": socket_url} if base_url else {}
    place = "keyring"
    if not (use_keyring and _write_keyring(name, credentials)):
        entry |= {"key": credentials.key, "secret": credentials.secret}
        place = "file"
    if entry:
        entries[name] = entry
    else:
        entries.pop(name, None)
    _write_file(entries, data_dir)
    return place


def forget_credentials(name: str, data_dir: Path) -> bool:
    """Removes a stored key from keyring and file; True when there was one. The environment stays as it is."""
    removed = _delete_keyring(name)
    entries = _read_file(data_dir)
    if entries.pop(name, None) is not None:
        _write_file(entries, data_dir)
        removed = True
    return removed


def _file_entry(name: str, data_dir: Path) -> tuple[Credentials | None, str]:
    path = data_dir / FILE_NAME
    if not path.exists():
        return None, "no such file"
    entry = _read_file(data_dir).get(name)
    if not isinstance(entry, dict) or not entry.get("key"):
        return None, f"no key for {name}"
    return Credentials(str(entry["key"]), entry.get("secret") or None), "found"


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


def _read_keyring(name: str) -> tuple[Credentials | None, str]:
    try:
        keyring = _keyring()
        if keyring is None:
            return None, "not installed"
        text = keyring.get_password(KEYRING_SERVICE, name)
        if not text:
            return None, f"no key for {name}"
        entry = json.loads(text)
        return Credentials(str(entry["key"]), entry.get("secret") or None), "found"
    except Exception as error:  # a locked or broken keyring must not stop the search
        return None, f"not readable ({type(error).__name__})"


def _write_keyring(name: str, credentials: Credentials) -> bool:
    with contextlib.suppress(Exception):
        keyring = _keyring()
        if keyring is not None:
            text = json.dumps({"key": credentials.key, "secret": credentials.secret})
            keyring.set_password(KEYRING_SERVICE, name, text)
            return True
    return False


def _delete_keyring(name: str) -> bool:
    with contextlib.suppress(Exception):
        keyring = _keyring()
        if keyring is not None and keyring.get_password(KEYRING_SERVICE, name):
            keyring.delete_password(KEYRING_SERVICE, name)
            return True
    return False
