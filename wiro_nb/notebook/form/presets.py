"""Saved settings of forms: one small JSON file, by model and name. Standard library only."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from wiro_nb.errors import ConfigError

NAME_LENGTH = 60


class Presets(Protocol):
    """Where a form keeps presets."""

    def names(self, model: str) -> list[str]:
        """Returns the names of a model's presets."""

    def load(self, model: str, name: str) -> dict[str, Any] | None:
        """Returns the values of a preset, or None."""

    def save(self, model: str, name: str, values: Mapping[str, Any]) -> str:
        """Saves values under a name; returns the name as kept."""

    def delete(self, model: str, name: str) -> None:
        """Deletes a preset."""


class PresetStore:
    """Presets in a JSON file `{model: {name: {parameter: value}}}`; made when the first one is saved.

    Args:
        path: The file. A file that cannot be read counts as empty until something is saved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def names(self, model: str) -> list[str]:
        """Returns the names of a model's presets, sorted."""
        return sorted(self._read().get(model, {}), key=str.lower)

    def load(self, model: str, name: str) -> dict[str, Any] | None:
        """Returns the values of a preset, or None."""
        values = self._read().get(model, {}).get(name)
        return dict(values) if isinstance(values, dict) else None

    def save(self, model: str, name: str, values: Mapping[str, Any]) -> str:
        """Saves values under a name (cut to 60 characters), replacing an older preset; returns the name.

        Raises:
            ConfigError: The name is empty, or the file cannot be written.
        """
        clean = " ".join(name.split())[:NAME_LENGTH]
        if not clean:
            raise ConfigError("A preset needs a name.", hint="type a name, then Save")
        with self._lock:
            everything = self._read()
            everything.setdefault(model, {})[clean] = dict(values)
            self._write(everything)
        return clean

    def delete(self, model: str, name: str) -> None:
        """Deletes a preset; nothing happens when there is none.

        Raises:
            ConfigError: The file cannot be written.
        """
        with self._lock:
            everything = self._read()
            if everything.get(model, {}).pop(name, None) is not None:
                self._write(everything)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(data, dict):
            return {}
        return {str(model): presets for model, presets in data.items() if isinstance(presets, dict)}

    def _write(self, everything: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            part.write_text(json.dumps(everything, ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            raise ConfigError(f"Presets could not be saved: {error.strerror or error}.", hint="%wiro") from error
