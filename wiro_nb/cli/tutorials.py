"""`wiro-nb lab` opens a copy of the tutorials in JupyterLab, `wiro-nb demo` executes the first one in a kernel."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.cli.output import Exit, say
from wiro_nb.config import ledger_path
from wiro_nb.errors import ConfigError, InputError, MissingExtra
from wiro_nb.formatting import format_status
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import Snapshot
from wiro_nb.provenance.find import records_in_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

QUICKSTART = "01-quickstart.ipynb"
DEFAULT_FOLDER = "wiro_tutorials"
DEMO_FOLDER = "wiro_demo"
CELL_TIMEOUT_S = 300
_POLL_S = 0.5


def lab(arguments: argparse.Namespace) -> int:
    """Opens the tutorials; ends when JupyterLab ends."""
    MissingExtra.require("this", "lab", "jupyterlab")
    folder = Path(arguments.folder or DEFAULT_FOLDER)
    copy_tutorials(folder)
    print(f"tutorials are in {folder}; stop JupyterLab with Ctrl-C", file=sys.stderr)
    command = [sys.executable, "-m", "jupyterlab", QUICKSTART, f"--port={arguments.port or 8888}"]
    if arguments.no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return run_child(command, folder)


def run_child(command: Sequence[str], folder: Path) -> int:
    """Runs a program in the foreground and ends it when this one is asked to end; returns its exit code."""
    child = subprocess.Popen(command, cwd=folder)
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sends Ctrl-C to the program too: it decides


def find_tutorials() -> Path:
    """Returns the folder of the tutorial notebooks: in the installed package, or beside it in a source checkout.

    Raises:
        ConfigError: The installation has none.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "tutorials", package.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise ConfigError(
        "the tutorials are not part of this installation", hint="python -m pip install --force-reinstall wiro_nb"
    )


def copy_tutorials(target: Path) -> list[Path]:
    """Copies the notebooks that are not there yet, so that changes made there stay.

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


def demo(arguments: argparse.Namespace) -> int:
    """Executes the quickstart and prints where notebook, HTML copy and clips are."""
    MissingExtra.require("this", "lab", "nbclient", "nbconvert", "ipykernel", "av", "uvicorn")
    source = find_tutorials() / QUICKSTART
    folder = _make_folder(arguments.out)
    target = folder / QUICKSTART
    say("running the quickstart on the sandbox (a free local service; no account, no cost)")
    notebook, failure = execute_notebook(source, target)
    page = _write_html(notebook, target)
    clips = list(_clips(notebook, folder))
    blank = [clip.name for clip in clips if not clip.with_name(f"{clip.stem}.poster.jpg").is_file()]
    if failure:
        say(f"the quickstart failed: {failure}")
        say(f"what was done so far: {target}")
    elif not clips:
        say(f"the quickstart made no clip; see {target}")
    elif blank:
        say(f"PyAV and Pillow made no poster of {', '.join(blank)}, so pages show no picture; see {target}")
        say('next: python -m pip install --upgrade "wiro_nb[lab]"')
    if failure or not clips or blank:
        return Exit.RUN
    for name, path in (("notebook", target), ("html", page), *(("clip", clip) for clip in clips)):
        print(f"{name:8}  {path}")
    say("open it yourself: wiro-nb lab")
    return Exit.DONE


def _make_folder(asked: str | None) -> Path:
    """Returns the folder asked for, or a new one, so that no earlier result is mistaken for this demo's."""
    names = itertools.chain([DEMO_FOLDER], (f"{DEMO_FOLDER}-{number}" for number in itertools.count(2)))
    folder = Path(asked or next(name for name in names if not Path(name).exists()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}", hint="wiro-nb demo --out DIR") from None
    results = [folder / QUICKSTART, (folder / QUICKSTART).with_suffix(".html")]
    if kept := [path for path in results if path.exists()]:  # maybe a tutorial that the user has edited
        raise InputError(f"{kept[0]} exists: it is kept", hint="wiro-nb demo --out NEW_DIR")
    return folder


def execute_notebook(source: Path, target: Path) -> tuple[NotebookNode, str]:
    """Executes a notebook in a kernel of this Python and writes the result, also when a cell fails.

    Args:
        source: The notebook to execute.
        target: Where the executed one goes; its folder is the kernel's.

    Returns:
        The executed notebook, and why it failed ("" when it did not).
    """
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    failure = asyncio.run(_execute(notebook, target.resolve()))
    nbformat.write(notebook, target)
    return notebook, failure


async def _execute(notebook: NotebookNode, target: Path) -> str:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    places = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"]

    def announce(cell: NotebookNode, cell_index: int) -> None:
        first, _, _ = cell.source.partition("\n")
        say(f"cell {places.index(cell_index) + 1} of {len(places)}: {first}")

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        resources={"metadata": {"path": str(target.parent)}},
        on_cell_execute=announce,
        kernel_name="python3",
        extra_arguments=["--log-level=40"],
    )
    own = {"WIRO_SERVICE": "sandbox", "WIRO_NOTEBOOK": str(target), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    watcher = asyncio.create_task(_show_progress(str(target)))
    try:
        await client.async_execute(env={**os.environ, **own})
    except CellExecutionError as error:
        reason, _, _ = error.evalue.strip().partition("\n")
        return f"{error.ename}: {reason or 'no reason given'}"
    except CellTimeoutError:
        return f"a cell took longer than {CELL_TIMEOUT_S} s"
    except DeadKernelError:
        return "the kernel died"
    finally:
        watcher.cancel()
    return ""


async def _show_progress(notebook: str) -> None:
    """Follows the notebook's runs in the ledger, which its kernel writes."""
    shown = ""
    ledger: Ledger | None = None
    while True:
        if ledger is None and ledger_path().exists():
            ledger = Ledger(ledger_path())
        for row in ledger.unfinished(notebook=notebook) if ledger is not None else ():
            text = f"  {row.model}: {format_status(Snapshot.of(row))}"
            if text != shown:
                say(text)
                shown = text
        await asyncio.sleep(_POLL_S)


def _write_html(notebook: NotebookNode, target: Path) -> Path:
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_notebook_node(notebook)
    page = target.with_suffix(".html")
    page.write_text(body, "utf-8")
    return page


def _clips(notebook: NotebookNode, folder: Path) -> Iterator[Path]:
    """Yields the files that the notebook's records name, where they exist."""
    for found in records_in_notebook(json.loads(json.dumps(notebook))).values():
        paths = (folder / output["path"] for output in found["outputs"] if output["path"])
        yield from (path for path in paths if path.is_file())
