"""The ASGI application: REST endpoints, one method each, and the sandbox's test endpoints."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from wiro_nb.json_values import as_decimal
from wiro_nb.sandbox.engines import Engine, Kind
from wiro_nb.sandbox.events import EventBroker
from wiro_nb.sandbox.faults import FaultMiddleware, Faults
from wiro_nb.sandbox.models import Catalogue, Model
from wiro_nb.sandbox.requests import Body, Failure, authenticate, check_inputs, read_body
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.store import KEYS, Files, Store, Task, new_token, origin_of

_MAX_LISTED = 1000
_TEAMMATES_PROJECT = "799"
_NO_LIMIT_ABOVE_USD = 250
_RESERVED = frozenset({"callbackUrl", "projectid"})
Handler = Callable[[Body], dict[str, Any]]
"""Returns the payload of an answer: its fields stand beside `result`, not under a key of their own."""


class Service:
    """All endpoints over the sandbox's parts.

    Args:
        engines: The engine for each kind of output.
        store: Its data; closed when the application ends.
        faults: What goes wrong.
        data: The folder of its files.
        port: Where it answers on this machine.
        speed: How much faster than real time a placeholder's stages pass; infinity never waits.
        any_host: True to accept any Host header.

    Attributes:
        app: The application.
    """

    def __init__(
        self,
        engines: Mapping[Kind, Engine],
        store: Store,
        faults: Faults,
        data: Path,
        port: int,
        *,
        speed: float = math.inf,
        any_host: bool = False,
    ) -> None:
        self._store, self._faults, self._files = store, faults, Files(data / "files", origin_of(port))
        self._keys = {name: store.meta(name) for name in KEYS}
        self._engines, self._catalogue = engines, Catalogue(engines["clip"].schemas)
        events = EventBroker(store, faults)
        self._runner = Runner(store, self._files, events, engines, speed, faults)
        self._requests: Counter[str] = Counter()
        post: dict[str, Handler] = {
            "/v1/Run/{path:path}": self._run,
            "/v1/Task/Detail": lambda body: {"total": "1", "tasklist": [self._find_task(body).on_wire()]},
            "/v1/Task/List": self._task_list,
            "/v1/Task/Cancel": lambda body: self._stop_task(self._runner.cancel, body),
            "/v1/Task/Kill": lambda body: self._stop_task(self._runner.kill, body),
            "/v1/Tool/List": self._tool_list,
            "/v1/Tool/Detail": self._tool_detail,
            "/sandbox/balance": self._set_balance,
            "/sandbox/release": self._release,
            "/sandbox/teammate": self._add_teammates_task,
            "/sandbox/faults": self._set_faults,
        }
        # A web page must not reach the sandbox by DNS rebinding.
        hosts = ["*"] if any_host else ["127.0.0.1", "localhost"]
        self.app = Starlette(
            routes=[
                WebSocketRoute("/v1", events.serve),
                *(Route(path, self._authorized(handler), methods=["POST"]) for path, handler in post.items()),
                Route("/sandbox/audit", self._authorized(self._audit)),
                Mount("/files", StaticFiles(directory=self._files.folder)),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
                Middleware(FaultMiddleware, faults=faults, requests=self._requests),
            ],
            exception_handlers={HTTPException: _answer_failure},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._runner.resume(self._catalogue.by_slug)
        try:
            yield
        finally:
            await self._runner.close()
            self._store.close()

    def _authorized(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            request.state.project_id = authenticate(request.headers, self._keys)
            try:
                return JSONResponse({**handler(await read_body(request)), "errors": [], "result": True})
            finally:
                await request.close()

        return endpoint

    def _run(self, body: Body) -> dict[str, Any]:
        """Creates a task. Checks in this order: model, inputs, balance, slots."""
        model = _usable(self._catalogue.by_run_path.get(body.request.path_params["path"].strip("/")))
        if reason := self._engines[model.kind].unavailable(model.schema.run_path):
            raise Failure(1, reason)
        check_inputs(model.schema, body)
        self._check_account(model)
        parameters = {name: value for name, value in body.fields.items() if name not in _RESERVED}
        for name, uploads in body.files.items():
            urls = [*(self._files.add_upload(upload) for upload in uploads), *body.texts(name)]
            parameters[name] = urls[0] if len(urls) == 1 else urls
        project_id = body.text("projectid") or body.request.state.project_id
        task = self._add_task(model, parameters, project_id, time.time(), body.text("callbackUrl"))
        self._runner.add(task, model)
        return {"taskid": str(task.id), "socketaccesstoken": task.token}

    def _check_account(self, model: Model) -> None:
        if model.is_free:
            return
        balance = self._store.balance_usd
        least = Decimal("10" if "training" in model.schema.categories else "0.50")
        if balance < least:
            raise Failure(97, f"Insufficient balance. At least {least} USD is required to run a task.")
        slots = max(1, int(balance / 10))
        if balance <= _NO_LIMIT_ABOVE_USD and len(self._store.unfinished) >= slots:
            raise Failure(96, f"Concurrent task limit reached: {slots} for a balance of {balance:.2f} USD.")

    def _add_task(
        self, model: Model, parameters: dict[str, Any], project_id: str, created: float, callback_url: str = ""
    ) -> Task:
        task = Task(
            id=0,
            token=new_token(),
            slug=model.schema.slug,
            project_id=project_id,
            created=created,
            parameters=parameters,
            callback_url=callback_url,
            categories=list(model.schema.categories),
            cps=model.cps,
            model_id=str(model.number),
            model_title=model.schema.description,
        )
        self._store.add_task(task)
        return task

    def _task_list(self, body: Body) -> dict[str, Any]:
        """Shows a page of tasks, newest first."""
        total, tasks = self._store.list_tasks(body.number("start", 0), min(body.number("limit", 20), _MAX_LISTED))
        return {"total": str(total), "tasklist": [task.on_wire() for task in tasks]}

    def _stop_task(self, stop: Callable[[Task], None], body: Body) -> dict[str, Any]:
        """Cancels a queued task or kills a running one."""
        task = self._find_task(body)
        stop(task)
        return {"tasklist": [task.on_wire()]}

    def _find_task(self, body: Body) -> Task:
        """Returns the task that a request names by its id or by either name of its token."""
        token, task_id = body.text("tasktoken") or body.text("socketaccesstoken"), body.text("taskid")
        if not task_id and not token:
            raise Failure(0, "taskid or socketaccesstoken is required")
        task = self._store.find_task(task_id=task_id, token=token)
        if task is None:
            raise Failure(1, "There is no task yet.")
        return task

    def _tool_list(self, body: Body) -> dict[str, Any]:
        """Lists models."""
        found = self._catalogue.search(body.text("search"), body.texts("categories"))
        if body.text("order").upper() == "DESC":
            found.reverse()
        start = body.number("start", 0)
        page = found[start : start + body.number("limit", 20)]
        return {"total": str(len(found)), "tool": [model.summary for model in page]}

    def _tool_detail(self, body: Body) -> dict[str, Any]:
        """Shows one model with its inputs and price."""
        model = _usable(self._catalogue.by_slug.get(f"{body.text('slugowner')}/{body.text('slugproject')}"))
        return {"tool": [model.detail]}

    def _audit(self, body: Body) -> dict[str, Any]:
        """Returns the audit log: balance, slots in use, requests so far, and every task with its bill."""
        return {
            "balance_usd": str(self._store.balance_usd),
            "busy": len(self._store.unfinished),
            "requests": dict(self._requests),
            "tasks": self._store.audit(),
        }

    def _set_balance(self, body: Body) -> dict[str, Any]:
        """Sets the balance, to test slots and an empty account."""
        amount = as_decimal(body.text("usd"))
        if amount is None:
            raise Failure(0, "usd must be an amount")
        self._store.set_meta("balance_usd", str(amount))
        return {"balance_usd": str(amount)}

    def _release(self, body: Body) -> dict[str, Any]:
        """Continues a task that a `[queue]` or `[hold]` directive holds."""
        self._runner.release(self._find_task(body))
        return {}

    def _add_teammates_task(self, body: Body) -> dict[str, Any]:
        """Adds a task of another member of the account's team, which no request here made.

        `model` and `parameters` say what it runs, `created` when it was made (Unix time).
        """
        model = _usable(self._catalogue.by_run_path.get(body.text("model") or "sandbox/plain-clip"))
        created = float(body.text("created") or time.time())
        task = self._add_task(model, body.fields.get("parameters", {}), _TEAMMATES_PROJECT, created)
        task.move_to("task_start", created)
        self._store.end_task(task)
        return {"taskid": str(task.id), "socketaccesstoken": task.token}

    def _set_faults(self, body: Body) -> dict[str, Any]:
        """Replaces the fault rules; an empty spec removes them."""
        try:
            self._faults.replace(body.text("spec"), body.number("seed", 0))
        except ValueError as error:
            raise Failure(0, str(error)) from error
        return {}


def _usable(model: Model | None) -> Model:
    if model is None:
        raise Failure(1, "slug-owner-project-not-exist")
    if model.refusal:
        raise Failure(*model.refusal)
    return model


async def _answer_failure(request: Request, error: Exception) -> Response:
    failure = error if isinstance(error, Failure) else Failure(0, "Error parsing url.", 404)
    return failure.response()
