"""Downloads outputs to a temporary folder, resumes broken transfers, checks the files, and moves them into place.

A file is paid, so it is tried again as long as the settings' patience lasts, counted from its last new byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wiro_nb.api.answers import Output, Task
from wiro_nb.errors import DownloadFailed, WiroError
from wiro_nb.execution.settings import Settings
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
_POSTER_END = re.compile(r"\.poster\.jpg$", re.IGNORECASE)
"""What the posters of clips end in, so no output does: the poster of another one would replace it."""
_ABANDONED_S = 3600.0


class _PermanentFailure(Exception):
    """The download cannot succeed by retrying; the text says why."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file to download: what Detail says of it, where it goes, and how it is asked for.

    `fresh_url` asks Detail for another address; `gone_patience_s` is for a host that does not have the file.
    """

    output: Output
    path: Path
    client: WiroClient
    fresh_url: Callable[[], Awaitable[str | None]]
    on_retry: Callable[[str], object]
    gone_patience_s: float

    @property
    def size_bytes(self) -> int:
        """What is here of it."""
        return self.path.stat().st_size if self.path.exists() else 0


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
        here: Mapping[str, RunOutput] | None = None,
    ) -> tuple[RunOutput, ...]:
        """Downloads the outputs of a task.

        Args:
            client: Of the service that made them.
            outputs: As Detail lists them.
            folder: Where they are saved; made when needed.
            read_again: Reads Detail, for a fresh URL when one has expired.
            on_retry: Called with the reason of a failed attempt and the time of the next one.
            here: Given long after the end, when what the host does not have will not come any more: the outputs
                that are here already, by file name. They are not downloaded.

        Returns:
            One entry an output, in their order. `sha256` and `size_bytes` are of the bytes as sent. What could
            not be fetched has its `problem` and no hash; nothing is raised for it.
        """
        settings = self._settings()
        gone_patience_s = (
            0.0 if here is not None else min(settings.unknown_patience_s, settings.download_patience_s)
        )

        async def fresh_url(index: int) -> str | None:
            try:
                return (await read_again()).outputs[index].url
            except (WiroError, IndexError) as error:
                _log.info("no fresh address: %s", error)
                return None

        files = [
            _File(output, folder / name, client, partial(fresh_url, index), on_retry, gone_patience_s)
            for index, (output, name) in enumerate(zip(outputs, choose_names(outputs), strict=True))
        ]
        return tuple(await asyncio.gather(*(self._fetch_one(file, here or {}) for file in files)))

    async def _fetch_one(self, file: _File, here: Mapping[str, RunOutput]) -> RunOutput:
        output, name = file.output, file.path.name
        if name in here:
            return here[name]
        if output.url is None:
            problem = "" if output.content is not None else "the service gave no address for it"
            return RunOutput("", output.content_type, content=output.content, problem=problem)
        try:
            url = await self._download_file(file, output.url)
            return await asyncio.to_thread(_check_file, file, url)
        except (_PermanentFailure, WiroError) as refused:
            problem = refused.message if isinstance(refused, WiroError) else str(refused)
        except OSError as error:
            problem = f"it cannot be written: {reason_of(error)}"
        except Exception as error:  # whatever is wrong with one file, the run was paid and continues to its end
            _log.exception("%s could not be fetched", name)
            problem = f"it could not be fetched ({type(error).__name__})"
        with contextlib.suppress(OSError):
            file.path.unlink(missing_ok=True)
        _log.warning("%s could not be fetched: %s", name, problem)
        address = strip_query(output.url)
        return RunOutput(name, output.content_type, size_bytes=output.size_bytes, url=address, problem=problem)

    async def _download_file(self, file: _File, url: str) -> str:
        """Fetches until the file is whole; returns the URL that served it."""
        now, settings = asyncio.get_running_loop().time, self._settings()
        most_bytes, links_left = 0, _MAX_LINKS
        pauses = chain(settings.download_retry_s, repeat(settings.download_retry_s[-1]))
        began = last_news = now()
        file.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            is_gone = False
            try:
                async with self._slots:
                    if await self._attempt_download(file, url):
                        return url
                reason = "it came cut off each time"
            except DownloadFailed as error:
                reason = error.message
                if error.reason == "range":
                    file.path.unlink(missing_ok=True)  # the host has another file there now
                elif not _is_retryable(error):
                    raise _PermanentFailure(reason) from None
                elif error.status in _GONE:
                    fresh = await file.fresh_url() or url
                    links_left -= fresh != url
                    is_gone, url = fresh == url or links_left < 0, fresh
            except WiroError as error:
                reason = error.message
            if file.size_bytes > most_bytes:
                most_bytes, last_news = file.size_bytes, now()
            pause = next(pauses)
            patience_s = file.gone_patience_s if is_gone else settings.download_patience_s
            if now() + pause > (began if is_gone else last_news) + patience_s:
                raise _PermanentFailure(reason)
            file.on_retry(f"the file is not here yet: {reason}; trying again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _attempt_download(self, file: _File, url: str) -> bool:
        """Continues where the last try stopped; True when the file is complete."""
        limit, start = self._settings().max_download_bytes, file.size_bytes
        async with file.client.stream_file(url, start=start) as stream:
            if stream.status == 416:
                file.path.unlink(missing_ok=True)
                return False
            if stream.status >= 400:
                why = "its address is no longer valid" if stream.status in _GONE else "the host refused"
                message = f"{why} (HTTP {stream.status})"
                raise DownloadFailed(message, url=url, reason="status", run_id=None, status=stream.status)
            total = stream.total_bytes
            _check_size(total or 0, limit)
            with file.path.open("ab" if stream.status == 206 and start > 0 else "wb") as part:
                async for data in stream.pieces:
                    part.write(data)
                    _check_size(part.tell(), limit)
                size = part.tell()
        if total is not None and size < total:
            return False
        if file.output.size_bytes is None or size >= file.output.size_bytes:
            return True
        return await asyncio.to_thread(_is_complete, file)


def _is_retryable(error: DownloadFailed) -> bool:
    # Asking a busy or broken host again may help; a foreign address stays foreign.
    return error.reason == "status" and (error.status in _GONE or error.status == 429 or error.status >= 500)


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise _PermanentFailure(f"it has {size_bytes / 1e9:.1f} GB and the limit is {limit_bytes / 1e9:.1f} GB")


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


def choose_names(outputs: Sequence[Output]) -> list[str]:
    """Returns a file name for each output of a run, in their order."""
    names = UniqueNames("run.json")
    chosen = []
    for index, output in enumerate(outputs):
        name = output.name or PurePosixPath((output.url or "").partition("?")[0]).name
        name = safe_name(name, fallback=f"output-{index + 1}")
        chosen.append(names.add(_POSTER_END.sub("-poster.jpg", name)))
    return chosen


def _is_complete(file: _File) -> bool:
    """Says whether a file shorter than listed is whole by its own structure: a list may be wrong. Blocks."""
    _check_type(file)  # reports an error page as such, not as a short clip
    return hash_media(file.path) is not None  # of a cut file it is None


def _check_file(file: _File, url: str) -> RunOutput:
    """Checks a whole file against what it should be. Blocks."""
    content_type, digest = _check_type(file), hash_file(file.path)
    return RunOutput(file.path.name, content_type, size_bytes=file.size_bytes, sha256=digest, url=strip_query(url))


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


def _check_type(file: _File) -> str:
    """Returns the type of a file by its content, or the announced one when the content is ambiguous."""
    if file.size_bytes == 0:
        raise _PermanentFailure("it is empty")
    sniffed = decode.sniff_file(file.path)
    found = None if sniffed in _GENERIC_TYPES else sniffed
    expected = file.output.content_type.partition(";")[0].strip().lower()
    kind = expected.partition("/")[0]
    if expected not in _GENERIC_TYPES and kind in ("video", "image", "audio"):
        if found is None:
            raise _PermanentFailure(f"its content is no {kind}")
        found_kind = found.partition("/")[0]
        # Containers such as MP4 carry pictures, sound or both; the service may call either by the other's name.
        if found_kind != kind and {found_kind, kind} != {"video", "audio"}:
            raise _PermanentFailure(f"it should be {expected} and its content is {found}")
    return found or expected or "application/octet-stream"
