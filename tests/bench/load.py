"""Many runs at once through the manager, in a process of its own: `python -m tests.bench.load JSON`.

The service's end of a task is its own book entry (`ended` in the sandbox's audit); both processes read the
same clock. Runs are held by a mark in the prompt and let go one at a time by a third process, so that the
figures are of this package and not of a queue of its own making.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
_TICK_S = 0.01
_BUSY_S = 0.25


class Ticker:
    """A loop in a thread of its own that should turn every 10 ms, as a kernel's does; remembers the worst lag."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self.lags: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._tick()), daemon=True)
        self._thread.start()

    async def _tick(self) -> None:
        while not self._stop.is_set():
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.lags.append(time.perf_counter() - due)

    def take(self) -> tuple[float, float]:
        """Returns the worst lag and the 99th percentile since the last call, seconds."""
        lags, self.lags = sorted(self.lags) or [0.0], []
        return lags[-1], lags[int(len(lags) * 0.99)]

    def cpu_s(self) -> float:
        """Returns the processor seconds of its thread so far."""
        return _cpu_of(self._thread.native_id)

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()


@contextmanager
def watch_collector() -> Iterator[list[float]]:
    """Gives the seconds of each whole walk of the garbage collector, which stops every thread, as they happen."""
    walks: list[float] = []
    start = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal start
        if info["generation"] == 2:
            start = time.perf_counter() if phase == "start" else start
            if phase == "stop":
                walks.append(time.perf_counter() - start)

    gc.callbacks.append(note)
    try:
        yield walks
    finally:
        gc.callbacks.remove(note)


def busy_loops(seconds: float = _BUSY_S) -> float:
    """Returns how many turns a second a loop of plain Python makes on this thread: a busy cell."""
    until, turns, value = time.perf_counter() + seconds, 0, 0
    while time.perf_counter() < until:
        for number in range(1000):
            value = (value * 31 + number) % 1_000_003
        turns += 1
    return turns / seconds


def resident_bytes() -> int:
    """Returns the memory this process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def own_cpu_s(ticker: Ticker) -> float:
    """Returns the processor seconds of this process without those of the ticker."""
    return time.process_time() - ticker.cpu_s()


def thread_cpu_s() -> dict[str, float]:
    """Returns the processor seconds of each living thread by the start of its name."""
    spent: dict[str, float] = {}
    for thread in threading.enumerate():
        name = thread.name.rstrip("0123456789")
        spent[name] = spent.get(name, 0.0) + _cpu_of(thread.native_id)
    return spent


def _cpu_of(native_id: int | None) -> float:
    try:
        fields = Path(f"/proc/self/task/{native_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantiles(values: list[float]) -> dict[str, float]:
    """Returns p50, p95 and the largest, in milliseconds."""
    ordered = sorted(values) or [float("nan")]
    return {
        "p50": statistics.median(ordered) * 1e3,
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1e3,
        "worst": ordered[-1] * 1e3,
    }


@contextmanager
def watch_moments() -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """Notes when a run's end was heard and when its success was known, by task id (Unix time)."""
    from wiro_nb.execution.follow import Follower
    from wiro_nb.execution.run import Run
    from wiro_nb.execution.state_writer import StateWriter
    from wiro_nb.ledger.state import Stage

    heard: dict[str, float] = {}
    known: dict[str, float] = {}
    on_event, show = Follower._on_event, StateWriter.show

    def hear(self: Follower, followed: Any, event: Any) -> None:
        if event.status == "task_postprocess_end":
            heard.setdefault(followed.run.task_id, time.time())
        on_event(self, followed, event)

    def see(self: StateWriter, run: Run, snapshot: Any) -> None:
        if snapshot.stage in (Stage.FETCHING, Stage.DONE) and run.task_id:
            known.setdefault(run.task_id, time.time())
        show(self, run, snapshot)

    Follower._on_event, StateWriter.show = hear, see  # type: ignore[method-assign]
    try:
        yield heard, known
    finally:
        Follower._on_event, StateWriter.show = on_event, show  # type: ignore[method-assign]


