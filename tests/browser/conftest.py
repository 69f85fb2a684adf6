"""A real Jupyter server and a real Chromium, one each for the session.

`open_notebook` writes a notebook from source cells, opens it in JupyterLab or Notebook 7, and runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import SandboxProcess

from .static_page import StaticPage, StaticPages

INSTALL_HINT = "Chromium is missing: python -m playwright install chromium"
START_DEADLINE_S = 120
READY_MS = 120_000
REOPEN_MS = 20_000
ACTION_MS = 60_000  # a machine with other work takes seconds for a click
ANSWER_DEADLINE_S = 60


@dataclass(frozen=True)
class Server:
    """A running server: address with a final slash, and the folder it serves."""

    url: str
    token: str
    root: Path


@dataclass
class NotebookPage:
    """A notebook open in the browser."""

    page: Any
    path: Path
    messages: list[str]

    def listen(self) -> None:
        """Keeps what the page says on its console."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)

    def unlisten(self) -> None:
        """Ends `listen`."""
        self.page.remove_listener("console", self._on_console)
        self.page.remove_listener("pageerror", self._on_error)

    def _on_console(self, message: Any) -> None:
        self.messages.append(f"{message.type}: {message.text}")

    def _on_error(self, error: Any) -> None:
        self.messages.append(f"pageerror: {error}")

    def wait_for_kernel(self) -> None:
        """Waits until the page is connected to its kernel."""
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp?.shell?.currentWidget;
                return panel?.sessionContext?.session?.kernel?.connectionStatus === 'connected';
            }""",
            timeout=READY_MS,
        )

    def answer(self, expression: str) -> str:
        """Returns what an expression is in the kernel, as text."""
        code = """async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const request = {code: '0', user_expressions: {x: code}, store_history: false};
            const reply = await kernel.requestExecute(request).done;
            const result = reply.content.user_expressions.x;
            return result.status === 'ok' ? result.data['text/plain'] : `${result.ename}: ${result.evalue}`;
        }"""
        return str(self.page.evaluate(code, expression))

    def wait_for_answer(self, expression: str, wanted: str) -> None:
        """Waits until an expression is `wanted` in the kernel."""
        deadline = time.monotonic() + ANSWER_DEADLINE_S
        while (found := self.answer(expression)) != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} is {found}, not {wanted}")
            self.page.wait_for_timeout(50)

    def wait_for_runs(self, status: str, count: int = 1) -> None:
        """Waits until the open notebook holds so many runs, all of a status, and an output with such a record."""
        self.page.wait_for_function(
            """([status, count]) => {
                const model = window.jupyterapp.shell.currentWidget.context.model;
                const outputs = [...model.cells].flatMap((cell) => cell.outputs?.toJSON() ?? []);
                const runs = Object.values(model.sharedModel.getMetadata('wiro')?.runs ?? {});
                return runs.length === count && runs.every((record) => record.status === status)
                  && outputs.some((output) => output.metadata?.wiro?.status === status);
            }""",
            arg=[status, count],
        )

    def run_all(self) -> None:
        """Runs every cell and waits until each has its execution count."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const cells = [...(panel?.content?.model?.cells ?? [])].filter((cell) => cell.type === 'code');
                return cells.length > 0 && cells.every((cell) => cell.executionCount !== null);
            }""",
            timeout=READY_MS,
        )

    def use_theme(self, theme: str) -> None:
        """Switches the theme: "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        light = "false" if "Dark" in theme else "true"
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")

    def execute(self, source: str) -> None:
        """Runs code in the kernel, as no cell, and waits for its end."""
        self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                await kernel.requestExecute({code, silent: false, store_history: false}).done;
            }""",
            source,
        )

    def reopen(self) -> None:
        """Closes the notebook and opens it again in the same JupyterLab; its kernel goes on."""
        path = self.page.evaluate(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const {path} = panel.context;
                panel.dispose();
                return path;
            }"""
        )
        self.page.evaluate(OPEN_IN_LAB, path)
        self.page.wait_for_function(IS_OPEN, arg=path, timeout=READY_MS)
        self.wait_for_kernel()

    def saved(self) -> dict[str, Any]:
        """Saves the notebook and returns the file's content.

        What JupyterLab itself writes meanwhile, such as the kernel's language once it is known, is saved as well.
        """
        save = """async () => {
            await window.jupyterapp.commands.execute('docmanager:save');
            return window.jupyterapp.shell.currentWidget.context.model.dirty;
        }"""
        deadline = time.monotonic() + ANSWER_DEADLINE_S
        while self.page.evaluate(save):
            if time.monotonic() > deadline:
                raise AssertionError("the notebook changes on and on")
            self.page.wait_for_timeout(50)
        return json.loads(self.path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def jupyter_server(
    start_shared_sandbox: Callable[..., SandboxProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("jupyter")
    start_shared_sandbox(
        "--engine", "instant", "--speed", "20", "--balance", "1000", data=base / "wiro" / "sandbox"
    )
    with run_server(base, "--ServerApp.base_url=/user/maja/") as server:
        yield server


@contextlib.contextmanager
def run_server(base: Path, *words: str, shared: bool = False) -> Iterator[Server]:
    """Runs a Jupyter server on a folder of its own.

    Args:
        base: An empty folder for everything it keeps; notebooks are in `base / "root"`.
        *words: Further words of its command line.
        shared: True lets several people work in one notebook, where jupyter-collaboration is installed.
    """
    root = base / "root"
    root.mkdir()
    settings = base / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        "IPYTHONDIR": str(base / "ipython"),
        "WIRO_DATA_DIR": str(base / "wiro"),
        "WIRO_SERVICE": "sandbox",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ip=127.0.0.1"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}", "--ServerApp.port_retries=0"]
    command += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
    command += words
    if not shared and find_spec("jupyter_server_ydoc") is not None:
        command.append("--YDocExtension.disable_rtc=True")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if sys.platform != "win32":  # as `kernel_manager` does: a free port may be taken before the kernel binds it
        command.append("--KernelManager.transport=ipc")
    with tempfile.TemporaryDirectory(prefix="jupyter") as runtime, (base / "server.log").open("wb") as log:
        environment["JUPYTER_RUNTIME_DIR"] = runtime  # short: it is part of the paths of sockets
        process = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log)
        try:
            yield Server(_wait_for_address(process, Path(runtime), base / "server.log"), token, root)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _wait_for_address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Reads the address from the file the server writes once it listens."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        for found in runtime.glob("jpserver-*.json"):
            try:
                return str(json.loads(found.read_text(encoding="utf-8"))["url"])
            except (ValueError, KeyError):
                continue
        if process.poll() is not None:
            break
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"The Jupyter server did not start:\n{said[-3000:]}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason=INSTALL_HINT)
    playwright.expect.set_options(timeout=ACTION_MS)
    engine = playwright.sync_playwright().start()
    browser = None
    try:
        browser = launch_chromium(engine)
        if browser is None:
            pytest.skip(INSTALL_HINT)
        yield browser
    finally:
        with _playwrights_turn():
            if browser is not None:
                browser.close()
            engine.stop()


_suspended_loop: asyncio.AbstractEventLoop | None = None


@contextlib.contextmanager
def _playwrights_turn() -> Iterator[None]:
    """Playwright's loop counts as this thread's running one here, and nowhere else.

    From its start to its end it would count as running, and a test that has no browser and comes
    between (the processes of the suite take tests from each other) could not start a loop of its own.
    """
    global _suspended_loop
    if asyncio._get_running_loop() is None:
        asyncio._set_running_loop(_suspended_loop)
    try:
        yield
    finally:
        _suspended_loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Gives Playwright its turn in the tests with a browser."""
    if item.get_closest_marker("browser") is None:
        return (yield)
    with _playwrights_turn():
        return (yield)


def expect(locator: Any) -> Any:
    """Playwright's assertions about what the page comes to show: they wait."""
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(locator)


def launch_chromium(engine: Any) -> Any | None:
    """Returns a browser, the bundled one or one of the machine; None where there is none."""
    bundled = Path(engine.chromium.executable_path)
    found = os.environ.get("WIRO_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not bundled.exists() and not found:
        return None
    words = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    return engine.chromium.launch(executable_path=None if bundled.exists() else found, args=words)


OpenNotebook = Callable[..., NotebookPage]

OPEN_IN_LAB = """async (path) => {
    const app = window.jupyterapp;
    await app.commands.execute('docmanager:open', {path});
}"""
CLOSE_ALL = """async () => {
    for (const panel of [...(window.jupyterapp?.shell?.widgets('main') ?? [])]) {
        const session = panel.sessionContext;
        if (!session) continue;
        try { await session.shutdown(); } catch { /* it is gone already */ }
        try { panel.dispose(); } catch { /* a test took the page apart */ }
    }
}"""
IS_OPEN = """(path) => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.path === path && panel.context.isReady;
}"""


class Desk:
    """One page for JupyterLab, loaded once for all tests, and one for Notebook 7."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._pages: dict[tuple[str, str], Any] = {}

    def page(self, server: Server, app: str) -> Any:
        """Returns the page of an app, made at first use."""
        key = (server.url, app)
        if key not in self._pages:
            context = self._browser.new_context(
                viewport={"width": 1200, "height": 1000}, permissions=["clipboard-read", "clipboard-write"]
            )
            context.set_default_timeout(ACTION_MS)
            self._pages[key] = context.new_page()
        return self._pages[key]

    def visit(self, server: Server, app: str, name: str) -> Any:
        """Shows a notebook, and nothing else, in the page of an app."""
        page = self.page(server, app)
        if app != "lab" or not self._reopen(page, name):
            where = f"lab/workspaces/{secrets.token_hex(4)}/tree/{name}" if app == "lab" else f"notebooks/{name}"
            page.goto(f"{server.url}{where}?token={server.token}")
            page.wait_for_function(IS_OPEN, arg=name, timeout=READY_MS)
            if app == "lab":
                page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        return page

    def _reopen(self, page: Any, name: str) -> bool:
        """Opens a notebook in a JupyterLab that is there already; False when there is none, or it is stuck."""
        if not page.evaluate("() => Boolean(window.jupyterapp)"):
            return False
        page.evaluate(CLOSE_ALL)
        page.evaluate(OPEN_IN_LAB, name)
        try:
            page.wait_for_function(IS_OPEN, arg=name, timeout=REOPEN_MS)
        except Exception as error:
            if type(error).__name__ != "TimeoutError":
                raise
            return False
        return True

    def tidy(self) -> None:
        """Ends the kernels of a test, forgets what a person chose, and closes all pages but JupyterLab's."""
        for (url, app), page in list(self._pages.items()):
            page.evaluate(CLOSE_ALL)
            page.evaluate("() => localStorage.clear()")
            if app != "lab":
                del self._pages[url, app]
                page.context.close()


@pytest.fixture(scope="session")
def static_pages(chromium: Any) -> StaticPages:
    return StaticPages(chromium)


@pytest.fixture
def static_page(static_pages: StaticPages) -> Iterator[StaticPage]:
    with static_pages.open() as page:
        yield page


@pytest.fixture(scope="session")
def desk(chromium: Any) -> Desk:
    return Desk(chromium)


@pytest.fixture
def open_notebook(desk: Desk, jupyter_server: Server) -> Iterator[OpenNotebook]:
    """Gives `open_notebook(cells, app="lab", width=1200, run=True)`."""
    opened: list[NotebookPage] = []

    def open_it(
        cells: list[str] | Path,
        *,
        app: str = "lab",
        width: int = 1200,
        run: bool = True,
        reduced_motion: bool = True,
    ) -> NotebookPage:
        if isinstance(cells, Path):
            path = cells
        else:
            path = jupyter_server.root / f"{secrets.token_hex(6)}.ipynb"
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(notebook, path)
        page = desk.page(jupyter_server, app)
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(reduced_motion="reduce" if reduced_motion else "no-preference")
        found = NotebookPage(page, path, [])
        found.listen()
        opened.append(found)
        desk.visit(jupyter_server, app, path.relative_to(jupyter_server.root).as_posix())
        found.wait_for_kernel()
        if page.evaluate("() => document.body.dataset.jpThemeLight") == "false":
            found.use_theme("JupyterLab Light")
        if run:
            found.run_all()
        return found

    yield open_it
    for found in opened:
        found.unlisten()
    desk.tidy()
