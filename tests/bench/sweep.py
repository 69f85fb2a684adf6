"""A sweep of 100 against the sandbox, in figures: `python -m tests.bench.sweep [COUNT]`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
VALUES = {"prompt": "a sea", "numFrames": 5, "steps": 4}


def main(count: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = [sys.executable, "-m", "wiro_nb", "sandbox", "--engine", "instant", "--speed", "50"]
        command += ["--balance", "1000", "--data", str(folder / "sandbox")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            info = json.loads(process.stdout.readline())
            (folder / "work").mkdir()
            os.chdir(folder / "work")
            os.environ |= {
                "WIRO_DATA_DIR": str(folder / "data"),
                "WIRO_SERVICE": "cloud",
                "WIRO_BASE_URL": info["base_url"],
                "WIRO_SOCKET_URL": info["socket_url"],
                "WIRO_API_KEY": info["api_key"],
                "WIRO_API_SECRET": info["api_secret"],
            }
            try:
                for line in measure(count):
                    print(line)
            finally:
                process.stdin.close()
                os.chdir("/")


def measure(count: int) -> list[str]:
    """Runs one sweep with its grid and returns the figures as lines."""
    from wiro_nb.execution.requests import Origin
    from wiro_nb.notebook.sweep.view import SweepView
    from wiro_nb.session import close_manager, get_manager
    from wiro_nb.sweeps import Sweep
    from wiro_nb.sweeps.plan import plan_sweep

    manager, origin = get_manager(), Origin(notebook=str(Path.cwd() / "bench.ipynb"))
    manager.prices.detail(MODEL)  # the connection and the price page are not what is measured
    lines = []

    def timed(what: str, work: Any) -> Any:
        began = time.perf_counter()
        result = work()
        lines.append(f"{what:<52} {1000 * (time.perf_counter() - began):8.0f} ms")
        return result

    plan = timed(
        f"plan {count} points: checked, priced, looked up",
        lambda: plan_sweep(manager, MODEL, {"seed": range(1, count + 1)}, VALUES, origin=origin),
    )
    messages = count_messages()
    before = cpu_s()
    began = time.perf_counter()
    sweep = timed(f"start: {count} intents on disk, handle returned", lambda: Sweep.start(manager, plan))
    view = SweepView(sweep)
    timed("grid made and displayed", view.show_live)
    sweep.wait()
    took, cpu = time.perf_counter() - began, cpu_s() - before
    lines.append(f"{'all done':<52} {took:8.2f} s, {count / took:.0f} runs a second")
    lines.append(f"{'CPU of this process a run, download and poster too':<52} {1000 * cpu / count:8.1f} ms")
    per_run = f"{messages['count'] / count:8.2f}, {messages['bytes'] / count / 1000:.1f} kB a run"
    lines.append(f"{'grid messages a run':<52} {per_run}")
    timed(
        "the same sweep again: planned, nothing to send",
        lambda: plan_sweep(manager, MODEL, {"seed": range(1, count + 1)}, VALUES, origin=origin),
    )
    output = timed("static form", view.output)
    lines.append(f"{'static form a run':<52} {sum(map(len, output.data.values())) / count / 1000:8.1f} kB")
    view.close()
    close_manager()
    return lines


def count_messages() -> dict[str, int]:
    """Counts what widgets send from now on."""
    from ipywidgets import Widget

    counted = {"count": 0, "bytes": 0}
    send = Widget._send

    def count(self: Any, message: Any, buffers: Any = None) -> None:
        counted["count"] += 1
        counted["bytes"] += len(json.dumps(message, default=str))
        send(self, message, buffers)

    Widget._send = count
    return counted


def cpu_s() -> float:
    """Seconds of CPU this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
