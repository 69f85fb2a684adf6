"""The engine that forwards to a server with the /v1/videos API, against a server of our own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import until
from wiro_nb.sandbox.engines import EngineError, Job, Progress, Result
from wiro_nb.sandbox.engines.diffusers import VideosEngine

TI2V, VACE = "Wan-AI/Wan2.2-TI2V-5B-text-to-video", "pruna/vace"


class Server:
    """A server that makes "clip" after three looks; prompts `refuse`, `fail` and `endless` do otherwise."""

    def __init__(self) -> None:
        self.form = b""
        self.deleted: list[str] = []
        self.looks = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: Any) -> None:
                pass

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                server.form = self.rfile.read(int(self.headers["Content-Length"]))
                if b"refuse" in server.form:
                    self.reply(422, b'{"detail": "no such size"}')
                else:
                    self.reply(200, b'{"id": "v1", "status": "queued"}')

            def do_GET(self) -> None:
                if self.path.endswith("/content"):
                    self.reply(200, b"clip")
                    return
                server.looks += 1
                if server.looks < 3 or b"endless" in server.form:
                    self.reply(200, b'{"id": "v1", "status": "in_progress", "progress": 40}')
                elif b"fail" in server.form:
                    self.reply(200, b'{"id": "v1", "status": "failed", "error": {"message": "out of memory"}}')
                else:
                    self.reply(200, b'{"id": "v1", "status": "completed", "progress": 100}')

            def do_DELETE(self) -> None:
                server.deleted.append(self.path)
                self.reply(200, b"{}")

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


async def run(url: str, folder: Path, model: str, steps: list[Progress], **parameters: Any) -> Result:
    async def report(progress: Progress) -> None:
        steps.append(progress)

    return await VideosEngine(url, poll_s=0.01).run(Job(model, "clip", parameters, {}, folder), report)


def test_a_run_is_forwarded_and_the_record_says_what_is_not_known(server: Server, tmp_path: Path) -> None:
    steps: list[Progress] = []
    made = asyncio.run(run(server.url, tmp_path, VACE, steps, prompt="a boat", seed="7", sampleSolver="dpm++"))
    assert made.path.read_bytes() == b"clip"
    assert b'name="num_frames"\r\n\r\n81' in server.form
    assert b'name="flow_shift"\r\n\r\n16.0' in server.form
    assert [step.phase for step in steps] == ["load", "generate", "generate", "save"]
    assert (steps[1].step, steps[1].steps) == (40, 100)
    assert any("own solver" in note for note in steps[1].notes)
    assert (made.made_by["seed"], made.made_by["dtype"]) == (7, "unknown: the server does not say")
    assert server.deleted == ["/v1/videos/v1"]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("refuse", r"HTTP 422\): no such size"), ("fail", "could not make it: out of memory")],
)
def test_a_failure_of_the_server_is_a_sentence(server: Server, tmp_path: Path, prompt: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        asyncio.run(run(server.url, tmp_path, TI2V, [], prompt=prompt))


def test_a_cancel_deletes_the_servers_job(server: Server, tmp_path: Path) -> None:
    async def cancel() -> None:
        steps: list[Progress] = []
        job = asyncio.ensure_future(run(server.url, tmp_path, TI2V, steps, prompt="endless"))
        await asyncio.to_thread(until, lambda: server.looks >= 2)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(cancel())
    assert server.deleted == ["/v1/videos/v1"]
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_and_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    engine = VideosEngine("http://127.0.0.1:9/v1")
    assert "does not fit the /v1/videos API" in (engine.unavailable("wiro/animate-diff") or "")
    assert engine.unavailable(TI2V) is None
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9 cannot be reached: ConnectError"):
        asyncio.run(run("http://127.0.0.1:9/v1", tmp_path, TI2V, [], prompt="a boat"))
