"""A worker without torch that speaks the pool's protocol. The call's `prompt` says how it behaves.

`ok`, `crash` (ends), `crash once` (ends the first time), `kill host once` (its parent too), `hang` (deaf),
`garbage` (deaf after half a message), `slow` (until cancelled), `slow once` (the first time), `fail`.
WIRO_STUB_DEVICES says how many devices it has,
WIRO_STUB_LOG names a file for what ran, WIRO_STUB_CLIP one that it gives as its clip.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

messages: queue.Queue[dict] = queue.Queue()
cancelled: set[int] = set()


def send(kind: str, **values: object) -> None:
    print(json.dumps({"type": kind, **values}), flush=True)


def read() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "cancel":
            cancelled.add(message["job"])
        else:
            messages.put(message)
    os._exit(0)


def read_texts(paths: str | list[str]) -> object:
    return Path(paths).read_text() if isinstance(paths, str) else [Path(path).read_text() for path in paths]


def run(message: dict) -> None:
    job, call, out = message["job"], message["call"], Path(message["out"])
    prompt = call["arguments"]["prompt"]
    preview = {"image": "data:image/jpeg;base64,anBlZw==", "width": 8, "height": 4}
    send("progress", job=job, phase="load", step=0, steps=0, preview=None)
    models.append(call["key"])
    with (Path(os.environ["WIRO_STUB_LOG"])).open("a") as log:
        log.write(f"{sys.argv[1]} {call['key']} {prompt}\n")
    send("progress", job=job, phase="generate", step=1, steps=2, preview=preview)
    if prompt == "crash" or (prompt == "crash once" and not out.with_suffix(".crashed").exists()):
        out.with_suffix(".crashed").write_text("")
        print("Killed by the test", file=sys.stderr, flush=True)
        os._exit(9)
    if prompt == "kill host once" and not (killed := Path(os.environ["WIRO_STUB_LOG"] + ".killed")).exists():
        killed.write_text("")
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(9)
    if prompt == "garbage":
        print("{half", flush=True)
    if prompt in ("hang", "garbage"):
        while True:
            time.sleep(60)
    runs = (Path(os.environ["WIRO_STUB_LOG"])).read_text().count("slow once\n")
    while (prompt == "slow" or (prompt == "slow once" and runs == 1)) and job not in cancelled:
        time.sleep(0.01)
    if job in cancelled:
        send("cancelled", job=job, models=models)
    elif prompt == "fail":
        send("failed", job=job, models=models, message="Out of memory on a card of 8 GB: lower the size.")
    else:
        clip = os.environ.get("WIRO_STUB_CLIP")
        out.write_bytes(Path(clip).read_bytes() if clip else b"clip")
        facts: dict[str, object] = {"device": f"stub {sys.argv[1]}"}
        if pictures := call.get("pictures"):
            facts["pictures"] = {name: read_texts(value) for name, value in pictures.items()}
        send("done", job=job, models=models, facts=facts)


models: list[str] = []
if os.environ.get("WIRO_STUB_BROKEN"):
    sys.exit("ModuleNotFoundError: torch is missing")
threading.Thread(target=read, daemon=True).start()
devices = int(os.environ.get("WIRO_STUB_DEVICES", "1"))
send("ready", device="cpu", device_name="stub", memory_bytes=None, devices=devices, versions={})
while True:
    run(messages.get())