@contextmanager
def cards_on(wanted: bool) -> Iterator[tuple[dict[str, float], list[tuple[str, int]]]]:
    """Notes when a card's message told of a success, by task id (Unix time), and every message of a widget."""
    from tests.bench.light import count_messages

    told: dict[str, float] = {}
    if not wanted:
        yield told, []
        return
    sent = count_messages()
    from wiro_nb.ledger.state import Stage
    from wiro_nb.notebook.widgets.card import RunCard

    update = RunCard.update

    def tell(self: RunCard, snapshot: Any, **more: Any) -> None:
        update(self, snapshot, **more)
        if snapshot.stage is Stage.FETCHING and snapshot.task_id:
            told.setdefault(snapshot.task_id, time.time())

    RunCard.update = tell  # type: ignore[method-assign]
    try:
        yield told, sent
    finally:
        RunCard.update = update  # type: ignore[method-assign]


def show_cards(runs: list[Any]) -> None:
    """Makes the card of each run and has it follow, as a cell does."""
    from wiro_nb.notebook.run.view import RunView

    with contextlib.redirect_stdout(io.StringIO()):  # there is no shell: outputs are printed
        for run in runs:
            RunView(run).show_live()


_RELEASER = """
import json, sys, time, urllib.request
origin, headers, pause_s, ids = json.loads(sys.stdin.readline())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for task_id in ids:
    data = json.dumps({"taskid": task_id}).encode()
    opener.open(urllib.request.Request(origin + "/sandbox/release", data, headers)).read()
    time.sleep(pause_s)
"""


def release(service: dict[str, Any], ids: list[str], pause_s: float) -> subprocess.Popen[str]:
    """Lets tasks go, one every `pause_s`, from another process."""
    headers = {"Content-Type": "application/json", "x-api-key": service["key_only_api_key"]}
    process = subprocess.Popen([sys.executable, "-c", _RELEASER], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps([service["origin"], headers, pause_s, ids]) + "\n")
    process.stdin.close()
    return process


