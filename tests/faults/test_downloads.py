"""Files come from a host that lies, stops and sends people elsewhere; what is kept is whole and safely named."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.servers import read_request, response, tcp_server
from wiro_nb.api.answers import read_task
from wiro_nb.api.client import WiroClient
from wiro_nb.execution.download import Downloader
from wiro_nb.execution.settings import Settings
from wiro_nb.files import hash_file
from wiro_nb.ledger.state import RunOutput

QUICK = Settings(download_patience_s=0.1, download_retry_s=(0.01,))


def make_png(size: int = 40_000) -> bytes:
    """A picture with as many bytes as wanted behind it."""
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (8, 8)).save(made, "PNG")
    return made.getvalue().ljust(size, b"\0")


PNG = make_png()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where clips go; empty."""
    made = tmp_path / "clips"
    made.mkdir()
    return made


@dataclass
class Host:
    """What the file server was asked, and what it does about it."""

    answer: Callable[[int, dict[str, str]], bytes]
    seen: list[dict[str, str]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers, _ = await read_request(reader)
        self.seen.append(headers)
        writer.write(self.answer(len(self.seen), headers))
        await writer.drain()


def fetch(
    answer: Callable[[int, dict[str, str]], bytes],
    folder: Path,
    *,
    outputs: list[dict[str, Any]] | None = None,
    fresh: list[str] | None = None,
    settings: Settings = QUICK,
) -> tuple[tuple[RunOutput, ...], Host]:
    """Fetches outputs from a host that answers so; addresses may hold {port}."""
    host = Host(answer)

    async def work() -> tuple[RunOutput, ...]:
        async with tcp_server(host.serve) as service, WiroClient(service, timeout_s=5) as client:
            port = service.base_url.partition("//")[2].partition(":")[2].partition("/")[0]
            wanted = outputs or [
                {"name": "clip.png", "contenttype": "image/png", "url": "http://127.0.0.1:{port}/f"}
            ]
            listed = read_task({"id": "1", "outputs": [place(item, port) for item in wanted]}).outputs

            async def read_again() -> Any:
                newer = [
                    {**place(item, port), "url": url.format(port=port)}
                    for item, url in zip(wanted, fresh or [], strict=False)
                ]
                return read_task({"id": "1", "outputs": newer})

            return await Downloader(lambda: settings).fetch(client, listed, folder, read_again=read_again)

    return asyncio.run(work()), host


def place(item: dict[str, Any], port: str) -> dict[str, Any]:
    return {**item, "url": item["url"].format(port=port)}


def cut(body: bytes, at: int, status: str = "200 OK", headers: str = "") -> bytes:
    """An answer that ends in the middle."""
    whole = response(body, status, headers)
    return whole[: len(whole) - len(body) + at]


def test_a_broken_download_asks_only_for_the_rest(folder: Path) -> None:
    def answer(number: int, headers: dict[str, str]) -> bytes:
        if number == 1:
            return cut(PNG, 15_000)
        start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
        extent = f"Content-Range: bytes {start}-{len(PNG) - 1}/{len(PNG)}\r\n"
        return response(PNG[start:], "206 Partial Content", extent)

    (output,), host = fetch(answer, folder)
    assert output.problem == ""
    assert (folder / output.name).read_bytes() == PNG
    assert output.sha256 == hash_file(folder / output.name)
    assert [headers.get("range") for headers in host.seen] == [None, "bytes=15000-"]


def test_a_host_that_changed_its_file_meanwhile_is_asked_for_all_of_it(folder: Path) -> None:
    """The rest of another file must not be put behind the first half of this one."""

    def answer(number: int, headers: dict[str, str]) -> bytes:
        if number == 1:
            return cut(PNG, 15_000)
        if "range" in headers:
            return response(b"", "416 Range Not Satisfiable", "Content-Range: bytes */9000\r\n")
        return response(PNG[:9000])

    (output,), _ = fetch(answer, folder)
    assert (folder / output.name).read_bytes() == PNG[:9000]


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone"])
def test_an_address_that_expired_is_asked_for_again(folder: Path, status: str) -> None:
    def answer(number: int, headers: dict[str, str]) -> bytes:
        return response(PNG) if headers[":path"] == "/fresh" else response(b"expired", status)

    (output,), host = fetch(answer, folder, fresh=["http://127.0.0.1:{port}/fresh"])
    assert output.problem == ""
    assert output.url is not None
    assert output.url.endswith("/fresh")
    assert [headers[":path"] for headers in host.seen] == ["/f", "/fresh"]


@pytest.mark.parametrize("told", [True, False])
def test_a_file_above_the_limit_is_not_kept(folder: Path, told: bool) -> None:
    """Also when the host does not say how much is coming."""
    head = f"Content-Length: {len(PNG)}\r\n" if told else ""
    whole = f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode() + PNG
    (output,), host = fetch(lambda *_: whole, folder, settings=replace(QUICK, max_download_bytes=10_000))
    assert "limit" in output.problem
    assert list(folder.iterdir()) == []
    assert len(host.seen) == 1, "asking again would not make it smaller"


@pytest.mark.parametrize(
    ("body", "said"), [(b"<html>no</html>" * 50, "video/mp4"), (PNG, "video/mp4"), (b"", "image/png")]
)
def test_content_of_another_kind_than_announced_is_not_kept(folder: Path, body: bytes, said: str) -> None:
    wanted = [{"name": "clip.mp4", "contenttype": said, "url": "http://127.0.0.1:{port}/f"}]
    (output,), _ = fetch(lambda *_: response(body), folder, outputs=wanted)
    assert output.problem
    assert output.sha256 is None
    assert list(folder.iterdir()) == []


HOSTILE = [
    "../../escaped.png", "/etc/passwd", "..\\..\\windows.png", "C:\\x.png", "a\0b.png", "run.json", "RUN.JSON",
    "CON.png", ".hidden.png", "..", "", "x" * 400 + ".png", "na\nme.png", "‮gnp.exe", "a/b/c.png", "-rf.png",
    "clip.png", "CLIP.png", "clip.png.part",
]  # fmt: skip


def test_names_from_the_service_never_leave_the_folder_nor_meet_each_other(folder: Path) -> None:
    wanted = [{"name": name, "contenttype": "image/png", "url": "http://127.0.0.1:{port}/f"} for name in HOSTILE]
    run_folder = folder / "run"
    found, _ = fetch(lambda *_: response(PNG), run_folder, outputs=wanted)
    names = [output.name for output in found]
    assert [output.problem for output in found] == [""] * len(HOSTILE)
    assert len({name.casefold() for name in names}) == len(HOSTILE)
    assert sorted(path.name for path in run_folder.iterdir()) == sorted(names)
    assert list(folder.iterdir()) == [run_folder]
    for name in names:
        assert (run_folder / name).resolve().parent == run_folder
        assert not name.startswith((".", "-"))
        assert name.isprintable()
        assert len(name) <= 200
        assert name.casefold() != "run.json"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/x", "http://192.0.2.1/x", "https://wiro.ai.example.com/x",
        "http://127.0.0.1:1/x", "//192.0.2.1/x", "http://127.0.0.1:{port}@192.0.2.1/x", "javascript:alert(1)",
        "data:image/png;base64,AAAA", "http://[::1]/x", "",
    ],
)  # fmt: skip
def test_only_the_services_own_place_is_asked(folder: Path, url: str) -> None:
    wanted = [{"name": "clip.png", "contenttype": "image/png", "url": url}]
    (output,), host = fetch(lambda *_: response(PNG), folder, outputs=wanted)
    assert output.problem
    assert host.seen == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("target", ["http://192.0.2.1/x", "http://127.0.0.1:1/x", "file:///etc/passwd", "/f"])
