"""The ASGI application: REST endpoints, one method each, and the sandbox's test endpoints."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from wiro_nb.json_values import as_decimal
from wiro_nb.sandbox.engines import Engine, Kind
from wiro_nb.sandbox.events import EventBroker
from wiro_nb.sandbox.faults import FaultMiddleware, Faults
from wiro_nb.sandbox.models import Catalogue, Model, slots_for
from wiro_nb.sandbox.requests import Authenticator, Body, Failure, answer, check_inputs, read_body
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.store import KEYS, Files, Store, check_upload, content_type
from wiro_nb.sandbox.tasks import Task, new_token

_MAX_LISTED = 1000
_TEAMMATES_PROJECT = "799"
_NO_TASK = "model and parameters of the task are needed"
_RESERVED = frozenset({"callbackUrl", "projectid"})
Handler = Callable[[Request, Body], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Endpoints:
    """All endpoints over the sandbox's parts.

    Attributes:
        origin: `http://host:port`.
        requests: How often each endpoint was called, kept by `FaultMiddleware`.
    """

    authenticator: Authenticator
    store: Store
    files: Files
    catalogue: Catalogue
    runner: Runner
    faults: Faults
    origin: str
    requests: Counter[str]

    def routes(self) -> list[Route]:
        """Returns the HTTP routes."""
        post: dict[str, Handler] = {
            "/v1/Run/{path:path}": self.run,
            "/v1/Task/Detail": self.task_detail,
            "/v1/Task/List": self.task_list,
            "/v1/Task/Cancel": partial(self.stop_task, self.runner.cancel),
            "/v1/Task/Kill": partial(self.stop_task, self.runner.kill),
            "/v1/Tool/List": self.tool_list,
            "/v1/Tool/Detail": self.tool_detail,
            "/sandbox/balance": self.set_balance,
            "/sandbox/release": self.release,
            "/sandbox/teammate": self.add_teammates_task,
            "/sandbox/faults": self.set_faults,
        }
        return [
            *(Route(path, self._authorized(handler), methods=["POST"]) for path, handler in post.items()),
            Route("/sandbox/audit", self._authorized(self.audit)),
            Route("/files/{accesskey}/{name}", self.serve_file),
        ]

    def _authorized(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            request.state.project_id = self.authenticator.project_of(request.headers)
            async with read_body(request) as body:
                return answer(await handler(request, body))

        return endpoint

    async def run(self, request: Request, body: Body) -> dict[str, Any]:
        """Creates a task. Checks in this order: model, inputs, balance, slots."""
        model = _usable(self.catalogue.at_run_path(request.path_params["path"].strip("/")))
        if reason := self.runner.unavailable(model):
            raise Failure(1, reason)
        check_inputs(model.schema, body)
        for upload in (upload for uploads in body.parts.values() for upload in uploads if upload.filename):
            check_upload(upload)
        # No await from here to the new task: a slot is never given twice.
        self._check_account(model)
        project_id = body.text("projectid") or request.state.project_id
        task = self._add_task(
            model, self._store_parameters(body), project_id, callback_url=body.text("callbackUrl")
        )
        self.runner.add(task, model)
        return {"taskid": str(task.id), "socketaccesstoken": task.token}

    def _check_account(self, model: Model) -> None:
        if model.is_free:
            return
        balance = self.store.balance_usd
        if balance < model.least_balance_usd:
            message = f"Insufficient balance. At least {model.least_balance_usd} USD is required to run a task."
            raise Failure(97, message)
        slots = slots_for(balance)
        if slots is not None and self.runner.busy >= slots:
            raise Failure(96, f"Concurrent task limit reached: {slots} for a balance of {balance:.2f} USD.")

    def _store_parameters(self, body: Body) -> dict[str, Any]:
        """Stores the uploaded files and returns the parameters, with server paths in their place."""
        parameters = {name: self._portable(value) for name, value in body.fields.items() if name not in _RESERVED}
        for name, uploads in body.parts.items():
            paths = [self.files.add_upload(upload) for upload in uploads if upload.filename]
            urls = [*paths, *self._portable(body.texts(name))]
            parameters[name] = urls[0] if len(urls) == 1 else urls
        return parameters

    def _add_task(self, model: Model, parameters: dict[str, Any], project_id: str, **more: Any) -> Task:
        task = Task(
            id=0,
            token=new_token(),
            slug=model.schema.slug,
            project_id=project_id,
            parameters=parameters,
            categories=list(model.schema.categories),
            cps=model.cps,
            model_id=str(model.number),
            model_title=model.schema.description,
            **{"created": time.time(), **more},
        )
        self.store.add_task(task)
        return task

    def _portable(self, value: Any) -> Any:
        """Removes the origin from this sandbox's URLs: its port may change with a restart."""
        if isinstance(value, list):
            return [self._portable(item) for item in value]
        return value.replace(self.origin + "/files/", "/files/") if isinstance(value, str) else value

    async def task_detail(self, request: Request, body: Body) -> dict[str, Any]:
        """Shows one task."""
        return {"total": "1", "tasklist": [self._find_task(body).on_wire(self.origin)]}

    async def task_list(self, request: Request, body: Body) -> dict[str, Any]:
        """Shows a page of tasks."""
        name = body.text("modelName")
        total, tasks = self.store.list_tasks(
            slugs=self.catalogue.slugs_like(name) if name else None,
            newest_first=body.text("order").upper() != "ASC",
            start=body.number("start", 0),
            limit=min(body.number("limit", 20), _MAX_LISTED),
        )
        shown = [self.runner.newest(task).on_wire(self.origin) for task in tasks]
        return {"total": str(total), "tasklist": shown}

    async def stop_task(self, stop: Callable[[Task], None], request: Request, body: Body) -> dict[str, Any]:
        """Cancels a queued task or kills a running one."""
        task = self._find_task(body)
        stop(task)
        return {"tasklist": [task.on_wire(self.origin)]}

    async def tool_list(self, request: Request, body: Body) -> dict[str, Any]:
        """Lists models."""
        found = self.catalogue.search(
            body.text("search"), body.text("slugowner"), body.texts("categories"), body.texts("tags")
        )
        if body.text("order").upper() == "DESC":
            found.reverse()
        start = body.number("start", 0)
        page = found[start : start + body.number("limit", 20)]
        return {"total": str(len(found)), "tool": [model.summary for model in page]}

    async def tool_detail(self, request: Request, body: Body) -> dict[str, Any]:
        """Shows one model with its inputs and price."""
        model = _usable(self.catalogue.by_slug(f"{body.text('slugowner')}/{body.text('slugproject')}"))
        return {"tool": [model.detail]}

    def _find_task(self, body: Body) -> Task:
        """Returns the task that a request names by its id or by either name of its token."""
        token = body.text("tasktoken") or body.text("socketaccesstoken")
        task_id = body.text("taskid")
        if not task_id and not token:
            raise Failure(0, "taskid or socketaccesstoken is required")
        task = self.store.find_task(task_id=task_id, token=token)
        if task is None:
            raise Failure(1, "There is no task yet.")
        return self.runner.newest(task)

    async def serve_file(self, request: Request) -> Response:
        """Serves a file, without credentials."""
        path = self.files.find(**request.path_params)
        if path is None:
            return PlainTextResponse("Not found", 404)
        headers = {"Access-Control-Allow-Origin": "*"}
        return FileResponse(path, media_type=content_type(path.name), headers=headers)

    async def audit(self, request: Request, body: Body) -> dict[str, Any]:
        """Returns the audit log: balance, slots in use, requests so far, and every task with its bill."""
        return {
            "balance_usd": str(self.store.balance_usd),
            "busy": self.runner.busy,
            "requests": dict(self.requests),
            "tasks": self.store.audit(),
        }

    async def set_balance(self, request: Request, body: Body) -> dict[str, Any]:
        """Sets the balance, to test slots and an empty account."""
        amount = as_decimal(body.text("usd"))
        if amount is None:
            raise Failure(0, "usd must be an amount")
        self.store.set_meta("balance_usd", str(amount))
        return {"balance_usd": str(amount)}

    async def release(self, request: Request, body: Body) -> dict[str, Any]:
        """Continues a task that a `[queue]` or `[hold]` directive holds."""
        self.runner.release(self._find_task(body))
        return {}

    async def add_teammates_task(self, request: Request, body: Body) -> dict[str, Any]:
        """Adds a task of another member of the account's team, which no request here made.

        `model` and `parameters` say what it runs, `status` where it stands (task_start without one), `created`
        when it was made (Unix time).
        """
        model = self.catalogue.at_run_path(body.text("model") or "sandbox/plain-clip")
        parameters = body.fields.get("parameters")
        if model is None or not isinstance(parameters, dict):
            raise Failure(0, _NO_TASK)
        made = float(body.text("created") or time.time())
        task = self._add_task(model, parameters, _TEAMMATES_PROJECT, created=made)
        task.move_to(body.text("status") or "task_start", made)
        self.store.end_task(task)
        return {"taskid": str(task.id), "socketaccesstoken": task.token}

    async def set_faults(self, request: Request, body: Body) -> dict[str, Any]:
        """Replaces the fault rules; an empty spec removes them."""
        try:
            self.faults.replace(body.text("spec"), body.number("seed", 0))
        except ValueError as error:
            raise Failure(0, str(error)) from error
        return {}


