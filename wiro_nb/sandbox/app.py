"""Puts the parts together as one ASGI application."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from wiro_nb.sandbox.control import Control
from wiro_nb.sandbox.endpoints import Endpoints
from wiro_nb.sandbox.engine import Engine
from wiro_nb.sandbox.fault_http import FaultLayer
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.hub import Hub
from wiro_nb.sandbox.incoming import Keys
from wiro_nb.sandbox.instant import InstantEngine
from wiro_nb.sandbox.life import Timings
from wiro_nb.sandbox.models import Catalogue
from wiro_nb.sandbox.options import Options
from wiro_nb.sandbox.render import PainterEngine
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.sockets import SocketEndpoint
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.wire import Failure

__all__ = ["Sandbox", "build"]

_WORKERS = {"painter": 2, "instant": 100_000}


@dataclass(frozen=True)
class Sandbox:
    """A sandbox ready to be served: the application, and what has to be started and stopped with it."""

    app: ASGIApp
    faults: Faults
    store: Store
    runner: Runner
    catalogue: Catalogue

    def start(self) -> None:
        """Takes up the tasks a former process left. Called on the running loop."""
        self.runner.resume(self.catalogue.by_slug)

    async def stop(self) -> None:
        """Stops the tasks and closes the store."""
        await self.runner.close()
        self.store.close()


def build(options: Options, store: Store, port: int) -> Sandbox:
    """Builds the sandbox that answers at a port of this machine."""
    origin = f"http://127.0.0.1:{port}"
    keys = Keys(*(store.meta(name) or "" for name in ("api_key", "api_secret", "key_only_api_key")))
    files, hub, catalogue = Files(options.data / "files", store), Hub(), Catalogue()
    faults = Faults(options.faults, options.faults_seed)
    timings = Timings(speed=options.speed)
    engine, workers = _engine(options.engine), _WORKERS[options.engine]
    runner = Runner(store, files, hub, engine, timings, workers, origin, faults)
    requests: Counter[str] = Counter()
    endpoints = Endpoints(keys, store, files, catalogue, runner, origin)
    control = Control(store, runner, faults, requests)
    sockets = SocketEndpoint(hub, store, faults, one_task_per_socket=options.one_task_per_socket)
    inner = Starlette(
        routes=[
            WebSocketRoute("/v1", sockets.__call__),
            Route("/v1/{path:path}", endpoints.dispatch, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
            Route("/files/{accesskey}/{name}", _file_server(store)),
            Route("/sandbox/audit", _with_key(keys, control.audit)),
            Route("/sandbox/balance", _with_key(keys, control.set_balance), methods=["POST"]),
            Route("/sandbox/release", _with_key(keys, control.release), methods=["POST"]),
            Route("/sandbox/faults", _with_key(keys, control.set_faults), methods=["POST"]),
        ]
    )
    app = FaultLayer(inner, faults, requests)
    return Sandbox(HostCheck(app, port) if options.check_host else app, faults, store, runner, catalogue)


class HostCheck:
    """Refuses requests that name another host: a web page must not reach the sandbox by rebinding a name."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._allowed = {f"{host}:{port}".encode() for host in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is meant for this machine."""
        if scope["type"] in ("http", "websocket"):
            host = dict(scope["headers"]).get(b"host", b"").lower()
            if host not in self._allowed:
                refusal: ASGIApp = Failure(0, "Host is not allowed.", 403).response()
                if scope["type"] == "websocket":
                    refusal = WebSocketClose(1008)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _engine(name: str) -> Engine:
    return InstantEngine() if name == "instant" else PainterEngine()


def _file_server(store: Store) -> Callable[[Request], Awaitable[Response]]:
    async def serve_file(request: Request) -> Response:
        row = store.find_file(request.path_params["accesskey"])
        if row is None or row["name"] != request.path_params["name"]:
            return Response("Not found", 404, media_type="text/plain")
        headers = {"Access-Control-Allow-Origin": "*"}
        return FileResponse(row["path"], media_type=row["contenttype"], headers=headers)

    return serve_file


def _with_key(
    keys: Keys, handler: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def checked(request: Request) -> Response:
        if not keys.knows(request.headers):
            return Failure(0, "Project authorization is not founded.", 401).response()
        try:
            return await handler(request)
        except Failure as failure:
            return failure.response()

    return checked
