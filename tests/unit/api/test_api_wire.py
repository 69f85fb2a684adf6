"""The client against real sockets: what breaks when, and what is then known."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

from tests.unit.api.servers import (
    SECRET,
    SECRETS,
    SUBMITTED,
    TOKEN,
    Handler,
    assert_no_secret,
    closed_port,
    read_request,
    reset,
    response,
    service_at,
    tcp_server,
)
from wiro_nb.api import sign
from wiro_nb.api.answers import Submitted
from wiro_nb.api.client import WiroClient
from wiro_nb.errors import (
    BadAnswer,
    ConnectFailed,
    DownloadFailed,
    InputError,
    InvalidFile,
    StreamLost,
    TimedOut,
)
from wiro_nb.schema import WireBody
from wiro_nb.schema.files import FileInput

BODY = WireBody(json={"prompt": "a"})
PIECE_BYTES = 256 * 1024
NO_TASKS = {"result": True, "tasklist": [], "total": "0"}


def run_against(handler: Handler, body: WireBody = BODY, timeout_s: float = 60.0) -> Submitted:
    async def scenario() -> Submitted:
        async with tcp_server(handler) as service, WiroClient(service, timeout_s=timeout_s) as client:
            return await client.run("wiro/animate-diff", body)

    return asyncio.run(scenario())


def test_a_signed_json_run_as_it_stands_on_the_wire() -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(response(SUBMITTED))

    assert run_against(handler, WireBody(json={"prompt": "16:9 \ud83d ü", "steps": 4})) == Submitted("7", TOKEN)
    ((headers, body),) = seen
    assert (headers[":method"], headers[":path"]) == ("POST", "/v1/Run/wiro/animate-diff")
    assert headers["content-type"] == "application/json"
    assert headers["x-signature"] == sign(headers["x-api-key"], SECRET, headers["x-nonce"])
    assert json.loads(body) == {"prompt": "16:9 \ud83d ü", "steps": 4}


def test_nobody_there_means_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with WiroClient(service_at(closed_port()), timeout_s=60) as client:
            await client.run("a/b", BODY)

    with pytest.raises(ConnectFailed) as caught:
        asyncio.run(scenario())
    assert caught.value.ambiguous is False
    assert_no_secret(caught.value)


async def _reset_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def _reset_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def _close_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def _half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(response(SUBMITTED)[:-20])
    await writer.drain()


async def _not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "handler", [_reset_at_once, _reset_after_reading, _close_after_reading, _half_an_answer, _not_http]
)
def test_a_connection_that_breaks_later_is_ambiguous(handler: Handler) -> None:
    connections = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await handler(reader, writer)

    with pytest.raises(StreamLost) as caught:
        run_against(counted)
    assert caught.value.ambiguous is True
    assert connections == 1
    assert_no_secret(caught.value)


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _dripping_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await _drip(writer)


async def _dripping_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await _drip(writer)


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [_silence, _dripping_body, _dripping_head])
def test_an_answer_that_does_not_end_times_out_and_is_ambiguous(handler: Handler) -> None:
    async def first_in_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(NO_TASKS))
        await handler(reader, writer)

    async def scenario() -> None:
        async with tcp_server(first_in_time) as service, WiroClient(service, timeout_s=0.3) as client:
            await client.task_list()  # connects, again if that takes too long; the run has that connection
            await client.run("a/b", BODY)

    with pytest.raises(TimedOut) as caught:
        asyncio.run(scenario())
    assert caught.value.ambiguous is True
    assert_no_secret(caught.value)


def test_an_answer_without_a_task_is_ambiguous() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response({"result": True, "errors": []}))

    with pytest.raises(BadAnswer) as caught:
        run_against(handler)
    assert caught.value.ambiguous is True


def test_a_kept_connection_reset_while_a_run_is_written_is_ambiguous_and_not_tried_again() -> None:
    runs = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal runs
        await read_request(reader)
        writer.write(response(NO_TASKS))
        await read_request(reader)
        runs += 1
        reset(writer)

    async def scenario() -> None:
        async with tcp_server(handler) as service, WiroClient(service) as client:
            await client.task_list()
            await client.run("a/b", BODY)

    with pytest.raises(StreamLost) as caught:
        asyncio.run(scenario())
    assert (caught.value.ambiguous, runs) == (True, 1)


def test_a_kept_connection_closed_while_idle_is_noticed_before_a_run_is_written() -> None:
    paths: list[str] = []

    async def scenario() -> Submitted:
        closed = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            paths.append((await read_request(reader))[0][":path"])
            writer.write(response(SUBMITTED))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            closed.set()

        async with tcp_server(handler) as service, WiroClient(service) as client:
            await client.task_list()
            await closed.wait()
            return await client.run("a/b", BODY)

    assert asyncio.run(scenario()).task_id == "7"
    assert paths == ["/v1/Task/List", "/v1/Run/a/b"]


def test_cancelling_a_run_ends_at_once() -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            arrived.set()
            await asyncio.Event().wait()

        async with tcp_server(handler) as service, WiroClient(service) as client:
            task = asyncio.create_task(client.run("a/b", BODY))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_no_more_requests_are_under_way_than_allowed() -> None:
    async def scenario() -> int:
        under_way, most, enough = 0, 0, asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal under_way, most
            while True:
                await read_request(reader)
                under_way += 1
                most = max(most, under_way)
                if under_way == 4:
                    enough.set()
                await enough.wait()
                await asyncio.sleep(0.002)
                under_way -= 1
                writer.write(response({"result": True, "tasklist": [{"id": "1"}]}))

        async with tcp_server(handler) as service, WiroClient(service, max_in_flight=4) as client:
            async with asyncio.timeout(60):
                await asyncio.gather(*(client.task_detail(task_id="1") for _ in range(40)))
        return most

    assert asyncio.run(scenario()) == 4


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(SUBMITTED))

    assert run_against(handler).task_id == "7"


def test_no_log_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(SUBMITTED))

    run_against(handler)
    assert any(record.name.startswith("httpcore2") for record in caplog.records)
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_what_is_not_json_is_refused_before_a_byte_leaves() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a byte left")

    with pytest.raises(InputError) as caught:
        run_against(handler, WireBody(json={"scale": float("nan")}))
    assert_no_secret(caught.value)


# Uploads -------------------------------------------------------------------------------------------


def file_at(path: Path, name: str = "clip.mp4") -> FileInput:
    return FileInput(name, path, None, "video/mp4", path.stat().st_size, None)


async def parse(headers: dict[str, str], body: bytes) -> list[tuple[str, Any]]:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    form = await MultiPartParser(Headers(headers), stream()).parse()  # type: ignore[arg-type]
    found: list[tuple[str, Any]] = []
    for name, value in form.multi_items():
        if isinstance(value, str):
            found.append((name, value))
        else:
            found.append((name, (value.filename, value.content_type, await value.read())))
            await value.close()
    return found


def test_an_upload_arrives_as_it_was_given_and_is_read_piece_by_piece(tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_000
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "empty").write_bytes(b"")
    seen: list[tuple[str, Any]] = []
    progress: list[tuple[int, int | None]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers, body = await read_request(reader)
        assert "transfer-encoding" not in headers
        seen.extend(await parse(headers, body))
        writer.write(response(SUBMITTED))

    fields = (
        ("prompt", 'lines\r\nand "quotes" ü'),
        ("inputImage", "https://x/a.png"),
        ("inputImage", "https://x/b"),
    )
    files = (file_at(tmp_path / "a"), file_at(tmp_path / "empty", 'ü "q"\r\nX-Evil: 1.mp4'))
    body = WireBody(json=None, fields=fields, parts=tuple(("inputImage", file) for file in files))

    async def scenario() -> None:
        async with tcp_server(handler) as service, WiroClient(service) as client:
            await client.run("a/b", body, on_progress=lambda sent, total: progress.append((sent, total)))

    asyncio.run(scenario())
    assert seen == [
        *fields,
        ("inputImage", ("clip.mp4", "video/mp4", data)),
        ("inputImage", ("ü %22q%22%0D%0AX-Evil: 1.mp4", "video/mp4", b"")),
    ]
    steps = [after[0] - before[0] for before, after in pairwise(progress)]
    assert 0 < max(steps) <= PIECE_BYTES
    assert progress[-1][0] == progress[-1][1]
    assert len({total for _, total in progress}) == 1


def test_a_progress_listener_that_fails_does_not_break_the_upload(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 10)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(SUBMITTED))

    def fail(_sent: int, _total: int | None) -> None:
        raise RuntimeError("the screen is gone")

    async def scenario() -> Submitted:
        async with tcp_server(handler) as service, WiroClient(service) as client:
            body = WireBody(json=None, parts=(("f", file_at(tmp_path / "a")),))
            return await client.run("a/b", body, on_progress=fail)

    assert asyncio.run(scenario()).task_id == "7"


def test_an_upload_may_take_longer_than_an_answer_as_long_as_it_moves(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * (PIECE_BYTES * 8))
    body = WireBody(json=None, parts=(("f", file_at(tmp_path / "a")),))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(SUBMITTED))

    async def scenario() -> Submitted:
        loop = asyncio.get_running_loop()
        real, passed_s = loop.time, 0.0

        def piece_sent(_sent: int, _total: int | None) -> None:
            nonlocal passed_s
            passed_s += 15.0

        # A slow line: each of the 12 pieces takes half of what the answer may take, by the loop's own clock.
        loop.time = lambda: real() + passed_s  # type: ignore[method-assign]
        async with tcp_server(handler) as service, WiroClient(service, timeout_s=30) as client:
            return await client.run("a/b", body, on_progress=piece_sent)

    assert asyncio.run(scenario()).task_id == "7"


@pytest.mark.parametrize("change", ["gone", "longer"])
def test_a_file_that_changed_since_it_was_checked_stops_the_run_before_a_byte_leaves(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a" * 10)
    body = WireBody(json=None, parts=(("inputImage", file_at(path)),))
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"a" * 11)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a byte left")

    with pytest.raises(InvalidFile) as caught:
        run_against(handler, body)
    assert caught.value.name == "inputImage"
    assert str(tmp_path) not in "\n".join(caught.value.lines())
    assert_no_secret(caught.value)


def test_a_file_that_shrinks_while_it_is_sent_leaves_the_request_incomplete_and_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a" * (PIECE_BYTES * 2))
    body = WireBody(json=None, parts=(("inputImage", file_at(path)),))

    def cut(_sent: int, _total: int | None) -> None:
        with path.open("r+b") as file:
            file.truncate(10)

    async def scenario() -> None:
        async with tcp_server(_close_after_reading) as service, WiroClient(service) as client:
            await client.run("a/b", body, on_progress=cut)

    with pytest.raises(StreamLost) as caught:
        asyncio.run(scenario())
    assert "shorter" in caught.value.message
    assert caught.value.ambiguous is True
    assert_no_secret(caught.value)


# Output files --------------------------------------------------------------------------------------


async def fetch(client: WiroClient, url: str, start: int = 0) -> tuple[int, bytes]:
    async with client.stream_file(url, start=start) as file:
        return file.status, b"".join([piece async for piece in file.pieces])


def download(handler: Handler, *, path: str = "/f/0.mp4", start: int = 0) -> tuple[int, bytes]:
    async def scenario() -> tuple[int, bytes]:
        async with tcp_server(handler) as service, WiroClient(service, timeout_s=60) as client:
            url = path if "://" in path else service.base_url.removesuffix("/v1") + path
            return await fetch(client, url, start)

    return asyncio.run(scenario())


def answering(*answers: bytes, seen: list[dict[str, str]] | None = None) -> Handler:
    left = list(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            headers, _ = await read_request(reader)
            if seen is not None:
                seen.append(headers)
            writer.write(left.pop(0))
            await writer.drain()

    return handler


def test_files_are_fetched_without_credentials_and_redirects_are_followed_on_the_own_origin() -> None:
    seen: list[dict[str, str]] = []
    moved = response(b"", "302 Found", "Location: /g/0.mp4\r\n")
    handler = answering(moved, response(b"data", "206 Partial", "Content-Range: bytes 3-6/7\r\n"), seen=seen)
    assert download(handler, start=3) == (206, b"data")
    assert [headers[":path"] for headers in seen] == ["/f/0.mp4", "/g/0.mp4"]
    for headers in seen:
        assert not [name for name in headers if name.startswith("x-") or name in ("authorization", "cookie")]
        assert (headers["range"], headers["accept-encoding"]) == ("bytes=3-", "identity")


def test_a_redirect_to_another_place_is_refused_before_it_is_followed() -> None:
    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("it was followed")

    async def scenario() -> None:
        async with tcp_server(elsewhere) as other:
            moved = response(b"", "307 Moved", f"Location: {other.base_url}/x\r\n")
            async with tcp_server(answering(moved)) as service, WiroClient(service) as client:
                await fetch(client, service.base_url)

    with pytest.raises(DownloadFailed) as caught:
        asyncio.run(scenario())
    assert caught.value.reason == "host"
    assert_no_secret(caught.value)


def test_a_circle_of_redirects_ends() -> None:
    moved = response(b"", "302 Found", "Location: /f/0.mp4\r\n")
    with pytest.raises(DownloadFailed) as caught:
        download(answering(*[moved] * 20))
    assert caught.value.reason == "redirects"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:9/a", "file:///etc/passwd", "https://cdn1.wiro.ai/a", "", "http://"]
)
def test_a_foreign_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        download(_reset_at_once, path=url or "://")
    assert caught.value.reason == "host"


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "503 Busy", "416 No"])
def test_a_host_that_refuses_is_told_by_status_and_its_page_is_never_data(status: str) -> None:
    assert download(answering(response(b"<html>no</html>", status))) == (int(status[:3]), b"")


def test_another_part_than_the_one_asked_for_is_refused() -> None:
    wrong = response(b"data", "206 Partial", "Content-Range: bytes 0-3/7\r\n")
    with pytest.raises(DownloadFailed) as caught:
        download(answering(wrong), start=3)
    assert caught.value.reason == "range"


def test_a_host_that_ignores_the_range_gives_the_whole_file() -> None:
    assert download(answering(response(b"whole")), start=3) == (200, b"whole")


def test_a_download_that_is_cut_is_an_error_and_not_a_short_file() -> None:
    with pytest.raises(StreamLost) as caught:
        download(answering(response(b"a whole file of data")[:-5]))
    assert_no_secret(caught.value)


def test_a_download_that_stalls_times_out() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"a whole file")[:-5])
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with tcp_server(handler) as service, WiroClient(service, timeout_s=1) as client:
            await fetch(client, service.base_url)

    with pytest.raises(TimedOut):
        asyncio.run(scenario())
