"""Assembles the parts into one ASGI application."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from wiro_nb.sandbox.endpoints import Endpoints
from wiro_nb.sandbox.engines import Engine, Kind
from wiro_nb.sandbox.engines.instant import InstantEngine
from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine
from wiro_nb.sandbox.events import EventBroker, SocketEndpoint
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.faults.injection import FaultMiddleware
from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.models import Catalogue
from wiro_nb.sandbox.options import Options
from wiro_nb.sandbox.requests import Authenticator, Failure
from wiro_nb.sandbox.runner import Runner
from wiro_nb.sandbox.store import Store

_INSTANT_STEP_S = 0.15


def build_app(options: Options, store: Store, faults: Faults, port: int) -> Starlette:
    """Builds the application that answers at a port of this machine. It closes the store when it ends."""
    origin = f"http://127.0.0.1:{port}"
    authenticator = Authenticator(
        *(store.meta(name) or "" for name in ("api_key", "api_secret", "key_only_api_key"))
    )
    files, events, catalogue = Files(options.data / "files"), EventBroker(), Catalogue()
    engines = _create_engines(options)
    runner = Runner(store, files, events, engines, options.speed, origin, faults)
    requests: Counter[str] = Counter()
    endpoints = Endpoints(authenticator, store, files, catalogue, runner, faults, origin, requests)
    sockets = SocketEndpoint(events, store, faults)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        runner.resume(catalogue.by_slug)
        try:
            yield
        finally:
            await runner.close()
            store.close()

    # A web page must not reach the sandbox by DNS rebinding.
    hosts = ["*"] if options.no_host_check else ["127.0.0.1", "localhost"]
    return Starlette(
        routes=[WebSocketRoute("/v1", sockets.serve), *endpoints.routes()],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(FaultMiddleware, faults=faults, requests=requests),
        ],
        exception_handlers={Failure: _answer_failure, 404: _answer_unknown_path, 405: _answer_unknown_path},
        lifespan=lifespan,
    )


def _create_engines(options: Options) -> dict[Kind, Engine]:
    instant = InstantEngine(_INSTANT_STEP_S / options.speed)
    clips = instant if options.engine == "instant" else PlaceholderEngine()
    return {"clip": clips, "image": instant, "text": instant}


async def _answer_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return error.response()


async def _answer_unknown_path(request: Request, error: Exception) -> Response:
    return Failure(0, "Error parsing url.", 404).response()
