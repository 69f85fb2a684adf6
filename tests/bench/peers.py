"""The same work with other clients: submit, wait, know. `python -m tests.bench.peers JSON` runs one of them.

Each client does what its manual shows, with its own defaults. None of them downloads or keeps a record, so
wiro_nb is compared by the moment it knows the success, not by the moment everything is on disk.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib.util import find_spec
from typing import Any

from tests.bench.load import quantiles

_POLL_S = 1.0
_ROUNDS = 7


async def with_replicate(options: dict[str, Any]) -> float:
    """One prediction; returns when its end was known, less when it ended, seconds."""
    client = options["client"]
    prediction = await client.predictions.async_create(version="v", input={"prompt": "a lake"})
    await prediction.async_wait()
    return time.time() - float(prediction.output)


async def with_fal(options: dict[str, Any]) -> float:
    """One request of the queue; as above."""
    result = await options["client"].subscribe("a/b", {"prompt": "a lake"})
    return time.time() - float(result["ended"])


async def by_hand(options: dict[str, Any]) -> float:
    """One run by a loop as people write it: POST, then ask each second."""
    client = options["client"]
    answer = (await client.post("/Run/a/b", json={"prompt": "a lake"})).json()
    while True:
        await asyncio.sleep(_POLL_S)
        found = (await client.post("/Task/Detail", json={"tasktoken": answer["socketaccesstoken"]})).json()
        (task,) = found["tasklist"]
        if task["status"] == "task_postprocess_end":
            return time.time() - float(task["ended"])


def _make_client(name: str, url: str) -> Any:
    if name == "replicate":
        import replicate

        return replicate.Client(api_token="none", base_url=url)
    if name == "fal-client":
        import fal_client
        import fal_client.client

        fal_client.client.QUEUE_URL_FORMAT = f"{url}/"
        return fal_client.AsyncClient(key="none")
    import httpx2

    limits = httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(base_url=f"{url}/v1", timeout=60, trust_env=False, limits=limits)


async def measure(name: str, url: str, count: int) -> dict[str, Any]:
    """Has `count` tasks in flight at once and waits for all; a single one several times."""
    options = {"client": _make_client(name, url)}
    work = {"replicate": with_replicate, "fal-client": with_fal, "by hand": by_hand}[name]
    await work(options)  # imports and connections are paid once
    cpu, start = time.process_time(), time.perf_counter()
    found: list[Any] = []
    for _ in range(_ROUNDS if count == 1 else 1):
        found += await asyncio.gather(*(work(options) for _ in range(count)), return_exceptions=True)
    cpu = time.process_time() - cpu
    answers = [answer for answer in found if not isinstance(answer, BaseException)]
    return {
        "latency": quantiles(answers),
        "lost": len(found) - len(answers),
        "cpu_ms": cpu * 1e3 / len(found),
        "took_s": time.perf_counter() - start,
    }


def is_installed(name: str) -> bool:
    """True when the client can be measured here."""
    return name == "by hand" or find_spec(name.replace("-", "_")) is not None


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(measure(**given))))
