"""Kernels die, the service misbehaves in every way it knows, and at the end its books and the ledger agree."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.faults import chaos_worker
from tests.faults.chaos_worker import NOTEBOOK, Orders
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.reproduce.verify import verify
from wiro_nb.sandbox.faults import KINDS

LENGTHS = {"hang": "", "delay": "=0.3", "slow": "=40000", "redirect": "=http://192.0.2.1/x.mp4"}
SHARES = {"accept": 0.1, "socket": 0.4, "task": 0.2, "file": 0.3}
WHERE = {"Run": 0.3, "Task/Detail": 0.3, "Task/List": 0.4}
KERNELS_AT_ONCE = 3
RUNS_EACH = 7


def all_faults() -> list[str]:
    """Every kind the sandbox has, at every place that a run passes."""
    rules = []
    for place, kinds in KINDS.items():
        for where, share in WHERE.items() if place == "rest" else {place: SHARES.get(place, 0.3)}.items():
            rules += [f"{where}:{kind}{LENGTHS.get(kind, '')}@{share}" for kind in sorted(kinds)]
    rules += [f"{where}:code={code}@0.2" for where in ("Run", "Task/Detail") for code in (0, 1, 96, 97, 98, 99)]
    return [rule.replace("429@", "429=0@") for rule in rules if ":code@" not in rule]


@dataclass
class Storm:
    """One go: a service, a data folder, and kernels that come and go.

    Attributes:
        chance: Everything random comes from here.
        squalls: How often it rages and is recovered from. A kernel takes up everything that is left, so without
            a calm in between thousands of runs would only be taken up and never go on.
        kernels: How many are started at least in each squall. runs_each: what each submits.
        runs, kills: A squall goes on until there are so many more runs in the ledger and so many more kernels
            were killed: on a slow machine a kernel dies with fewer of its runs planned.
    """

    service: Any
    folder: Path
    chance: random.Random
    squalls: int
    kernels: int
    runs_each: int
    runs: int
    kills: int
    started: int = 0
    killed: int = 0
    frozen: int = 0
    service_kills: int = 0
    faults_used: Counter[str] = field(default_factory=Counter)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WIRO_DATA_DIR": str(self.folder / "data"),
            "WIRO_SERVICE": "cloud",
            "WIRO_BASE_URL": self.service.base_url,
            "WIRO_SOCKET_URL": self.service.socket_url,
            "WIRO_API_KEY": self.service.api_key,
            "WIRO_API_SECRET": self.service.api_secret,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }

    def rage(self, context: Any) -> None:
        """Starts kernels one after the other, changes the faults every third time, and kills what it may."""
        faults = all_faults()
        self.chance.shuffle(faults)
        pending = itertools.cycle(faults)
        batch = max(3, -(-len(faults) * 3 // self.kernels))
        running: list[tuple[BaseProcess, float, float]] = []
        kills, runs = self.killed + self.kills, self._planned() + self.runs
        for number in range(self.kernels * 4):
            if number >= self.kernels and self.killed >= kills and self._planned() >= runs:
                break
            if number % 3 == 0:
                rules = list(itertools.islice(pending, batch))
                self._change_weather(rules or self.chance.sample(faults, 2))
            while len(running) >= KERNELS_AT_ONCE:
                running = self._reap(running)
            running.append(self._start(context, self.started))
            self.started += 1
            if number % max(2, self.kernels // 4) == 1:
                self.service.restart(kill=True)
                self.service_kills += 1
        while running:
            running = self._reap(running)
        insist(lambda: self.service.set_faults(""))
        insist(lambda: self.service.set_balance("100000"))

    def _planned(self) -> int:
        path = self.folder / "data" / "ledger.sqlite3"
        if not path.exists():
            return 0
        address = f"file:{path}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])

    def _change_weather(self, rules: Sequence[str]) -> None:
        self.faults_used.update(rules)
        seed, balance = self.chance.randrange(10_000), self.chance.choice(("100000", "100000", "60"))
        insist(lambda: self.service.set_faults("; ".join(rules), seed))
        # Few slots now and then: code 96 is a queue, not an error.
        insist(lambda: self.service.set_balance(balance))

    def _start(self, context: Any, number: int) -> tuple[BaseProcess, float, float]:
        prompts = [f"run {number}.{index}{self._marks()}" for index in range(self.runs_each)]
        if self.chance.random() < 0.15:
            prompts[1] = prompts[0] = f"run {number}.twins [pinned]"
        doomed = self.chance.random() < 0.88
        by_point = doomed and self.chance.random() < 0.6
        orders = Orders(
            self.environment,
            str(self.folder),
            tuple(prompts),
            cancel=tuple(index for index in range(self.runs_each) if self.chance.random() < 0.1),
            kill=chaos_worker.pick_kill(self.chance) if by_point else None,
            patience_s=self.chance.uniform(0.5, 2.0),
        )
        process = context.Process(target=chaos_worker.work, args=(orders,), daemon=True)
        process.start()
        now = time.monotonic()
        # One whose kill point is never passed dies by the clock.
        kill_at = now + (self.chance.uniform(0.1, 1.8) if doomed and not by_point else 2.2 if doomed else 12.0)
        if self.chance.random() < 0.04:
            self._freeze(process)
        return process, now, kill_at

    def _freeze(self, process: BaseProcess) -> None:
        """A closed laptop: the process stands still for longer than its leases last."""
        assert process.pid is not None
        time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):  # it may kill itself at any moment
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(chaos_worker.LEASE_S * 1.2)
            os.kill(process.pid, signal.SIGCONT)
            self.frozen += 1

    def _marks(self) -> str:
        return self.chance.choice(("",) * 14 + (" [fail]", " [crash]"))

    def _reap(self, running: list[tuple[BaseProcess, float, float]]) -> list[tuple[BaseProcess, float, float]]:
        """Kills the kernels whose time has come, and returns those that still run."""
        multiprocessing.connection.wait([process.sentinel for process, _, _ in running], timeout=0.05)
        for process, _, kill_at in running:
            if process.is_alive() and time.monotonic() >= kill_at:
                process.kill()
        left = []
        for process, started, kill_at in running:
            if process.is_alive():
                left.append((process, started, kill_at))
                continue
            process.join()
            self.killed += process.exitcode == -signal.SIGKILL
            assert process.exitcode in (0, -signal.SIGKILL), f"a kernel ended with {process.exitcode}"
            process.close()
        return left

    def recover(self, context: Any, patience_s: float) -> None:
        """Has one last kernel go on with everything, until nothing moves."""
        orders = Orders(self.environment, str(self.folder), patience_s=patience_s, finish_all=True)
        process = context.Process(target=chaos_worker.work, args=(orders,), daemon=True)
        process.start()
        process.join(patience_s + 20)
        assert process.exitcode == 0
        process.close()


def insist(call: Callable[[], Any]) -> None:
    """Calls the service until it answers: the test's own connections may be refused as well."""
    for _ in range(40):
        try:
            call()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the service could not be told")


