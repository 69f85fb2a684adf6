"""An HTTP proxy between a client and the sandbox that goes wrong about Run, and a second client of the account."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import httpx2

PAGE = b"<html><head><title>Gateway</title></head><body>Something is wrong.</body></html>"
_PROMPT = re.compile(rb'name="prompt"\r\n\r\n(.*?)\r\n')
_HOP = {b"host", b"connection", b"content-length", b"accept-encoding", b"transfer-encoding"}


@dataclass(frozen=True)
class Fault:
    """What happens to one Run.

    Attributes:
        forwards: How often the service gets it.
        status: Status that the client sees in place of the service's answer. None: that answer itself.
        body: With `status`: the body. headers: its headers.
        cut: Share of the answer that is sent before the connection ends.
        is_held: Forwarded only when the client has gone, on `release`, without an answer.
        twin: The second client makes a task with the same parameters and no marker at that moment.
    """

    forwards: int = 1
    status: int | None = None
    body: bytes = PAGE
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: float | None = None
    is_held: bool = False
    twin: bool = False


class FaultProxy:
    """The proxy, on a thread of its own.

    Args:
        service: The sandbox.
        faults: What happens to the first Run with a prompt; others pass.
        hours: How far the service's clock is ahead, as its answers show it.
        gives_markers: False empties `callbackurl` in every answer.
        takes_markers: False refuses every Run with `callbackUrl`.

    Attributes:
        runs: How many Runs came, by prompt. stopped: ids of Cancel and Kill.
        strangers: Tasks of the second client, by prompt.
    """

    def __init__(
        self,
        service: Any,
        faults: Mapping[str, Fault],
        *,
        hours: float = 0,
        gives_markers: bool = True,
        takes_markers: bool = True,
    ) -> None:
        self._service, self.faults = service, faults
        self._lead = timedelta(hours=hours)
        self.gives_markers, self._takes_markers = gives_markers, takes_markers
        self.runs: Counter[str] = Counter()
        self.pages = 0  # so many requests about tasks get a web page
        self.stopped: list[str] = []
        self.strangers: dict[str, list[str]] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._held: list[Coroutine[Any, Any, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        self._thread.start()
        self._do(self._open())

    def release(self) -> None:
        """Forwards what is held."""
        held, self._held = self._held, []
        for forward in held:
            self._do(forward)

    def close(self) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        self._client = httpx2.AsyncClient(timeout=30, trust_env=False)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    async def _shut(self) -> None:
        self._server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.wait(others, timeout=0.1)
        await self._client.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                method, path, _ = head[0].decode().split(" ")
                headers = dict(line.lower().split(b": ", 1)[:1] + line.split(b": ", 1)[1:] for line in head[1:-2])
                body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
                answer, is_whole = await self._answer(method, path, headers, body, reader)
                writer.write(answer)
                await writer.drain()
                if not is_whole:
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: dict[bytes, bytes], body: bytes, reader: asyncio.StreamReader
    ) -> tuple[bytes, bool]:
        if path.startswith("/v1/Task/") and self.pages:
            self.pages -= 1
            return _write(404, {"content-type": "text/html"}, b"<html>Welcome</html>"), True
        if not path.startswith("/v1/Run/"):
            if path.startswith(("/v1/Task/Cancel", "/v1/Task/Kill")):
                self.stopped.append(str(json.loads(body).get("taskid")))
            return self._shown(await self._forward(method, path, headers, body)), True
        found = _PROMPT.search(body)
        prompt = found[1].decode() if found else json.loads(body)["prompt"]
        self.runs[prompt] += 1
        if not self._takes_markers and b"callbackUrl" in body:
            words = {"code": 0, "message": "Request parameter [callbackUrl] must be a public URL"}
            return _write(200, {}, json.dumps({"result": False, "errors": [words]}).encode()), True
        fault = self.faults.get(prompt, Fault()) if self.runs[prompt] == 1 else Fault()
        if found is None:
            await self._meet_strangers(path, prompt, json.loads(body), fault)
        forward = self._forward(method, path, headers, body)
        if fault.is_held:
            await reader.read(1)  # until the client has gone
            self._held.append(forward)
            return b"", False
        answer = b""
        for _ in range(fault.forwards):
            answer = self._shown(await forward)
            forward = self._forward(method, path, headers, body)
        forward.close()
        if fault.status is not None:
            answer = _write(fault.status, fault.headers, fault.body)
        return (answer, True) if fault.cut is None else (answer[: int(len(answer) * fault.cut)], False)

    async def _meet_strangers(self, path: str, prompt: str, parameters: dict[str, Any], fault: Fault) -> None:
        """Has the second client run the same model: by wiro_nb, and with other parameters by other means."""
        parameters.pop("callbackUrl", None)
        if not self.gives_markers and not fault.twin:
            parameters["seed"] = "1"
        strangers = [parameters]
        if self.gives_markers:
            strangers.append(
                {**parameters, "callbackUrl": "https://wiro-nb.invalid/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV"}
            )
        for body in strangers:
            headers = {b"x-api-key": self._service.key_only_api_key.encode(), b"content-type": b"application/json"}
            answer = await self._forward("POST", path, headers, json.dumps(body).encode())
            self.strangers.setdefault(prompt, []).append(answer.json()["taskid"])

    async def _forward(
        self, method: str, path: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> httpx2.Response:
        kept = [(name, value) for name, value in headers.items() if name not in _HOP]
        return await self._client.request(method, self._service.origin + path, headers=kept, content=body)

    def _shown(self, answer: httpx2.Response) -> bytes:
        """Returns an answer as this service's clock, address and habits make it."""
        body, headers = answer.content, dict(answer.headers)
        if "date" in headers:
            headers["date"] = format_datetime(parsedate_to_datetime(headers["date"]) + self._lead, usegmt=True)
        if "json" in headers.get("content-type", ""):
            content = answer.json()
            for task in content.get("tasklist", []):
                for name in [name for name in task if name.endswith("time") and task[name] not in ("0", None)]:
                    task[name] = str(int(task[name]) + int(self._lead.total_seconds()))
                if not self.gives_markers:
                    task["callbackurl"] = ""
            own = self._service.origin.rpartition(":")[2]
            body = json.dumps(content).replace(f":{own}/", f":{self.port}/").encode()
        return _write(answer.status_code, headers, body)


def _write(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    kept = {name: value for name, value in headers.items() if name != "content-length"}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in kept.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
