"""Downloads outputs to a temporary folder, resumes broken transfers, checks the files, and moves them into place.

A file is paid, so it is tried again as long as the settings' patience lasts, counted from its last new byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wiro_nb.api.answers import Output, Task
from wiro_nb.config import Settings
from wiro_nb.errors import DownloadFailed, WiroError
from wiro_nb.files import UniqueNames, hash_file, reason_of, safe_name
from wiro_nb.ledger.state import RunOutput
from wiro_nb.media import decode
from wiro_nb.provenance.embed import hash_media
from wiro_nb.redaction import strip_query

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_log = logging.getLogger(__name__)
_MAX_PARALLEL_DOWNLOADS = 4
_GONE = (403, 404, 410)
_GENERIC_TYPES = ("", "application/octet-stream", "binary/octet-stream")
_MAX_LINKS = 5
_PART = ".part"
_ABANDONED_S = 3600.0


class _PermanentFailure(Exception):
    """The download cannot succeed by retrying; the text says why."""


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How a file is asked for; `fresh_url` asks Detail, `gone_patience_s` is for a host that does not have it."""

    client: WiroClient
    fresh_url: Callable[[], Awaitable[str | None]]
    on_retry: Callable[[str], object]
    gone_patience_s: float


class Downloader:
    """Downloads outputs, a few files at a time over all runs.

    Args:
        settings: Gives the present settings.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(_MAX_PARALLEL_DOWNLOADS)

    async def fetch(
        self,
        client: WiroClient,
        outputs: Sequence[Output],
        folder: Path,
        *,
        read_again: Callable[[], Awaitable[Task]],
        on_retry: Callable[[str], object] = _log.info,
        is_late: bool = False,
    ) -> tuple[RunOutput, ...]:
        """Downloads all outputs of a task.

        Args:
            client: Of the service that made them.
            outputs: As Detail lists them.
            folder: Where they are saved; made when needed.
            read_again: Reads Detail, for a fresh URL when one has expired.
            on_retry: Called with the reason of a failed attempt and the time of the next one.
            is_late: True long after the end: what the host does not have now will not come any more.

        Returns:
            One entry an output, in their order. `sha256` and `size_bytes` are of the bytes as sent. What could
            not be fetched has its `problem` and no hash; nothing is raised for it.
        """

        async def fresh_url(index: int) -> str | None:
            try:
                task = await read_again()
            except WiroError as error:
                _log.info("no fresh address: %s", error.message)
                return None
            return task.outputs[index].url if index < len(task.outputs) else None

        settings = self._settings()
        gone_patience_s = 0.0 if is_late else min(settings.unknown_patience_s, settings.download_patience_s)
        return tuple(
            await asyncio.gather(
                *(
                    self._fetch_one(
                        output,
                        folder / name,
                        _Attempts(client, partial(fresh_url, index), on_retry, gone_patience_s),
                    )
                    for index, (output, name) in enumerate(zip(outputs, choose_names(outputs), strict=True))
                )
            )
        )

    async def _fetch_one(self, output: Output, target: Path, attempts: _Attempts) -> RunOutput:
        if output.url is None:
            problem = "" if output.content is not None else "the service gave no address for it"
            return RunOutput("", output.content_type, content=output.content, problem=problem)
        name = target.name
        try:
            url = await self._download_file(output, target, attempts)
            return await asyncio.to_thread(_check_file, target, output, url)
        except _PermanentFailure as refused:
            problem = str(refused)
        except WiroError as error:
            problem = error.message
        except OSError as error:
            problem = f"it cannot be written: {reason_of(error)}"
        except Exception as error:  # whatever is wrong with one file, the run was paid and continues to its end
            _log.exception("%s could not be fetched", name)
            problem = f"it could not be fetched ({type(error).__name__})"
        with contextlib.suppress(OSError):
            _start_over(target)
        _log.warning("%s could not be fetched: %s", name, problem)
        address = strip_query(output.url)
        return RunOutput(name, output.content_type, size_bytes=output.size_bytes, url=address, problem=problem)

    async def _download_file(self, output: Output, part: Path, attempts: _Attempts) -> str:
        """Fetches until the file is whole; returns the URL that served it."""
        url, most_bytes, tries, links_left = output.url or "", 0, 0, _MAX_LINKS
        now, settings = asyncio.get_running_loop().time, self._settings()
        began = last_news = now()
        part.parent.mkdir(parents=True, exist_ok=True)
        while True:
            is_gone = False
            try:
                async with self._slots:
                    if await self._attempt_download(attempts.client, url, part, output):
                        return url
                reason = "it came cut off each time"
            except DownloadFailed as error:
                reason = error.message
                if not _is_retryable(error, part):
                    raise _PermanentFailure(reason) from None
                if error.status in _GONE:
                    fresh = await attempts.fresh_url() or url
                    links_left -= fresh != url
                    is_gone, url = fresh == url or links_left < 0, fresh
            except WiroError as error:
                reason = error.message
            if _size_of(part) > most_bytes:
                most_bytes, last_news = _size_of(part), now()
            pause = settings.download_retry_s[min(tries, len(settings.download_retry_s) - 1)]
            tries += 1
            patience_s = attempts.gone_patience_s if is_gone else settings.download_patience_s
            if now() + pause > (began if is_gone else last_news) + patience_s:
                raise _PermanentFailure(reason)
            attempts.on_retry(f"the file is not here yet: {reason}; trying again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _attempt_download(self, client: WiroClient, url: str, part: Path, output: Output) -> bool:
        """Continues where the last try stopped; True when the file is complete."""
        limit = self._settings().max_download_bytes
        start = _size_of(part)
        async with client.stream_file(url, start=start) as stream:
            if stream.status == 416:
                _start_over(part)
                return False
            if stream.status >= 400:
                raise _refused_by_host(url, stream.status)
            resumed = stream.status == 206 and start > 0
            total = stream.total_bytes
            if total is not None and total > limit:
                raise _PermanentFailure(_too_large(total, limit))
            with part.open("ab" if resumed else "wb") as file:
                async for chunk in stream.aiter_bytes():
                    file.write(chunk)
                    if file.tell() > limit:
                        raise _PermanentFailure(_too_large(file.tell(), limit))
                size = file.tell()
        if total is not None and size < total:
            return False
        if output.size_bytes is None or size >= output.size_bytes:
            return True
        return await asyncio.to_thread(_is_complete, part, output)


def _refused_by_host(url: str, status: int) -> DownloadFailed:
    why = "its address is no longer valid" if status in _GONE else "the host refused"
    return DownloadFailed(f"{why} (HTTP {status})", url=url, reason="status", run_id=None, status=status)


@contextlib.contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder inside a run's for files that are not finished; removes it, and those of killed processes.

    Two processes may fetch the files of one run: nothing has its final name until the ledger says whose they are.
    """
    for left in folder.glob(f".*{_PART}"):
        with contextlib.suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (left, *left.iterdir())) > _ABANDONED_S:
                shutil.rmtree(left)
    private = folder / f".{secrets.token_hex(4)}{_PART}"
    try:
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def move_files(private: Path, folder: Path, outputs: Sequence[RunOutput]) -> tuple[RunOutput, ...]:
    """Moves finished files to the run's folder; returns the outputs, with the problem of what cannot be moved.

    Blocks: a busy disk takes milliseconds for each of these calls.
    """
    problem = "it is gone"
    for path in sorted(private.glob("*")):
        try:
            path.replace(folder / path.name)
        except OSError as error:
            problem = f"it cannot be written: {reason_of(error)}"
    with contextlib.suppress(OSError):
        private.rmdir()
    return tuple(
        replace(output, problem=problem, path=None, poster_path=None, sha256=None, stored_sha256=None)
        if output.path and not output.problem and not (folder / output.name).is_file()
        else output
        for output in outputs
    )


