"""The HTTP client: one method per endpoint, with typed answers. It never sends a Run request twice."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wiro_nb.api import Service
from wiro_nb.api.answers import ModelCard, ModelDetail, Submitted, Task, read_task, read_tasks, read_tool
from wiro_nb.api.events import EventClient
from wiro_nb.api.pricing import read_pricing
from wiro_nb.api.transport import HttpTransport, OnProgress, jittered_delays
from wiro_nb.errors import (
    ApiError,
    BadAnswer,
    NotAccessible,
    RateLimited,
    TimedOut,
    TransportError,
    UnknownModel,
    WiroError,
)
from wiro_nb.json_values import as_list, as_whole

if TYPE_CHECKING:
    from wiro_nb.schema import WireBody

MAX_TRIES = 4
LONGEST_RETRY_AFTER_S = 60.0
_CALLBACK = "callbackUrl"


class WiroClient(HttpTransport):
    """Client of one service, an async context manager. It belongs to the event loop on which it is created.

    Creating one loads certificates (tens of milliseconds). Output files are read with `stream_file`.

    Args:
        service: The service to talk to.
        sleep, random: Used between tries of calls that are safe to repeat.
        options: As `HttpTransport` takes them.

    Attributes:
        events: Streams the events of the service's tasks.
    """

    def __init__(
        self,
        service: Service,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        **options: Any,
    ) -> None:
        super().__init__(service, **options)
        self.events = EventClient(service)
        self._sleep = sleep
        self._random = random

    async def __aenter__(self) -> WiroClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- one run -------------------------------------------------------------------------------

    async def run(
        self,
        run_path: str,
        body: WireBody,
        *,
        callback_url: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Submitted:
        """Submits a run: sends it once and never again.

        Cancelling this coroutine leaves it open whether the service acted, like an ambiguous error.

        Args:
            run_path: "owner/name" of the Run endpoint.
            body: JSON, or fields and files.
            callback_url: Sent beside the body unless it has one. The task gives it back in Detail and List.
            on_progress: Called with bytes sent and bytes in total while files are uploaded.

        Raises:
            ConnectFailed: No byte left. InvalidFile: a file changed; no byte left. UnknownModel: the path is
                none; no byte left.
            TimedOut, StreamLost, BadAnswer, ApiError: With field `ambiguous` True the task may exist;
                with False the service refused and there is none.
        """
        path = _run_endpoint(run_path)
        added = {_CALLBACK: callback_url} if callback_url else {}
        if body.json is not None:
            answer = await self.post(path, {**added, **body.json})
        else:
            known = {name for name, _ in body.fields}
            fields = [*body.fields, *(item for item in added.items() if item[0] not in known)]
            form = replace(body, fields=tuple(fields))
            answer = await self.post(path, form=form, on_progress=on_progress)
        task = read_task({**answer, "id": answer.get("taskid")})  # an `id` of its own would be another thing's
        if not task.id:
            raise BadAnswer(
                "The service took the run but did not say which task it is.",
                code=None, status=200, reason="shape", ambiguous=True,
            )  # fmt: skip
        return Submitted(task.id, task.token)

    async def task_detail(self, *, task_id: str | None = None, token: str | None = None) -> Task:
        """Reads one task, by token (preferred) or id.

        Raises:
            NotAccessible: There is no such task, or it is not yours.
        """
        key = {"tasktoken": token} if token else {"taskid": task_id}
        return _one_task(await self._call("Task/Detail", key))

    async def task_list(self, limit: int = 20, start: int = 0) -> tuple[int, tuple[Task, ...]]:
        """Reads the newest tasks, newest first: how many there are in all, and this page of them."""
        body = {"type": "model", "sort": "id", "order": "DESC", "start": str(start), "limit": str(limit)}
        answer = await self._call("Task/List", body)
        tasks = read_tasks(answer)
        total = as_whole(answer.get("total"))
        return (start + len(tasks) if total is None else total), tasks

    async def cancel(self, task_id: str) -> Task:
        """Cancels a task that still waits in the queue, and returns it.

        Raises:
            NotAccessible: It has started (then `kill` it) or has ended.
        """
        return await self._stop("Task/Cancel", task_id)

    async def kill(self, task_id: str) -> Task:
        """Stops a task that has been assigned, and returns it.

        Raises:
            NotAccessible: It waits in the queue (then `cancel` it) or has ended.
        """
        return await self._stop("Task/Kill", task_id)

    # ---- catalogue -----------------------------------------------------------------------------

    async def tool_list(
        self, search: str = "", limit: int = 20, categories: Sequence[str] = (), sort: str = "id"
    ) -> tuple[ModelCard, ...]:
        """Searches the catalogue and returns the first page of what fits.

        Args:
            search: Words, or "" for all.
            limit: Most models on the page.
            categories: The service's categories; all have to fit.
            sort: "id" or "relevance".
        """
        body = {
            "start": "0",
            "limit": str(limit),
            "search": search,
            "sort": sort,
            "order": "DESC",
            "categories": list(categories),
            "tags": [],
            "hideworkflows": True,
            "summary": True,
        }
        answer = await self._call("Tool/List", body)
        return tuple(tool for tool in map(read_tool, as_list(answer.get("tool"))) if tool.slug)

    async def tool_detail(self, slug: str) -> ModelDetail:
        """Reads one model's inputs and price.

        Raises:
            UnknownModel: The slug is not "owner/name".
            NotAccessible: The service has no such model, or not for you.
        """
        from wiro_nb.schema.detail import read_detail

        owner, _, project = slug.strip("/").partition("/")
        if not owner or not project:
            raise UnknownModel(f"{slug!r} is not a model's name: it has to be owner/name.", model=slug, near=[])
        answer = await self._call("Tool/Detail", {"slugowner": owner, "slugproject": project})
        raw = next((entry for entry in as_list(answer.get("tool")) if isinstance(entry, dict)), None)
        if not raw:
            raise NotAccessible(f"The service has no model {slug!r}.", code=1, status=200, ambiguous=False)
        return ModelDetail(read_detail(answer), read_pricing(raw), raw)

    # ---- calling -------------------------------------------------------------------------------

    async def _stop(self, path: str, task_id: str) -> Task:
        lost = False

        async def send() -> dict[str, Any]:
            nonlocal lost
            try:
                return await self.post(path, {"taskid": task_id})
            except NotAccessible:
                if not lost:
                    raise
            except WiroError:
                lost = True
                raise
            # An earlier try was lost on the way and may have stopped the task: return its state instead.
            return await self.post("Task/Detail", {"taskid": task_id})

        return _one_task(await self._retry(send))

    async def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._retry(lambda: self.post(path, body))

    async def _retry(self, send: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Sends an idempotent request up to four times; a timeout is not retried."""
        delays = jittered_delays(self._random)
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                return await send()
            except (TransportError, ApiError) as error:
                failure: WiroError = error
            wait_s = max(next(delays), getattr(failure, "retry_after_s", None) or 0.0)
            if not tries_left or wait_s > LONGEST_RETRY_AFTER_S or not _is_transient(failure):
                break
            await self._sleep(wait_s)
        # Raised outside the `except` block, so that no earlier try is in the chain.
        raise failure.with_traceback(None) from None


def _run_endpoint(run_path: str) -> str:
    parts = run_path.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):  # these would lead to another endpoint
        raise UnknownModel(f"{run_path!r} is not the path of a model.", model=run_path, near=[])
    return "Run/" + "/".join(quote(part, safe="") for part in parts)


def _is_transient(failure: WiroError) -> bool:
    """Returns whether retrying the same request later may succeed."""
    if isinstance(failure, BadAnswer):
        return failure.reason in ("cut", "empty")
    if isinstance(failure, (TransportError, RateLimited)):
        return not isinstance(failure, TimedOut)
    return bool(failure.ambiguous) and (failure.status == 408 or failure.status >= 500)


def _one_task(answer: dict[str, Any]) -> Task:
    tasks = read_tasks(answer)
    if not tasks or not tasks[0].id:
        raise NotAccessible(
            "The service has no such task.", hint="%wiro runs", code=1, status=200, ambiguous=False
        )
    return tasks[0]
