"""Where a run's files lie beside the notebook, under names that are safe everywhere.

    wiro_outputs/<YYYY-MM-DD>-<model>-<short id>/   what a run made, with its poster and run.json
    wiro_outputs/.inputs/<sha256><ext>              what it was made from, each file once

Names from the service are never used as paths: `safe_name` comes first.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import Path, PurePosixPath
from shutil import copyfileobj

from wiro_nb.files import hash_file, replace_file, safe_name
from wiro_nb.ids import short_id

OUTPUTS_FOLDER = "wiro_outputs"
INPUTS_FOLDER = ".inputs"
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


def model_slug(model: str) -> str:
    """Returns a model's slug as part of a folder name: letters, digits and single dashes, at most 60."""
    name = model.rsplit("/", 1)[-1]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "model"


def run_folder_name(model: str, run_id: str, created: datetime) -> str:
    """Returns the name of a run's folder: date in local time, model, short id."""
    return f"{created.astimezone():%Y-%m-%d}-{model_slug(model)}-{short_id(run_id)}"


def resolve_inside(relative: str, base: Path) -> Path:
    """Returns the file that a relative path of a record means.

    Raises:
        ValueError: It is absolute or leads out of `base`.
    """
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or "\\" in relative or ":" in relative:
        raise ValueError(f"{relative!r} leads out of the folder")
    return base.joinpath(*parts.parts)


def input_path(base: Path, sha256: str, name: str) -> Path:
    """Returns where an input file of this content is kept under `base` (the notebook's folder)."""
    if re.fullmatch(r"[0-9a-f]{64}", sha256) is None:
        raise ValueError("sha256 is 64 hexadecimal digits")
    suffix = PurePosixPath(safe_name(name)).suffix.lower()
    return base / OUTPUTS_FOLDER / INPUTS_FOLDER / f"{sha256}{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def keep_input(source: Path, base: Path, sha256: str | None = None) -> Path:
    """Copies an input file into the store of inputs; a file that is there already is kept.

    A link would not do: an editor that writes into the original would change what the run was made from.

    Args:
        source: The file.
        base: The notebook's folder.
        sha256: Of its content, when known.

    Returns:
        The kept file. It appears whole or not at all.

    Raises:
        OSError: It cannot be read or written.
        ValueError: The file has changed since `sha256` was taken.
    """
    wanted = sha256 or hash_file(source)
    target = input_path(base, wanted, source.name)
    if target.is_file() and hash_file(target) == wanted:
        return target

    def check(copy: Path) -> None:
        if hash_file(copy) != wanted:
            raise ValueError(f"{source.name} changed while it was read")

    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original:
        replace_file(target, lambda copy: copyfileobj(original, copy), check=check)
    return target