def ask(service: dict[str, Any], path: str) -> dict[str, Any]:
    """Asks the sandbox's own books."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(service["origin"] + path, headers={"x-api-key": service["key_only_api_key"]})
    with opener.open(request, timeout=60) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def measure(
    service: dict[str, Any], *, in_flight: int, released: int, hold: bool, pause_s: float, cards: bool = False
) -> dict[str, Any]:
    """Brings runs into flight, lets them end, and returns what that took.

    Args:
        service: The sandbox's first line, with `origin`.
        in_flight: Runs at once.
        released: How many of them end one at a time; the others go on meanwhile. Only with `hold`.
        hold: False: they end by themselves, all at about the same time.
        pause_s: Between two ends.
        cards: True shows a card of each run that is to end. Only with `hold`.
    """
    from wiro_nb.ledger.state import Stage
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

    asked = ask(service, "/sandbox/audit")["requests"]
    manager = Manager()
    figures: dict[str, Any] = {}
    with watch_moments() as (heard, known), cards_on(cards) as (told, sent), watch_collector() as walks:
        # Imports, client and socket are paid once.
        manager.submit(Batch([manager.prepare(MODEL, {"prompt": "first"})]))[0].run.wait(60)
        idle = [busy_loops() for _ in range(5)]
        ticker = Ticker()
        time.sleep(1.0)
        figures["idle_lag_ms"] = [lag * 1e3 for lag in ticker.take()]
        memory, cpu, start = resident_bytes(), own_cpu_s(ticker), time.perf_counter()
        mark = "[hold] " if hold else ""
        prepared = [manager.prepare(MODEL, {"prompt": f"{mark}{number}"}) for number in range(in_flight)]
        figures["prepare_ms"] = (time.perf_counter() - start) * 1e3 / in_flight
        start = time.perf_counter()
        runs, done_at = [], {}
        for request in prepared:
            run = manager.submit(Batch([request]))[0].run
            run._completion._wakers += (lambda run=run: done_at.setdefault(run.id, time.time()),)  # type: ignore[misc]
            runs.append(run)
        figures["submit_call_ms"] = (time.perf_counter() - start) * 1e3 / in_flight
        _until(lambda: all(run.task_id for run in runs))
        if hold:
            _until(lambda: all(run.snapshot.stage.rank >= Stage.GENERATING.rank for run in runs))
        figures["in_flight_s"] = time.perf_counter() - start
        figures["submit_lag_ms"] = [lag * 1e3 for lag in ticker.take()]
        figures["memory_mb"] = (resident_bytes() - memory) / 1e6
        figures["cpu_submit_ms"] = (own_cpu_s(ticker) - cpu) * 1e3 / in_flight
        if hold:
            time.sleep(1.5)  # the looks that follow each registration
            ticker.take()
            with_runs = [busy_loops() for _ in range(5)]
            figures["busy_loop_ratio"] = statistics.median(with_runs) / statistics.median(idle)
            figures["held_lag_ms"] = [lag * 1e3 for lag in ticker.take()]
            chosen = runs[:released]
            if cards:
                show_cards(chosen)
            cpu, threads, messages = own_cpu_s(ticker), thread_cpu_s(), len(sent)
            releaser = release(service, [run.task_id or "" for run in chosen], pause_s)
            _until(lambda: all(run.done for run in chosen), step_s=0.2)
            releaser.wait()
            now = thread_cpu_s()
            figures["cpu_end_by_thread_ms"] = {
                name: (now[name] - threads.get(name, 0.0)) * 1e3 / len(chosen) for name in now
            }
            figures["cpu_end_ms"] = (own_cpu_s(ticker) - cpu) * 1e3 / len(chosen)
            figures["release_lag_ms"] = [lag * 1e3 for lag in ticker.take()]
            figures["card_messages"] = (len(sent) - messages) / len(chosen)
        else:
            rates = [busy_loops() for _ in range(5) if not all(run.done for run in runs)]
            figures["busy_loop_ratio"] = statistics.median(rates) / statistics.median(idle) if rates else None
            ticker.take()  # a busy cell holds a loop up by itself
            _until(lambda: all(run.done for run in runs))
            chosen = runs
            figures["all_s"] = time.perf_counter() - start
            figures["live_lag_ms"] = [lag * 1e3 for lag in ticker.take()]
            figures["collector_ms"] = max(walks, default=0.0) * 1e3
        books = ask(service, "/sandbox/audit")
    ended = {row["task_id"]: row["ended"] for row in books["tasks"] if row["ended"]}
    ids = [run.task_id or "" for run in chosen]
    figures["heard_ms"] = quantiles([heard[key] - ended[key] for key in ids if key in heard])
    figures["known_ms"] = quantiles([known[key] - ended[key] for key in ids if key in known])
    figures["told_ms"] = quantiles([told[key] - ended[key] for key in ids if key in told])
    figures["done_ms"] = quantiles(
        [done_at[run.id] - ended[run.task_id or ""] for run in chosen if run.id in done_at]
    )
    figures["succeeded"] = sum(str(run.state) == "succeeded" for run in chosen)
    figures["requests"] = {name: count - asked.get(name, 0) for name, count in books["requests"].items()}
    figures["memory_end_mb"] = (resident_bytes() - memory) / 1e6
    figures["threads"] = sorted({thread.name.rstrip("0123456789") for thread in threading.enumerate()})
    ticker.stop()
    manager.close()
    return figures


def _until(holds: Any, *, step_s: float = 0.05, timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the runs did not get there in time")
        time.sleep(step_s)


def point_at(service: dict[str, Any], folder: str) -> None:
    """Makes the sandbox the service of this process, and keeps its data in a folder."""
    os.environ |= {
        "WIRO_DATA_DIR": f"{folder}/data",
        "WIRO_SERVICE": "cloud",
        "WIRO_BASE_URL": service["base_url"],
        "WIRO_SOCKET_URL": service["socket_url"],
        "WIRO_API_KEY": service["api_key"],
        "WIRO_API_SECRET": service["api_secret"],
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def main() -> None:
    """Runs what the argument describes, in folders of its own."""
    options = json.loads(sys.argv[1])
    service = options.pop("service")
    profile = options.pop("profile", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        point_at(service, folder)
        if profile:
            _profile_io(profile)
        print(json.dumps(measure(service, **options)))
        os.chdir("/")


def _profile_io(path: str) -> None:
    """Profiles the I/O thread into a file for pstats."""
    import cProfile

    from wiro_nb.io_thread import IoThread

    serve = IoThread._serve

    def profiled(self: IoThread, loop: asyncio.AbstractEventLoop) -> None:
        profiler = cProfile.Profile()
        profiler.runcall(serve, self, loop)
        profiler.dump_stats(path)

    IoThread._serve = profiled  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