def _start_over(part: Path) -> None:
    part.unlink(missing_ok=True)


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_retryable(error: DownloadFailed, part: Path) -> bool:
    if error.reason == "range":
        _start_over(part)  # the host has another file there now
        return True
    # Asking a busy or broken host again may help; a foreign address stays foreign.
    return error.reason == "status" and (error.status in _GONE or error.status == 429 or error.status >= 500)


def choose_names(outputs: Sequence[Output]) -> list[str]:
    """Returns a file name for each output of a run, in their order."""
    names = UniqueNames("run.json")
    chosen = []
    for index, output in enumerate(outputs):
        name = output.name or PurePosixPath((output.url or "").partition("?")[0]).name
        chosen.append(names.add(safe_name(name, fallback=f"output-{index + 1}")))
    return chosen


def _is_complete(part: Path, output: Output) -> bool:
    """Says whether a file shorter than listed is whole by its own structure: a list may be wrong. Blocks."""
    _check_type(part, output)  # reports an error page as such, not as a short clip
    return hash_media(part) is not None  # of a cut file it is None


def _check_file(target: Path, output: Output, url: str) -> RunOutput:
    """Checks a whole file against what it should be. Blocks."""
    content_type = _check_type(target, output)
    size, digest = _size_of(target), hash_file(target)
    return RunOutput(target.name, content_type, size_bytes=size, sha256=digest, url=strip_query(url))


def measure_output(output: RunOutput, path: Path, shown: str) -> RunOutput:
    """Adds size, duration and a poster, read from the file. Blocks: call it on a worker thread.

    Args:
        output: Without a file, or with a problem, it is returned as it is.
        path: The file.
        shown: Its path for people and records, relative to the notebook's folder.
    """
    if not output.name or output.problem:
        return output
    poster_path = None
    output = replace(output, path=shown)
    try:
        info = decode.probe(path)
        poster = decode.make_poster(path)
        if poster is not None:
            poster_file = path.with_name(f"{path.stem}.poster.jpg")
            poster_file.write_bytes(poster)
            poster_path = str(PurePosixPath(shown).with_name(poster_file.name))
    except Exception:  # a strange file must not take the run with it
        _log.exception("%s could not be measured", output.name)
        return output
    return replace(
        output,
        poster_path=poster_path,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
        fps=info.fps,
        frames=info.frames,
    )


def _check_type(part: Path, output: Output) -> str:
    """Returns the type of a file by its content, or the announced one when the content is ambiguous."""
    if _size_of(part) == 0:
        raise _PermanentFailure("it is empty")
    sniffed = decode.sniff_file(part)
    found = None if sniffed in _GENERIC_TYPES else sniffed
    expected = output.content_type.partition(";")[0].strip().lower()
    problem = _wrong_type(found, expected)
    if problem:
        raise _PermanentFailure(problem)
    return found or expected or "application/octet-stream"


def _wrong_type(found: str | None, expected: str) -> str:
    """Returns why the content is not of the announced kind; "" when it is, or when that is unknown."""
    kind = expected.partition("/")[0]
    if expected in _GENERIC_TYPES or kind not in ("video", "image", "audio"):
        return ""
    if found is None:
        return f"its content is no {kind}"
    # Containers such as MP4 carry pictures, sound or both; the service may call either by the other's name.
    same = found.partition("/")[0] == kind or {found.partition("/")[0], kind} == {"video", "audio"}
    return "" if same else f"it should be {expected} and its content is {found}"


def _too_large(size_bytes: int, limit_bytes: int) -> str:
    return f"it has {size_bytes / 1e9:.1f} GB and the limit is {limit_bytes / 1e9:.1f} GB"
