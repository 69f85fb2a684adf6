"""What loading costs over bare IPython and ipywidgets, and what forms and cards send."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.bench.figures import Figure, bounded

_LOAD = """
import json, sys, threading, time
import ipywidgets
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
modules, threads, start = len(sys.modules), threading.active_count(), time.perf_counter()
shell.run_line_magic("load_ext", "wiro_nb")
took = time.perf_counter() - start
print(json.dumps([took * 1e3, len(sys.modules) - modules, threading.active_count() - threads]))
"""


def measure_load() -> list[Figure]:
    """Loads the extension in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PATH": "", "HOME": folder, "WIRO_DATA_DIR": folder, "IPYTHONDIR": folder}
        environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
        rows = []
        for _ in range(7):
            done = subprocess.run(
                [sys.executable, "-c", _LOAD], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    _, modules, threads = rows[0]
    least = min(row[0] for row in rows)
    return [
        bounded("load", "`%load_ext wiro_nb` over IPython and ipywidgets, best of 7", least, 50, "ms"),
        Figure("load", "... median of 7", f"{statistics.median(row[0] for row in rows):.1f} ms"),
        Figure("load", "... modules imported, threads started", f"{modules}, {threads}"),
    ]


def count_messages() -> list[tuple[str, int]]:
    """Has every comm message counted from now on; returns the list that fills: kind and bytes."""
    import comm
    from comm.base_comm import BaseComm

    sent: list[tuple[str, int]] = []

    class CountingComm(BaseComm):
        def publish_msg(
            self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
        ) -> None:
            size = len(json.dumps(data, default=str)) + sum(len(buffer) for buffer in buffers or ())
            sent.append((msg_type, size))

    comm.create_comm = lambda *args, **kwargs: CountingComm(*args, **kwargs)
    return sent


def measure_forms() -> list[Figure]:
    """Builds the form of every bundled model; the first one pays for imports and is built twice."""
    from wiro_nb.notebook.form.form import ModelForm
    from wiro_nb.schema import bundled_models

    sent = count_messages()
    rows = []
    models = bundled_models()
    ModelForm(models[0], on_run=lambda *_: None)
    for schema in models:
        times = []
        for _ in range(3):
            sent.clear()
            start = time.perf_counter()
            form = ModelForm(schema, on_run=lambda *_: None)
            times.append(time.perf_counter() - start)
            opened = list(sent)
            form.close()
        rows.append(
            (schema.slug, len(schema.parameters), min(times) * 1e3, len(opened), sum(size for _, size in opened))
        )
    group = "form"
    figures = [
        Figure(group, f"{slug}, {count} inputs", f"{ms:.1f} ms, {messages} messages, {size / 1e3:.0f} kB")
        for slug, count, ms, messages, size in rows
    ]
    worst = max(rows, key=lambda row: row[2] / max(row[1], 12))
    most = max(rows, key=lambda row: row[3])
    return [
        *figures,
        bounded(group, f"kernel time, the slowest for its size ({worst[0]})", worst[2], 30, "ms"),
        bounded(group, f"messages, the most ({most[0]})", most[3], 45, "messages", digits=0),
    ]


if __name__ == "__main__":
    from dataclasses import asdict

    print(json.dumps({"figures": [asdict(figure) for figure in measure_forms()]}))