@pytest.fixture
def context() -> Any:
    """Processes that start in milliseconds: forked from one that has imported everything already."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.faults.chaos_worker"])
    return made


def settle_by_the_books(ledger: Ledger, audit: Sequence[dict[str, Any]], manager: Any) -> Counter[str]:
    """Does with uncertain runs what a person does; says how often which way, and fails where none was needed."""
    decided: Counter[str] = Counter()
    owned = {row.task_id for row in ledger.list(limit=None)}
    for row in ledger.unfinished():
        assert row.state is RunState.UNCERTAIN, f"stuck: {row.short_id} is {row.state}: {row.message}"
        mine = [task for task in audit if is_of(task, row) and task["task_id"] not in owned]
        if mine:
            twins = sum(is_of(task, row) for task in audit)
            assert "[pinned]" in row.parameters["prompt"], (
                f"{row.short_id} has one task and was not found: {twins}"
            )
            run = manager.attach(mine[0]["task_id"])
            run.wait(20, check=False)
            owned.add(mine[0]["task_id"])
            decided["attached"] += 1
        else:
            manager.ledger.forget(row.run_id)
            decided["forgotten"] += 1
    return decided


def is_of(task: dict[str, Any], row: LedgerRow) -> bool:
    return all(
        str(task["parameters"].get(name)) == str(row.parameters[name])
        for name in ("prompt", "seed")
        if name in row.parameters
    )


def check_books(ledger: Ledger, audit: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compares the service's books with the ledger; returns what does not agree, and the sums."""
    rows = ledger.list(limit=None)
    by_task: dict[str, list[LedgerRow]] = {}
    for row in rows:
        if row.task_id:
            by_task.setdefault(row.task_id, []).append(row)
    lost, wrong, twice = [], [], []
    for task in audit:
        owners = by_task.get(task["task_id"], [])
        if not owners:
            lost.append((task["task_id"], task["parameters"].get("prompt"), task["status"]))
        elif len(owners) > 1:
            twice.append(task["task_id"])
        elif Decimal(task["billed_usd"] or 0) != (owners[0].cost_usd or 0) or not owners[0].state.is_final:
            wrong.append(
                (task["task_id"], owners[0].state, owners[0].cost_usd, task["status"], task["billed_usd"])
            )
    sent = Counter((task["parameters"]["prompt"], str(task["parameters"].get("seed"))) for task in audit)
    asked = Counter((row.parameters["prompt"], str(row.parameters.get("seed"))) for row in rows)
    twice += [key for key, count in sent.items() if count > asked[key]]
    return {
        "lost": lost,
        "wrong": wrong,
        "twice": twice,
        "runs": len(rows),
        "states": dict(Counter(str(row.state) for row in rows)),
        "billed_usd": sum((Decimal(task["billed_usd"] or 0) for task in audit), Decimal(0)),
        "ledger_usd": sum((item.spent_usd for item in ledger.spending("day", service="cloud")), Decimal(0)),
    }


