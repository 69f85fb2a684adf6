"""The REST endpoints, one function each, as the service names them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.incoming import Body, Keys, read_body
from wiro_nb.sandbox.models import Catalogue, Model
from wiro_nb.sandbox.prices import MIN_BALANCE_USD, slots_for
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.task import Task, new_token
from wiro_nb.sandbox.validation import check_request
from wiro_nb.sandbox.wire import Failure, answer

__all__ = ["Endpoints", "find_task"]

_MOST_LISTED = 1000
Handler = Callable[[Body, str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Endpoints:
    """All endpoints over the sandbox's parts; `origin` is `http://host:port`."""

    keys: Keys
    store: Store
    files: Files
    catalogue: Catalogue
    runner: Runner
    origin: str

    async def dispatch(self, request: Request) -> Response:
        """Answers any request below `/v1`."""
        path = request.path_params["path"].strip("/")
        try:
            handler = self._handler(path) if request.method == "POST" else None
            if handler is None:
                raise Failure(0, "Error parsing url.", 404)
            project_id = self.keys.project_of(request.headers)
            async with read_body(request) as body:
                return answer(**await handler(body, project_id))
        except Failure as failure:
            return failure.response()

    def _handler(self, path: str) -> Handler | None:
        if path.startswith("Run/"):
            run_path = path.removeprefix("Run/")
            return lambda body, project_id: self.run(run_path, body, project_id)
        known: dict[str, Handler] = {
            "Task/Detail": self.task_detail,
            "Task/List": self.task_list,
            "Task/Cancel": self.task_cancel,
            "Task/Kill": self.task_kill,
            "Task/InputOutputDelete": self.task_files_delete,
            "File/FolderCreate": self.folder_create,
            "File/Upload": self.file_upload,
            "Tool/List": self.tool_list,
            "Tool/Detail": self.tool_detail,
        }
        return known.get(path)

    async def run(self, run_path: str, body: Body, project_id: str) -> dict[str, Any]:
        """Makes a task. Order of the checks: model, inputs, balance, slots."""
        model = self.catalogue.at_run_path(run_path)
        if model is None:
            raise Failure(1, "slug-owner-project-not-exist")
        if model.refusal:
            raise Failure(*model.refusal)
        check_request(model.schema, body)
        inputs = await self._store_parts(body)
        try:
            self._check_account()  # no await from here to the new task: a slot is not given twice
        except Failure:
            self.files.drop([entry["accesskey"] for entries in inputs.values() for entry in entries])
            raise
        task = self._new_task(model, body, project_id, inputs)
        self.runner.add(task, model)
        return {"taskid": str(task.id), "socketaccesstoken": task.token}

    async def _store_parts(self, body: Body) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [await self.files.take_upload(upload) for upload in uploads if upload.filename]
            for name, uploads in body.parts.items()
        }

    def _check_account(self) -> None:
        balance = self.store.balance_usd
        if balance < MIN_BALANCE_USD:
            message = f"Insufficient balance. At least {MIN_BALANCE_USD} USD is required to run a task."
            raise Failure(97, message)
        slots = slots_for(balance)
        if slots is not None and self.runner.busy >= slots:
            raise Failure(96, f"Concurrent task limit reached: {slots} for a balance of {balance:.2f} USD.")

    def _new_task(
        self, model: Model, body: Body, project_id: str, inputs: dict[str, list[dict[str, Any]]]
    ) -> Task:
        reserved = ("callbackUrl", "projectid")
        parameters = {
            name: self._with_server_paths(value) for name, value in body.fields.items() if name not in reserved
        }
        for name, entries in inputs.items():
            urls = [entry["url"] for entry in entries] + self._with_server_paths(body.texts(name))
            parameters[name] = urls[0] if len(urls) == 1 else urls
        task = Task(
            id=0,
            token=new_token(),
            slug=model.schema.slug,
            project_id=body.text("projectid") or project_id,
            created=time.time(),
            parameters=parameters,
            categories=list(model.schema.categories),
            callback_url=body.text("callbackUrl"),
            cps=str(model.price.cps),
            model_id=str(model.number),
            model_title=model.schema.description,
        )
        paths = [self.files.local_path(path) for path in _server_paths(parameters)]
        task.input_paths = [str(path) for path in paths if path]
        self.store.add_task(task)
        self.store.give_files(task.id, [entry["accesskey"] for entries in inputs.values() for entry in entries])
        return task

    def _with_server_paths(self, value: Any) -> Any:
        """URLs of this sandbox are kept without its port, which may be another after a restart."""
        if isinstance(value, list):
            return [self._with_server_paths(item) for item in value]
        return value.replace(self.origin + "/files/", "/files/") if isinstance(value, str) else value

    async def task_detail(self, body: Body, project_id: str) -> dict[str, Any]:
        """Shows one task."""
        return {"total": "1", "tasklist": [find_task(self.runner, body).on_wire(self.origin)]}

    async def task_list(self, body: Body, project_id: str) -> dict[str, Any]:
        """Shows a page of tasks."""
        name = body.text("modelName")
        total, tasks = self.store.list_tasks(
            slugs=self.catalogue.slugs_like(name) if name else None,
            newest_first=body.text("order").upper() != "ASC",
            start=body.number("start", 0),
            limit=min(body.number("limit", 20), _MOST_LISTED),
        )
        shown = [self.runner.newest(task).on_wire(self.origin) for task in tasks]
        return {"total": str(total), "tasklist": shown}

    async def task_cancel(self, body: Body, project_id: str) -> dict[str, Any]:
        """Cancels a queued task."""
        task = find_task(self.runner, body)
        self.runner.cancel(task)
        return {"tasklist": [task.on_wire(self.origin)]}

    async def task_kill(self, body: Body, project_id: str) -> dict[str, Any]:
        """Kills a running task."""
        task = find_task(self.runner, body)
        self.runner.kill(task)
        return {"tasklist": [task.on_wire(self.origin)]}

    async def task_files_delete(self, body: Body, project_id: str) -> dict[str, Any]:
        """Deletes a finished task's files; doing it again is no error."""
        token = body.text("tasktoken")
        if not token:
            raise Failure(0, "Request parameter [tasktoken] required")
        task = self.runner.get(token=token)
        if not task.is_terminal:
            raise Failure(1, "Task is not finished yet.")
        self.files.drop_task_files(task.id)
        task.outputs, task.input_paths = [], []
        self.store.rewrite_task(task)
        return {}

    async def folder_create(self, body: Body, project_id: str) -> dict[str, Any]:
        """Makes a folder."""
        return {"list": [self.files.new_folder(body.text("name"), body.text("parentid"))]}

    async def file_upload(self, body: Body, project_id: str) -> dict[str, Any]:
        """Stores files for later use."""
        uploads = body.parts.get("file", [])
        if not uploads:
            raise Failure(0, "Request files [file] required")
        stored = [await self.files.take_upload(upload, body.text("folderid")) for upload in uploads]
        return {"list": [{**entry, "url": self.origin + entry["url"]} for entry in stored]}

    async def tool_list(self, body: Body, project_id: str) -> dict[str, Any]:
        """Lists models."""
        words = body.text("search").lower().split()
        categories, tags = set(body.texts("categories")), set(body.texts("tags"))
        owner = body.text("slugowner").lower()
        found = [
            model
            for model in self.catalogue.models
            if all(word in _haystack(model) for word in words)
            and categories <= set(model.schema.categories)
            and tags <= set(model.schema.tags)
            and (not owner or model.schema.owner.lower() == owner)
        ]
        found.sort(key=lambda model: model.number, reverse=body.text("order").upper() == "DESC")
        start = body.number("start", 0)
        page = found[start : start + body.number("limit", 20)]
        return {"total": str(len(found)), "tool": [model.summary for model in page]}

    async def tool_detail(self, body: Body, project_id: str) -> dict[str, Any]:
        """Shows one model with its inputs and price."""
        model = self.catalogue.by_slug(f"{body.text('slugowner')}/{body.text('slugproject')}")
        if model is None:
            raise Failure(1, "slug-owner-project-not-exist")
        if model.refusal:
            raise Failure(*model.refusal)
        return {"tool": [model.detail]}


def _server_paths(parameters: dict[str, Any]) -> list[str]:
    values = [item for value in parameters.values() for item in (value if isinstance(value, list) else [value])]
    urls = [url for value in values if isinstance(value, str) for url in value.split(",")]
    return [url for url in urls if url.startswith("/files/")]


def find_task(runner: Runner, body: Body) -> Task:
    """Returns the task a request names, by either name of the token or by its id.

    Raises:
        Failure: None is named, or there is no such task.
    """
    token = body.text("tasktoken") or body.text("socketaccesstoken")
    return runner.get(task_id=body.text("taskid"), token=token)


def _haystack(model: Model) -> str:
    schema = model.schema
    return " ".join((schema.slug, schema.title, schema.description, *schema.categories, *schema.tags)).lower()
