"""What every service of this API has to do, as a class of tests; each service inherits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.api import Credentials, Service
from wiro_nb.api.answers import Event, Submitted, Task
from wiro_nb.api.client import WiroClient
from wiro_nb.api.events import EventClient
from wiro_nb.errors import ApiError, AuthRejected, NotAccessible
from wiro_nb.schema import WireBody
from wiro_nb.schema.files import open_file_input

PATIENCE_S = 60.0
CALLBACK = "https://wiro-nb.invalid/runs/contract"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


@dataclass(frozen=True)
class Subject:
    """A service under test.

    Attributes:
        service: How to reach it.
        model: Slug of a model with a text prompt. run_path: its Run path. body: a request that succeeds.
        file_run_path: Path of a model that takes a file. file_parameter: where. file_fields: the rest of it.
        transport: In place of the network, or None.
        held_body: A request whose task runs on until `release` is called with its id; for sockets.
    """

    service: Service
    model: str
    run_path: str
    body: dict[str, Any]
    file_run_path: str
    file_parameter: str
    file_fields: tuple[tuple[str, str], ...]
    transport: Any = None
    held_body: dict[str, Any] | None = None
    release: Callable[[str], None] | None = None

    def client(self, service: Service | None = None) -> WiroClient:
        return WiroClient(service or self.service, timeout_s=60, transport=self.transport)


async def ended(client: WiroClient, submitted: Submitted) -> Task:
    """Reads a task until nothing more happens to it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            task = await client.task_detail(token=submitted.token)
            if task.is_terminal:
                return task
            await asyncio.sleep(0.02)


