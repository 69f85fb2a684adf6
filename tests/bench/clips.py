"""What a finished run leaves in the notebook, and how fast the sandbox paints."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"


def paint() -> dict[str, Any]:
    """Paints the clip of the budget in this process; CPU counts, as other programs use the cores, too."""
    from wiro_nb.media import decode
    from wiro_nb.sandbox.engines import Job, Progress
    from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

    folder = Path(tempfile.mkdtemp(dir="."))
    parameters = {"prompt": "a lake at dawn, mist over the water", "numFrames": "81"}
    times = []

    async def report(progress: Progress) -> None:
        pass

    for _ in range(3):
        job = Job(MODEL, "clip", parameters, {}, folder)
        cpu = time.process_time()
        made = asyncio.run(PlaceholderEngine().run(job, report))
        times.append(time.process_time() - cpu)
    info = decode.probe(made.path)
    return {"cpu_s": min(times), "frames": info.frames, "size": [info.width, info.height]}


def measure(service: dict[str, Any]) -> dict[str, Any]:
    """Runs one whole clip of 81 frames, and lets a notebook of 200 runs say hello."""
    from tests.bench.light import count_messages
    from wiro_nb.notebook.run.display import static_output
    from wiro_nb.provenance.record import canonical_json
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

    painted = paint()
    manager = Manager()
    manager.submit(Batch([manager.prepare(MODEL, {"prompt": "warm-up", "numFrames": "5"})]))[0].run.wait(60)
    prepared = manager.prepare(
        MODEL,
        {"prompt": "a lake at dawn, mist over the water", "numFrames": "81"},
    )
    run = manager.submit(Batch([prepared]))[0].run.wait(120)
    shown = static_output(run)
    record = run.record or {}
    output = len(json.dumps({"data": shown.data, "metadata": dict(shown.metadata)}))
    index = len(canonical_json(record))
    manager.close()

    sent = count_messages()
    from wiro_nb.notebook.widgets.views import BridgeWidget

    bridge = BridgeWidget(lambda _handshake: None)
    before = len(sent)
    bridge.send_runs({f"{number:026}": record for number in range(200)})
    size = sum(length for _, length in sent[before:])
    return {
        **painted,
        "output_bytes": output,
        "index_bytes": index,
        "poster": run.outputs[0].poster_path is not None,
        "messages_200": len(sent) - before,
        "bytes_200": size,
    }


def main() -> None:
    """Runs in folders of its own."""
    from tests.bench.load import point_at

    service = json.loads(sys.argv[1])["service"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        point_at(service, folder)
        print(json.dumps(measure(service)))
        os.chdir("/")


if __name__ == "__main__":
    main()
