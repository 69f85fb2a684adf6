"""A small server that speaks the queue APIs of two other services, for the benches of their clients.

A task ends about 3 s after it was made; the answer carries the moment, so that a client's delay can be told.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import sys
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_numbers = itertools.count(1)
_ends: dict[str, float] = {}
_requests = {"count": 0}
_TASK_S = 2.5
_SPREAD_S = 1.0
_random = random.Random(1)


def _new() -> str:
    number = str(next(_numbers))
    # Ends are spread, so that none of the clients is lucky with the phase of its questions.
    _ends[number] = time.time() + _TASK_S + _random.random() * _SPREAD_S
    return number


async def _predict(request: Request) -> JSONResponse:
    _requests["count"] += 1
    return JSONResponse(_prediction(request, _new()), 201)


async def _look(request: Request) -> JSONResponse:
    _requests["count"] += 1
    return JSONResponse(_prediction(request, request.path_params["number"]))


def _prediction(request: Request, number: str) -> dict[str, Any]:
    over = time.time() >= _ends[number]
    url = f"{request.base_url}v1/predictions/{number}"
    return {
        "id": number,
        "version": "v",
        "model": "a/b",
        "status": "succeeded" if over else "processing",
        "input": {},
        "output": _ends[number] if over else None,
        "logs": "",
        "error": None,
        "metrics": {},
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": None,
        "completed_at": None,
        "urls": {"get": url, "cancel": f"{url}/cancel"},
    }


async def _queue(request: Request) -> JSONResponse:
    _requests["count"] += 1
    number = _new()
    base = f"{request.base_url}a/b/requests/{number}"
    urls = {"status_url": f"{base}/status", "response_url": base, "cancel_url": f"{base}/cancel"}
    return JSONResponse({"request_id": number, "status": "IN_QUEUE", "queue_position": 0, **urls})


async def _status(request: Request) -> JSONResponse:
    _requests["count"] += 1
    over = time.time() >= _ends[request.path_params["number"]]
    return JSONResponse({"status": "COMPLETED" if over else "IN_PROGRESS", "logs": [], "metrics": {}})


async def _result(request: Request) -> JSONResponse:
    _requests["count"] += 1
    return JSONResponse({"ended": _ends[request.path_params["number"]]})


async def _run(_: Request) -> JSONResponse:
    _requests["count"] += 1
    number = _new()
    return JSONResponse({"result": True, "errors": [], "taskid": number, "socketaccesstoken": number})


async def _detail(request: Request) -> JSONResponse:
    _requests["count"] += 1
    number = (await request.json())["tasktoken"]
    over = time.time() >= _ends[number]
    task = {"id": number, "status": "task_postprocess_end" if over else "task_start", "ended": _ends[number]}
    return JSONResponse({"result": True, "errors": [], "tasklist": [task]})


async def _count(_: Request) -> JSONResponse:
    return JSONResponse(_requests)


def main() -> None:
    """Serves until stdin closes; the first line on stdout is the address."""
    import threading

    import uvicorn

    routes = [
        Route("/count", _count),
        Route("/v1/Run/a/b", _run, methods=["POST"]),
        Route("/v1/Task/Detail", _detail, methods=["POST"]),
        Route("/v1/predictions", _predict, methods=["POST"]),
        Route("/v1/predictions/{number}", _look),
        Route("/a/b", _queue, methods=["POST"]),
        Route("/a/b/requests/{number}/status", _status),
        Route("/a/b/requests/{number}", _result),
    ]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_config=None, backlog=2048))

    def wait_for_end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=wait_for_end, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
