"""Drives a kernel as a front end does, and reads what a cell gave."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import papermill
from jupyter_client import AsyncKernelClient, BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from traitlets.config import Config

from tests.notebook.reset import RESET

REPLY_TIMEOUT_S = 60.0
CLIP_MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
# Small clips: what is tested here is the way to the notebook and back, not the painter.
SMALL = "numFrames=5 steps=2"


@contextmanager
def own_sockets() -> Iterator[Config]:
    """Gives the configuration of a kernel that listens on sockets in a folder of its own.

    A TCP port is found free by one process and bound by another, and meanwhile taken by a third: with several
    kernels at once that happens. The folder is not pytest's: a socket's path may have some 100 letters only.
    """
    if sys.platform == "win32":
        yield Config()
        return
    with tempfile.TemporaryDirectory(prefix="kernel") as folder:
        yield Config(KernelManager=Config(transport="ipc", ip=f"{folder}/k"))


class _OnRunningKernel(NotebookClient):
    """Executes a notebook on a kernel that runs already, through a client and message session of its own."""

    async def async_start_new_kernel_client(self, **_kwargs: Any) -> AsyncKernelClient:
        assert self.km is not None
        self.kc = AsyncKernelClient()
        self.kc.load_connection_info(self.km.get_connection_info())
        self.kc.start_channels()
        await self.kc.wait_for_ready(timeout=REPLY_TIMEOUT_S)
        self.kc.allow_stdin = False
        return self.kc


def execute_on(kernel: LiveKernel, nb: Any, folder: Path) -> Any:
    """Executes a notebook as programs do, on a kernel that is made as good as new first, and returns it."""
    kernel.reset(folder)
    client = _OnRunningKernel(nb, km=kernel.manager, timeout=120)
    try:
        client.execute()
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    return nb


def execute_in_new_kernel(nb: Any, folder: Path, *, timeout_s: int = 120) -> Any:
    """Executes a notebook in a folder as programs do, in a new kernel, and returns it."""
    with own_sockets() as config:
        client = NotebookClient(
            nb, timeout=timeout_s, config=config, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return nb


def execute_with_papermill(source: Path, target: Path, **options: Any) -> None:
    """Executes a notebook's file; `options` are papermill's own."""
    with own_sockets() as config:
        papermill.execute_notebook(source, target, config=config, progress_bar=False, **options)


def convert_executed(notebook: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Executes a notebook with nbconvert's command, in the notebook's folder."""
    with own_sockets() as config:
        sockets = [f"--KernelManager.{name}={value}" for name, value in config.KernelManager.items()]
        command = [sys.executable, "-m", "nbconvert", "--execute", *words, *sockets, notebook.name]
        return subprocess.run(command, cwd=notebook.parent, capture_output=True, timeout=240, check=False)


@contextmanager
def live_client(folder: Path, **options: Any) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """Gives a kernel that is ready, with a client; it is ended afterwards.

    Args:
        folder: The kernel's working folder; its environment is this process's.
        **options: For `KernelManager.start_kernel`.
    """
    with own_sockets() as config:
        manager = KernelManager(kernel_name="python3", config=config)
        manager.start_kernel(cwd=str(folder), env=dict(os.environ), **options)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=REPLY_TIMEOUT_S)
            yield manager, client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


class Answer:
    """What one cell gave: its messages, the reply, and everything heard until it was over, of other cells too."""

    def __init__(self, messages: list[dict[str, Any]], reply: dict[str, Any], heard: list[dict[str, Any]]) -> None:
        self.messages, self.reply, self.heard = messages, reply, heard

    @property
    def status(self) -> str:
        return str(self.reply["content"]["status"])

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Contents of displayed and returned outputs."""
        return self.of("display_data", "execute_result")

    @property
    def text(self) -> str:
        """Everything a person could read as text."""
        plain = [content["data"].get("text/plain", "") for content in self.shown]
        streams = [content["text"] for content in self.of("stream")]
        errors = ["\n".join(content["traceback"]) for content in self.of("error")]
        return "\n".join([*plain, *streams, *errors])


class LiveKernel:
    """A kernel driven as a live front end drives it: `allow_stdin` is true."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def start(self, code: str, *, live: bool = True) -> str:
        """Sends a cell and returns its message's id.

        A failing cell must not drop the cells sent after it ("Run all" does that): the tests send one at a time.
        """
        return str(self.client.execute(code, allow_stdin=live, stop_on_error=False))

    def run(self, code: str, *, live: bool = True) -> Answer:
        """Runs a cell and returns what it gave."""
        message_id = self.start(code, live=live)
        reply = self.reply_to(message_id)
        messages: list[dict[str, Any]] = []
        heard: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=REPLY_TIMEOUT_S)
            heard.append(message)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return Answer(messages, reply, heard)
            messages.append(message)

    def reply_to(self, message_id: str) -> dict[str, Any]:
        """Returns the answer to a request."""
        while True:
            reply: dict[str, Any] = self.client.get_shell_msg(timeout=REPLY_TIMEOUT_S)
            if reply["parent_header"].get("msg_id") == message_id:
                return reply

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], *, since: Answer | None = None) -> dict[str, Any]:
        """Returns the first message on the output channel that fits; `since`: a cell it may have come in."""
        for message in since.heard if since else ():
            if wanted(message):
                return message
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                message: dict[str, Any] = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if wanted(message):
                return message
        raise AssertionError("the message did not come")

    def tell(self, comm_id: str, content: dict[str, Any]) -> None:
        """Sends a message of a page to a widget of the kernel."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)

    def reset(self, folder: Path) -> None:
        """Makes the kernel as good as new: extension unloaded, no variables, this process's environment."""
        code = RESET.format(environment=dict(os.environ), folder=str(folder))
        answer = self.run(code, live=False)
        assert answer.status == "ok", answer.text

    def restart(self) -> None:
        """Kills the kernel and starts it again, until it answers on both channels.

        The client's own `wait_for_ready` takes any message for that, also one the killed kernel left behind; what
        the new one says before the output channel is connected would be lost.
        """
        self.manager.restart_kernel(now=True)
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        while True:
            asked = self.client.kernel_info()
            try:
                for listen in (self.client.get_shell_msg, self.client.get_iopub_msg):
                    while listen(timeout=1)["parent_header"].get("msg_id") != asked:
                        pass
                return
            except queue.Empty:
                assert time.monotonic() < deadline, "the kernel did not come back"

    def complete(self, code: str) -> list[str]:
        """Returns the texts a front end would offer with the cursor at the end."""
        message_id = self.client.complete(code, len(code))
        return list(self.reply_to(message_id)["content"]["matches"])

    def complete_whole(self, code: str, cursor: int) -> list[str]:
        """Returns the whole cells that accepting an offer would leave."""
        content = self.reply_to(self.client.complete(code, cursor))["content"]
        return [
            code[: content["cursor_start"]] + text + code[content["cursor_end"] :] for text in content["matches"]
        ]
