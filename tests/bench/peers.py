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
_MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"


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


async def by_hand(options: dict[str, Any]) -> tuple[str, float]:
    """One run by a loop as people write it: POST, then ask each second; returns task id and moment."""
    client = options["client"]
    answer = (await client.post(f"/Run/{_MODEL}", json={"prompt": options["prompt"]})).json()
    while True:
        await asyncio.sleep(_POLL_S)
        options["requests"] += 1
        (task,) = (await client.post("/Task/Detail", json={"tasktoken": answer["socketaccesstoken"]})).json()[
            "tasklist"
        ]
        if task["status"] == "task_postprocess_end":
            return str(task["id"]), time.time()


def _make_client(name: str, url: str, service: dict[str, Any]) -> Any:
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
    return httpx2.AsyncClient(
        base_url=service["base_url"],
        headers={"x-api-key": service["key_only_api_key"]},
        timeout=60,
        trust_env=False,
        limits=limits,
    )


async def measure(name: str, url: str, service: dict[str, Any], count: int) -> dict[str, Any]:
    """Has `count` tasks in flight at once and waits for all."""
    from tests.bench.load import ask

    options = {"client": _make_client(name, url, service), "requests": 0, "prompt": "a lake"}
    work = {"replicate": with_replicate, "fal-client": with_fal, "by hand": by_hand}[name]
    await work(options)  # imports and connections are paid once
    cpu, start = time.process_time(), time.perf_counter()
    found = await asyncio.gather(*(work(options) for _ in range(count)), return_exceptions=True)
    cpu = time.process_time() - cpu
    answers = [answer for answer in found if not isinstance(answer, BaseException)]
    if name == "by hand":
        ended = {row["task_id"]: row["ended"] for row in ask(service, "/sandbox/audit")["tasks"]}
        answers = [moment - ended[task_id] for task_id, moment in answers]
    return {
        "latency": quantiles(answers),
        "lost": count - len(answers),
        "cpu_ms": cpu * 1e3 / count,
        "took_s": time.perf_counter() - start,
    }


def is_installed(name: str) -> bool:
    """True when the client can be measured here."""
    return name == "by hand" or find_spec(name.replace("-", "_")) is not None


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(measure(**given))))
