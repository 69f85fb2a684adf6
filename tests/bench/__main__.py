"""All figures as one table: `python -m tests.bench [GROUP ...] [--full]`.

Everything runs on this machine against the sandbox or small local servers. Times depend on the machine and on
what else it does; ratios and counts hardly do. Without `--full` the largest load is 300 runs in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench import light
from tests.bench.figures import Figure, bounded, child, print_table, skipped
from tests.bench.peers import is_installed
from tests.conftest import SandboxProcess

_PUSH = "runs by push"
_POLL = "runs by polling only"
_PEERS = "the same work with other clients"
_EXTRA = 'python -m pip install -e ".[bench]"'


@contextmanager
def sandbox(*arguments: str) -> Iterator[dict[str, Any]]:
    """Starts a sandbox of its own; gives its first line and where its books are."""
    with tempfile.TemporaryDirectory() as folder:
        process = SandboxProcess(Path(folder), "--balance", "1000", *arguments)
        try:
            yield {**process.info, "origin": process.origin}
        finally:
            process.stop()


def instant(speed: str = "50", *more: str) -> Any:
    """Starts a sandbox whose clips cost nothing."""
    return sandbox("--engine", "instant", "--speed", speed, *more)


def measure_load(full: bool) -> list[Figure]:
    """Loading the extension."""
    del full
    return light.measure_load()


def measure_forms(full: bool) -> list[Figure]:
    """Forms of the bundled models."""
    del full
    return _figures("light")


def measure_ledger(full: bool) -> list[Figure]:
    """The ledger by itself."""
    return _figures("ledgers", rows=100_000 if full else 10_000)


def _figures(module: str, **options: Any) -> list[Figure]:
    return [Figure(**figure) for figure in child(module, options)["figures"]]


def measure_submit(full: bool) -> list[Figure]:
    """A submission against a bare POST."""
    del full
    with instant() as service:
        found = child("submits", {"service": service})
    group = "submit"
    return [
        Figure(
            group, "bare httpx2 POST of Run, wall / CPU", f"{found['post_ms']:.1f} / {found['post_cpu_ms']:.1f} ms"
        ),
        Figure(group, "`manager.submit` returns (intent is on disk)", f"{found['call_ms']:.1f} ms"),
        Figure(
            group,
            "... until the task is known (two more durable steps), wall / CPU",
            f"{found['known_ms']:.1f} / {found['cpu_ms']:.1f} ms",
        ),
        Figure(group, "... against the bare POST, wall / CPU", _ratio(found)),
        Figure(
            group,
            "bare httpx2 POST of Task/Detail after 50 ms of silence: the floor of knowing a success",
            f"{found['question_ms']:.1f} ms",
        ),
    ]


def _ratio(found: dict[str, float]) -> str:
    return f"{found['known_ms'] / found['post_ms']:.1f} x / {found['cpu_ms'] / found['post_cpu_ms']:.1f} x"


def measure_runs(full: bool) -> list[Figure]:
    """Detection, requests, CPU, memory and lag, by push."""
    figures: list[Figure] = []
    for in_flight in (1, 100, 1000) if full else (1, 100, 300):
        with instant() as service:
            released = 1 if in_flight == 1 else 100
            found = _typical(service, in_flight, released)
        with instant() as service:
            shown = _typical(service, in_flight, released, cards=True)
        figures += _run_figures(found, shown, in_flight, released)
    with instant("0.2") as service:
        found = child(
            "load",
            {"service": service, "in_flight": 1000 if full else 300, "released": 0, "hold": False, "pause_s": 0},
        )
    figures += _live_figures(found, 1000 if full else 300)
    return figures


def _load(
    service: dict[str, Any], in_flight: int, released: int, pause_s: float = 0.05, cards: bool = False
) -> dict[str, Any]:
    options = {"in_flight": in_flight, "released": released, "hold": True, "pause_s": pause_s, "cards": cards}
    return child("load", {"service": service, **options})


def _typical(
    service: dict[str, Any], in_flight: int, released: int, pause_s: float = 0.05, cards: bool = False
) -> dict[str, Any]:
    """Measures a single run seven times and returns the median one; a load of many is measured once."""
    turns = [_load(service, in_flight, released, pause_s, cards) for _ in range(7 if in_flight == 1 else 1)]
    return sorted(turns, key=lambda one: float(one["known_ms"]["p50"]))[len(turns) // 2]


def measure_cost(full: bool) -> list[Figure]:
    """CPU, bytes, tasks and timers of one run."""
    with instant() as service:
        found = child("cost", {"service": service, "count": 200 if full else 100})
    group, tasks = "cost of a run", found["tasks"]
    per_run = tasks.get("wiro-run", 0) / (200 if full else 100)
    others = ", ".join(sorted(name for name in tasks if name not in ("wiro-run", "timers") and "Task" not in name))
    return [
        bounded(group, "CPU from submit to record without download and poster", found["bare_ms"], 5, "ms"),
        Figure(
            group,
            "... of it until in flight / from the end on",
            f"{found['submit_ms']:.1f} / {found['end_ms']:.1f} ms",
        ),
        Figure(group, "... with download and poster", f"{found['whole_ms']:.1f} ms"),
        Figure(
            group,
            f"bytes on the wire: HTTP (a clip of {found['clip_bytes']} bytes included) / socket",
            f"{found['http_bytes'] / 1e3:.1f} / {found['socket_bytes'] / 1e3:.1f} kB",
        ),
        Figure(
            group,
            "asyncio tasks a run in flight; for all together; timers",
            f"{per_run:.0f}; {others}; {tasks['timers']}",
        ),
    ]


def _run_figures(found: dict[str, Any], shown: dict[str, Any], in_flight: int, released: int) -> list[Figure]:
    many = f"{in_flight:,} in flight"
    figures = [
        Figure(_PUSH, f"{many}: service's end to event heard, p50 / p95", _spread(found["heard_ms"])),
        bounded(_PUSH, f"{many}: ... to success known (Detail read), p50", found["known_ms"]["p50"], 3, "ms"),
        bounded(_PUSH, f"{many}: ... to the card's message sent, p50", shown["told_ms"]["p50"], 20, "ms"),
        Figure(_PUSH, f"{many}: messages to a card until its end", f"{shown['card_messages']:.1f}"),
        Figure(
            _PUSH, f"{many}: ... to clip, poster, record and ledger on disk, p50 / p95", _spread(found["done_ms"])
        ),
    ]
    if in_flight == 1:
        return figures
    asked = found["requests"]
    total = in_flight + 1  # and the first one, which warms up
    beyond = sum(count for name, count in asked.items() if name not in ("Run", "socket", "Tool/Detail"))
    # Runs still held have made neither Detail nor download yet.
    extra = (beyond - 2 * (released + 1)) / total
    return [
        *figures,
        Figure(
            _PUSH,
            f"{many}: requests a run beyond Run, Detail and download",
            f"{extra:.2f}",
            "<= 0.1",
            extra <= 0.1,
        ),
        Figure(_PUSH, f"{many}: sockets", str(asked.get("socket", 0))),
        Figure(_PUSH, f"{many}: CPU a run until submitted", f"{found['cpu_submit_ms']:.1f} ms"),
        Figure(
            _PUSH,
            f"{many}: CPU a run from event to record, with download and poster",
            f"{found['cpu_end_ms']:.1f} ms",
        ),
        Figure(_PUSH, f"{many}: memory", f"{found['memory_mb']:.0f} MB", "<= 60 MB", found["memory_mb"] <= 60),
        Figure(_PUSH, f"{many}: speed of a busy cell against none", f"{found['busy_loop_ratio']:.2f} x"),
        Figure(
            _PUSH,
            f"{many}: threads",
            ", ".join(name for name in found["threads"] if not name.startswith("Thread-")),
        ),
    ]


def _live_figures(found: dict[str, Any], count: int) -> list[Figure]:
    many = f"{count:,} moving at once"
    lag = max(found["submit_lag_ms"][0], found["live_lag_ms"][0])
    return [
        bounded(_PUSH, f"{many}: worst lag of a 10 ms ticker", lag, 50, "ms"),
        Figure(_PUSH, f"{many}: ... longest walk of the garbage collector", f"{found['collector_ms']:.1f} ms"),
        Figure(
            _PUSH,
            f"{many}: ... 99th percentile; worst and 99th percentile with no run",
            f"{found['live_lag_ms'][1]:.1f} ms; {found['idle_lag_ms'][0]:.1f}, {found['idle_lag_ms'][1]:.1f} ms",
        ),
        Figure(_PUSH, f"{many}: speed of a busy cell against none", f"{found['busy_loop_ratio'] or 0:.2f} x"),
        Figure(_PUSH, f"{many}: succeeded", f"{found['succeeded']} of {count}"),
        Figure(
            _PUSH,
            f"{count:,} finished, handles held: memory",
            f"{found['memory_end_mb'] * 1000 / count:.0f} MB for 1,000",
        ),
    ]


def _spread(values: dict[str, float]) -> str:
    return f"{values['p50']:.1f} / {values['p95']:.1f} ms"


def measure_polling(full: bool) -> list[Figure]:
    """The same without a socket: the service refuses it."""
    figures = []
    for in_flight in (1, 100, 1000) if full else (1, 100):
        with instant("50", "--faults", "socket:refuse") as service:
            released = 1 if in_flight == 1 else 100
            found = _load(service, in_flight, released)
        looks = found["requests"].get("Task/List", 0)
        singles = found["requests"].get("Task/Detail", 0) - released - 1
        figures.append(
            Figure(_POLL, f"{in_flight:,} in flight: end to success known, p50 / p95", _spread(found["known_ms"]))
        )
        if in_flight > 1:
            figures.append(
                Figure(
                    _POLL,
                    f"{in_flight:,} in flight: lists, single questions in all",
                    f"{looks}, {max(0, singles)}",
                )
            )
    return figures


def measure_peers(full: bool) -> list[Figure]:
    """Clients on one core against compatible local servers; tasks take about 3 s."""
    figures: list[Figure] = []
    counts = (1, 100, 1000) if full else (1, 100)
    for count in counts:
        with instant() as service, _stub() as url, one_core():
            # Ends come 10 ms apart, as the stub's do.
            own = _typical(service, count, min(count, 100), pause_s=0.01)
            own_p50 = own["known_ms"]["p50"]
            cpu = own["cpu_submit_ms"] + own["cpu_end_ms"]
            value = (
                f"{_spread(own['known_ms'])}, 1 x, CPU {cpu:.1f} ms a task with ledger, clip, poster and record"
            )
            figures.append(Figure(_PEERS, f"{count:,} at once: wiro_nb, end to known, p50 / p95", value))
            saved = Figure(
                _PEERS, f"{count:,} at once: wiro_nb, end to all saved, p50 / p95", _spread(own["done_ms"])
            )
            figures.append(saved)
            for name in ("replicate", "fal-client", "by hand"):
                label = "a loop with httpx2" if name == "by hand" else f"{name} {_version(name)}"
                if not is_installed(name):
                    figures.append(skipped(_PEERS, f"{count:,} at once: {name}", _EXTRA))
                    continue
                found = child("peers", {"name": name, "url": url, "count": count})
                latency = found["latency"]
                value = (
                    f"{_spread(latency)}, {latency['p50'] / own_p50:.0f} x, CPU {found['cpu_ms']:.1f} ms a task"
                )
                if found["lost"]:
                    value += f", {found['lost']} lost"
                figures.append(Figure(_PEERS, f"{count:,} at once: {label}", value))
    return figures


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps the processes started inside on one core, where the system can; servers start outside of it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def _stub() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.stub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        assert process.stdin is not None
        process.stdin.close()


def measure_clips(full: bool) -> list[Figure]:
    """A real clip: frames a second, and what it adds to the notebook."""
    del full
    with sandbox("--engine", "placeholder", "--speed", "instant") as service:
        found = child("clips", {"service": service})
    width, height = found["size"]
    frames, took = found["frames"], found["cpu_s"]
    return [
        bounded("clip", f"sandbox, {width} x {height}, {frames} frames, CPU", took, 3, "s", digits=2),
        Figure("clip", "... frames a second of one core", f"{frames / took:.0f}"),
        bounded("clip", "notebook: output with poster and record", found["output_bytes"] / 1e3, 30, "kB"),
        Figure("clip", "notebook: index entry of the run", f"{found['index_bytes'] / 1e3:.1f} kB"),
        Figure(
            "clip",
            "a notebook that knows none of its 200 runs: messages to it",
            f"{found['messages_200']}, {found['bytes_200'] / 1e3:.0f} kB",
        ),
    ]


def measure_embedding(full: bool) -> list[Figure]:
    """Writing a record into a clip, against a plain copy of the file."""
    from tests.bench import embedding

    sizes = embedding.SIZES if full else embedding.SIZES[:1]
    with tempfile.TemporaryDirectory() as folder:
        found = embedding.measure_embedding(Path(folder), sizes, repeats=5)
    return [
        Figure(
            "embedding",
            f"{one.size_bytes / 1e6:.0f} MB, index {'first' if one.moov_first else 'last'}: embed / copy / read",
            f"{one.embed_ms:.1f} / {one.copy_ms:.1f} / {one.read_ms:.2f} ms; {one.peak_bytes / 1e6:.1f} MB held",
        )
        for one in found
    ]


GROUPS: dict[str, Callable[[bool], list[Figure]]] = {
    "load": measure_load,
    "forms": measure_forms,
    "submit": measure_submit,
    "cost": measure_cost,
    "runs": measure_runs,
    "polling": measure_polling,
    "peers": measure_peers,
    "clips": measure_clips,
    "embedding": measure_embedding,
    "ledger": measure_ledger,
}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def about() -> list[str]:
    """Date, class of machine, versions."""
    cores = os.cpu_count()
    try:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        memory = ""
    packages = ("wiro_nb", "ipython", "ipywidgets", "httpx2", "websockets", "replicate", "fal-client")
    versions = ", ".join(f"{name} {_version(name)}" for name in packages if _version(name))
    return [
        f"{datetime.now(UTC):%Y-%m-%d}; {cores} cores{memory}, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}",
        versions,
    ]


def main() -> None:
    """Measures the groups that are asked for and prints the table."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--full", action="store_true", help="up to 1,000 runs in flight (about 8 minutes)")
    given = parser.parse_args()
    if unknown := [name for name in given.groups if name not in GROUPS]:
        parser.error(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    figures: list[Figure] = []
    for name in given.groups or GROUPS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += GROUPS[name](given.full)
    print_table(figures, about())


if __name__ == "__main__":
    main()