def _usable(model: Model | None) -> Model:
    if model is None:
        raise Failure(1, "slug-owner-project-not-exist")
    if model.refusal:
        raise Failure(*model.refusal)
    return model


def build_app(
    engines: Mapping[Kind, Engine],
    store: Store,
    faults: Faults,
    data: Path,
    port: int,
    *,
    speed: float = math.inf,
    any_host: bool = False,
) -> Starlette:
    """Builds the application.

    Args:
        engines: The engine for each kind of output.
        store: Its data; closed when the application ends.
        faults: What goes wrong.
        data: The folder of its files.
        port: Where it answers on this machine.
        speed: How much faster than real time a placeholder's stages pass; infinity never waits.
        any_host: True to accept any Host header.
    """
    origin = f"http://127.0.0.1:{port}"
    authenticator = Authenticator(*(store.meta(name) or "" for name in KEYS))
    files, events, catalogue = (
        Files(data / "files"),
        EventBroker(store, faults),
        Catalogue(engines["clip"].schemas),
    )
    runner = Runner(store, files, events, engines, speed, origin, faults)
    requests: Counter[str] = Counter()
    endpoints = Endpoints(authenticator, store, files, catalogue, runner, faults, origin, requests)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        runner.resume(catalogue.by_slug)
        try:
            yield
        finally:
            await runner.close()
            store.close()

    # A web page must not reach the sandbox by DNS rebinding.
    hosts = ["*"] if any_host else ["127.0.0.1", "localhost"]
    return Starlette(
        routes=[WebSocketRoute("/v1", events.serve), *endpoints.routes()],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(FaultMiddleware, faults=faults, requests=requests),
        ],
        exception_handlers={Failure: _answer_failure, 404: _answer_unknown_path, 405: _answer_unknown_path},
        lifespan=lifespan,
    )


async def _answer_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return error.response()


async def _answer_unknown_path(request: Request, error: Exception) -> Response:
    return Failure(0, "Error parsing url.", 404).response()