def test_a_redirect_elsewhere_or_in_a_circle_is_not_followed(folder: Path, target: str) -> None:
    answer = response(b"", "302 Found", f"Location: {target}\r\n")
    (output,), host = fetch(lambda *_: answer, folder)
    assert output.problem
    assert len(host.seen) <= 6
    assert list(folder.iterdir()) == []


def test_no_key_travels_to_the_file_host(folder: Path) -> None:
    _, host = fetch(lambda *_: response(PNG), folder)
    assert not any(name.startswith("x-") or name in ("authorization", "cookie") for name in host.seen[0])


def test_nothing_but_a_whole_file_has_its_name(folder: Path) -> None:
    (output,), host = fetch(lambda *_: cut(PNG, 100), folder)
    assert "cut off" in output.problem or "broke" in output.problem
    assert len(host.seen) > 1
    assert list(folder.iterdir()) == []


def test_half_a_file_that_the_host_calls_whole_is_not_kept(folder: Path) -> None:
    whole = make_png(60)
    item = {
        "name": "a.png",
        "contenttype": "image/png",
        "url": "http://127.0.0.1:{port}/f",
        "size": str(len(whole)),
    }
    options: dict[str, Any] = {"outputs": [item]}
    (output,), host = fetch(lambda *_: response(whole[:40]), folder, **options)
    assert "cut off" in output.problem
    assert len(host.seen) > 1
    assert list(folder.iterdir()) == []
    # A size that is wrong in the list does not cost a file whose own structure is whole.
    item["size"] = str(len(whole) * 2)
    (output,), host = fetch(lambda *_: response(whole), folder, **options)
    assert output.problem == ""
    assert len(host.seen) == 1