def run_storm(storm: Storm, context: Any, make_manager: Any, point_at: Any) -> dict[str, Any]:
    started, raged_s, decided = time.monotonic(), 0.0, Counter[str]()
    for _ in range(storm.squalls):
        begun = time.monotonic()
        storm.rage(context)
        raged_s += time.monotonic() - begun
        storm.recover(context, 40 + storm.kernels / 4)
        point_at(storm.service)
        manager = make_manager()
        decided += settle_by_the_books(manager.ledger, storm.service.audit()["tasks"], manager)
    ledger: Ledger = manager.ledger
    fetched = 0
    for run in manager.runs(limit=None, state=RunState.SUCCEEDED):
        if any(output.problem for output in run.outputs):
            run.download()
            fetched += 1
    audit = storm.service.audit()["tasks"]
    found = check_books(ledger, audit)
    found |= {
        "runs": found["runs"] + decided["forgotten"],
        "stuck": len(ledger.unfinished()),
        "tasks": len(audit),
        "killed": storm.killed,
        "frozen": storm.frozen,
        "service_kills": storm.service_kills,
        "faults": len(storm.faults_used),
        "decided": dict(decided),
        "fetched_again": fetched,
        "problems": [item for item in verify(manager, [], ledger=True) if item.level == "problem"],
        "storm_s": round(raged_s, 1),
        "seconds": round(time.monotonic() - started, 1),
    }
    for name, value in found.items():
        print(f"  {name}: {value}")
    return found


def check_outcome(storm: Storm, found: dict[str, Any]) -> None:
    assert found["lost"] == []
    assert found["stuck"] == 0
    assert found["twice"] == []
    assert found["wrong"] == []
    assert found["billed_usd"] == found["ledger_usd"]
    assert found["problems"] == []
    assert found["runs"] >= storm.squalls * storm.runs
    assert found["killed"] >= storm.squalls * storm.kills
    assert found["faults"] == len(all_faults())


def make_storm(
    start_sandbox: Any, own_folders: Path, *, seed: int, kernels: int, runs: int, kills: int, squalls: int = 1
) -> Storm:
    """Prepares squalls of at least so many kernels, runs and kills each."""
    service = start_sandbox("--engine", "instant", "--speed", "60", "--balance", "100000")
    (own_folders / NOTEBOOK).write_text("{}")
    (own_folders.parent / "data").mkdir(exist_ok=True)
    folder = own_folders.parent
    (folder / NOTEBOOK).write_text("{}")
    return Storm(service, folder, random.Random(seed), squalls, kernels, RUNS_EACH, runs, kills)


@pytest.mark.parametrize(
    ("kernels", "runs", "kills"), [(16, 80, 10), pytest.param(24, 120, 16, marks=pytest.mark.slow)]
)
def test_nothing_is_lost_and_nothing_is_paid_twice_in_a_storm(
    start_sandbox: Any,
    own_folders: Path,
    context: Any,
    make_manager: Any,
    point_at: Any,
    kernels: int,
    runs: int,
    kills: int,
) -> None:
    """At least so many runs under every fault, kernels killed at random points at least so many times."""
    seed = int(os.environ.get("WIRO_CHAOS_SEED", "4"))
    storm = make_storm(start_sandbox, own_folders, seed=seed, kernels=kernels, runs=runs, kills=kills)
    check_outcome(storm, run_storm(storm, context, make_manager, point_at))


@pytest.mark.slow
def test_nothing_is_lost_in_a_long_storm(
    start_sandbox: Any, own_folders: Path, context: Any, make_manager: Any, point_at: Any
) -> None:
    """Ten larger ones on one ledger: 3,000 runs, 400 kills."""
    storm = make_storm(start_sandbox, own_folders, seed=5, kernels=54, runs=300, kills=40, squalls=10)
    check_outcome(storm, run_storm(storm, context, make_manager, point_at))
