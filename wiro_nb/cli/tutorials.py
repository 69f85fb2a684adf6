"""Where the tutorial notebooks are: inside an installed package, or beside it in a source checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

import wiro_nb
from wiro_nb.errors import ConfigError

QUICKSTART = "01-quickstart.ipynb"


def find_tutorials() -> Path:
    """Returns the folder of the tutorial notebooks.

    Raises:
        ConfigError: The installation has none.
    """
    package = Path(wiro_nb.__file__).parent
    for folder in (package / "tutorials", package.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise ConfigError(
        "the tutorials are not part of this installation", hint="python -m pip install --force-reinstall wiro_nb"
    )


def copy_tutorials(target: Path) -> list[Path]:
    """Copies the notebooks that are not there yet, so that a person's own changes stay.

    Returns:
        The notebooks in the target folder, sorted.

    Raises:
        ConfigError: The folder cannot be written.
    """
    source = find_tutorials()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for item in sorted(source.iterdir()):
            if item.suffix == ".ipynb" and not (target / item.name).exists():
                shutil.copyfile(item, target / item.name)
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror}", hint="wiro-nb lab OTHER_FOLDER"
        ) from None
    return sorted(target.glob("*.ipynb"))