class ServiceContract:
    """Give a fixture `subject` and inherit."""

    @asynccontextmanager
    async def finished(self, subject: Subject) -> AsyncIterator[tuple[WiroClient, Submitted, Task]]:
        async with subject.client() as client:
            submitted = await client.run(subject.run_path, WireBody(json=dict(subject.body)))
            yield client, submitted, await ended(client, submitted)

    def check(self, subject: Subject, steps: Callable[[WiroClient, Submitted, Task], Awaitable[None]]) -> None:
        async def scenario() -> None:
            async with self.finished(subject) as parts:
                await steps(*parts)

        asyncio.run(scenario())

    def refused(
        self,
        subject: Subject,
        call: Callable[[WiroClient], Awaitable[object]],
        kind: type[ApiError],
        service: Service | None = None,
    ) -> ApiError:
        async def scenario() -> ApiError:
            async with subject.client(service) as client:
                with pytest.raises(kind) as caught:
                    await call(client)
                return caught.value

        return asyncio.run(scenario())

    def test_a_run_gives_an_id_of_digits_and_a_token(self, subject: Subject) -> None:
        async def steps(_client: WiroClient, submitted: Submitted, _task: Task) -> None:
            assert submitted.task_id.isdecimal()
            assert len(submitted.token) >= 16

        self.check(subject, steps)

    def test_a_finished_task_tells_its_success_cost_times_and_parameters(self, subject: Subject) -> None:
        async def steps(_client: WiroClient, submitted: Submitted, task: Task) -> None:
            assert (task.id, task.is_success, task.exit_code) == (submitted.task_id, True, "0")
            assert task.total_cost_usd is not None
            assert task.total_cost_usd >= 0
            assert task.created is not None
            assert task.finished is not None
            assert task.created.tzinfo is UTC
            assert task.created <= task.finished
            assert task.cancelled is None
            for name, value in subject.body.items():
                assert str(task.parameters[name]) == str(value)

        self.check(subject, steps)

    def test_a_callback_comes_back_in_detail_and_list(self, subject: Subject) -> None:
        async def scenario() -> None:
            async with subject.client() as client:
                body = WireBody(json=dict(subject.body))
                submitted = await client.run(subject.run_path, body, callback_url=CALLBACK)
                task = await ended(client, submitted)
                _, tasks = await client.task_list(limit=20)
                assert task.callback_url == CALLBACK
                assert [item.callback_url for item in tasks if item.id == task.id] == [CALLBACK]

        asyncio.run(scenario())

    def test_id_and_token_lead_to_the_same_task(self, subject: Subject) -> None:
        async def steps(client: WiroClient, submitted: Submitted, task: Task) -> None:
            assert await client.task_detail(task_id=submitted.task_id) == task

        self.check(subject, steps)

    def test_the_list_begins_with_the_newest_task(self, subject: Subject) -> None:
        async def steps(client: WiroClient, submitted: Submitted, _task: Task) -> None:
            total, tasks = await client.task_list(limit=5)
            ids = [int(task.id) for task in tasks]
            assert int(submitted.task_id) in ids
            assert ids == sorted(ids, reverse=True)
            assert total >= len(tasks) <= 5

        self.check(subject, steps)

    def test_outputs_come_whole_from_any_byte_and_without_credentials(self, subject: Subject) -> None:
        async def steps(client: WiroClient, _submitted: Submitted, task: Task) -> None:
            output = task.outputs[0]
            assert output.url is not None
            assert subject.service.allows_file_url(output.url)
            async with client.stream_file(output.url) as whole:
                data = b"".join([piece async for piece in whole.pieces])
            assert (whole.status, whole.start, whole.total_bytes) == (200, 0, len(data))
            assert output.size_bytes == len(data)
            async with client.stream_file(output.url, start=10) as rest:
                assert (rest.status, rest.start, rest.total_bytes) == (206, 10, len(data))
                assert b"".join([piece async for piece in rest.pieces]) == data[10:]
            async with client.stream_file(output.url, start=len(data)) as past:
                assert past.status == 416

        self.check(subject, steps)

    def test_what_has_ended_can_be_neither_cancelled_nor_killed(self, subject: Subject) -> None:
        async def steps(client: WiroClient, submitted: Submitted, _task: Task) -> None:
            for call in (client.cancel(submitted.task_id), client.kill(submitted.task_id)):
                with pytest.raises(NotAccessible) as caught:
                    await call
                assert caught.value.code == 1

        self.check(subject, steps)

    def test_an_uploaded_file_reaches_the_run(self, subject: Subject, tmp_path: Path) -> None:
        picture = tmp_path / 'a "picture" ü.png'
        picture.write_bytes(PNG)
        file = open_file_input(subject.file_parameter, picture)
        sent: list[tuple[int, int | None]] = []

        async def scenario() -> Task:
            async with subject.client() as client:
                body = WireBody(json=None, fields=subject.file_fields, parts=((subject.file_parameter, file),))
                submitted = await client.run(
                    subject.file_run_path, body, on_progress=lambda *pair: sent.append(pair)
                )
                return await ended(client, submitted)

        task = asyncio.run(scenario())
        assert task.is_success
        assert task.parameters.get(subject.file_parameter)
        assert sent[-1][0] == sent[-1][1]

    def test_an_unknown_task_is_not_accessible(self, subject: Subject) -> None:
        error = self.refused(subject, lambda client: client.task_detail(task_id="999999999"), NotAccessible)
        assert (error.code, error.ambiguous) == (1, False)

    def test_an_unknown_model_is_refused_before_anything_is_made(self, subject: Subject) -> None:
        error = self.refused(
            subject, lambda client: client.run("nobody/nothing", WireBody(json={"prompt": "a"})), NotAccessible
        )
        assert error.ambiguous is False

    def test_a_wrong_key_is_rejected(self, subject: Subject) -> None:
        wrong = replace(subject.service, credentials=Credentials("wrong-key-123456", "wrong-secret-123456"))
        error = self.refused(subject, lambda client: client.task_list(), AuthRejected, wrong)
        assert error.status == 401

    def test_the_catalogue_finds_the_model_and_shows_its_inputs(self, subject: Subject) -> None:
        async def scenario() -> None:
            async with subject.client() as client:
                tools = await client.tool_list(search=subject.model.partition("/")[2])
                assert subject.model in [tool.slug for tool in tools]
                detail = await client.tool_detail(subject.model)
                assert detail.schema.run_path == subject.run_path
                assert detail.schema.get("prompt") is not None

        asyncio.run(scenario())


class SocketContract:
    """For services with a socket. Give a fixture `subject` and inherit."""

    def test_the_events_of_two_runs_arrive_to_the_end_each_on_its_own_socket(self, subject: Subject) -> None:
        async def scenario() -> None:
            stories: dict[str, list[Event]] = {}
            opened: asyncio.Queue[str] = asyncio.Queue()

            async def read(events: EventClient, task: Submitted) -> None:
                async for item in events.stream(task.token, task.task_id):
                    if isinstance(item, Event):
                        stories.setdefault(task.task_id, []).append(item)
                    else:
                        opened.put_nowait(task.task_id)

            async with subject.client() as client, asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as readers:
                events = EventClient(subject.service)
                for _ in range(2):
                    task = await client.run(subject.run_path, WireBody(json=dict(subject.held_body or {})))
                    readers.create_task(read(events, task))
                assert subject.release is not None
                for _ in range(2):
                    await asyncio.to_thread(subject.release, await opened.get())
            assert len(stories) == 2
            for story in stories.values():
                assert any(event.progress is not None for event in story)
                assert story[-1].status == "task_postprocess_end"
                assert story[-1].outputs

        asyncio.run(scenario())
