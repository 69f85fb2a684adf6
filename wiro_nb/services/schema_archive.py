"""Archive of the model schemas that runs were planned with, by hash: a later replay can name what has changed.

<data folder>/schemas/<sha256>.json
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from wiro_nb.files import write_atomically
from wiro_nb.schema.catalog import bundled_models
from wiro_nb.schema.types import ModelSchema, schema_from_dict

_log = logging.getLogger(__name__)
_FOLDER = "schemas"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def archive_schema(schema: ModelSchema, folder: Path) -> None:
    """Stores a schema, once each; a full disk must not stop a run, so it only goes to the log.

    Args:
        schema: The inputs.
        folder: The data folder.
    """
    path = folder / _FOLDER / f"{schema.sha256}.json"
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(schema.to_dict(), ensure_ascii=True).encode())
    except OSError as error:
        _log.info("the inputs of %s could not be stored: %s", schema.slug, error.strerror)


def find_schema(sha256: str | None, folder: Path) -> ModelSchema | None:
    """Returns the schema of this hash, archived or bundled; None when they are not known or were altered.

    Args:
        sha256: As a record names it.
        folder: The data folder.
    """
    if sha256 is None or _SHA256.fullmatch(sha256) is None:
        return None
    bundled = next((schema for schema in bundled_models() if schema.sha256 == sha256), None)
    if bundled is not None:
        return bundled
    try:
        archived = schema_from_dict(json.loads((folder / _FOLDER / f"{sha256}.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return archived if archived.sha256 == sha256 else None
