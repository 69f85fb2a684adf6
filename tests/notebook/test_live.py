"""A live kernel: nothing waits, the card gives way to the result, errors are cards, unloading leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from tests.notebook.kernels import CLIP_MODEL, SMALL, LiveKernel
from wiro_nb.provenance.record import check_record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def loaded(kernel: LiveKernel) -> LiveKernel:
    answer = kernel.run("%load_ext wiro_nb")
    assert answer.status == "ok"
    assert answer.text == "", "loading says nothing when there is nothing to say"
    return kernel


def is_update(message: dict[str, Any], display_id: str) -> bool:
    content = message["content"]
    return message["msg_type"] == "update_display_data" and content["transient"]["display_id"] == display_id


def test_a_card_keeps_its_buttons_until_a_page_says_that_it_has_no_document(
    loaded: LiveKernel, shared_sandbox: SandboxProcess
) -> None:
    cell = f"%%wiro {CLIP_MODEL} {SMALL} seed=7 --as clip\na live sea [hold]"
    answer = loaded.run(cell)
    card = answer.shown[0]
    assert WIDGET_VIEW in card["data"]
    assert "Not finished when this notebook was saved" in card["data"]["text/html"]
    shown_id = card["transient"]["display_id"]
    shared_sandbox.release(shared_sandbox.task_of("a live sea [hold]"))
    ended = loaded.wait_for(lambda message: is_update(message, shown_id))["content"]
    assert WIDGET_VIEW in ended["data"], "no page has answered: the kernel may only be busy"
    assert "<video " in ended["data"]["text/html"]
    again = loaded.run(cell).shown[0]
    assert WIDGET_VIEW in again["data"], "a run that is shown again has its buttons too"
    assert "Already made as run" in again["data"]["text/html"]

    (bridge,) = (
        message["content"]["comm_id"]
        for message in answer.heard
        if message["msg_type"] == "comm_open"
        and "BridgeWidget" in message["content"]["data"]["state"].get("_anywidget_id", "")
    )
    loaded.tell(bridge, {"type": "handshake", "notebook_ok": False})
    final = loaded.wait_for(lambda message: is_update(message, shown_id))["content"]
    assert WIDGET_VIEW not in final["data"], "a dead card would be saved there"
    check_record(final["metadata"]["wiro"])
    assert final["metadata"]["wiro"]["status"] == "succeeded"
    assert WIDGET_VIEW not in loaded.run(cell).shown[0]["data"]
    assert loaded.run("print(clip.status)").text.strip() == "succeeded"


def test_a_run_updates_without_the_extension_too(kernel: LiveKernel, shared_sandbox: SandboxProcess) -> None:
    small = ", ".join(f"{name}={value!r}" for name, value in (pair.split("=") for pair in SMALL.split()))
    answer = kernel.run(f"import wiro_nb\nwiro_nb.run({CLIP_MODEL!r}, prompt='a plain sea [hold]', {small})")
    (card,) = answer.shown
    assert WIDGET_VIEW in card["data"]
    shared_sandbox.release(shared_sandbox.task_of("a plain sea [hold]"))
    final = kernel.wait_for(lambda message: is_update(message, card["transient"]["display_id"]))["content"]
    assert final["metadata"]["wiro"]["status"] == "succeeded"


def test_a_cell_run_twice_in_a_row_starts_one_run(loaded: LiveKernel) -> None:
    cell = f"%%wiro {CLIP_MODEL} {SMALL} --as clip\na held sea [hold]"
    loaded.run(cell)
    first = loaded.run("print(clip.id)").text
    again = loaded.run(cell)
    assert loaded.run("print(clip.id)").text == first
    assert "Already under way" in again.shown[0]["data"]["text/html"]
    assert loaded.run("%wiro cancel last").status == "ok"


def test_waiting_in_a_live_cell_gives_the_result_and_keeps_the_loop_alive(
    loaded: LiveKernel, shared_sandbox: SandboxProcess
) -> None:
    loaded.run(
        "import asyncio\n"
        "async def tick():\n    while True:\n"
        "        await asyncio.sleep(0.05)\n        print('tick', flush=True)\n"
        "task = asyncio.get_running_loop().create_task(tick())"
    )
    message_id = loaded.start(f"%%wiro {CLIP_MODEL} {SMALL} --wait --fresh --as clip\na waited sea [hold]")
    loaded.wait_for(lambda message: message["msg_type"] == "display_data")
    # The card is there and the run is held: from here on the loop turns in the waiting or not at all.
    for _ in range(3):
        loaded.wait_for(lambda message: message["msg_type"] == "stream" and "tick" in message["content"]["text"])
    shared_sandbox.release(shared_sandbox.task_of("a waited sea [hold]"))
    assert loaded.reply_to(message_id)["content"]["status"] == "ok"
    assert loaded.run("task.cancel()\nprint(clip.status)").text.splitlines()[-1] == "succeeded"


def test_an_interrupt_stops_the_waiting_and_never_the_run(loaded: LiveKernel) -> None:
    message_id = loaded.start(f"%%wiro {CLIP_MODEL} {SMALL} --as clip --wait\nan interrupted sea [hold]")
    loaded.wait_for(lambda message: message["msg_type"] == "display_data")
    loaded.manager.interrupt_kernel()
    reply = loaded.reply_to(message_id)["content"]
    assert reply["ename"] == "WaitInterrupted"
    assert reply["traceback"] == [reply["evalue"]]
    assert loaded.run("print(clip.done)").text.strip() == "False"
    assert "Cancelled" in loaded.run("%wiro cancel last").shown[0]["data"]["text/html"]


@pytest.mark.parametrize("waiting", ["await clip", "clip.wait()", "%wiro wait"])
def test_an_interrupt_of_any_waiting_says_how_to_come_back(loaded: LiveKernel, waiting: str) -> None:
    loaded.run(f"%%wiro {CLIP_MODEL} {SMALL} --as clip\nan interrupted {waiting} [hold]")
    short_id = loaded.run("print(clip.short_id)").text.strip()
    # The loop turns only once the cell waits: then it says so.
    say = "import asyncio\nasyncio.get_running_loop().call_later(0.05, lambda: print('waiting', flush=True))"
    message_id = loaded.start(f"{say}\n{waiting}")
    loaded.wait_for(lambda message: message["msg_type"] == "stream" and "waiting" in message["content"]["text"])
    loaded.manager.interrupt_kernel()
    reply = loaded.reply_to(message_id)["content"]
    assert reply["ename"] == ("CancelledError" if waiting.startswith("await") else "WaitInterrupted")
    assert f"%wiro wait {short_id}" in reply["evalue"]
    assert reply["traceback"] == [reply["evalue"]]
    assert loaded.run("print(clip.done)").text.strip() == "False"
    loaded.run("clip.cancel(); clip.wait(check=False)")


def test_a_preferred_service_without_a_key_is_told_and_can_be_changed(loaded: LiveKernel) -> None:
    loaded.run("%config WiroMagics.service = 'cloud'")
    for _ in range(2):
        assert loaded.run("%wiro").reply["content"]["ename"] == "MissingCredentials"
    assert loaded.run("%wiro use sandbox").status == "ok"
    assert "sandbox" in loaded.run("%wiro").text


def test_an_error_is_a_card_and_one_line_and_fails_the_cell(loaded: LiveKernel) -> None:
    answer = loaded.run(f"%%wiro {CLIP_MODEL} numFrames=82\na sea")
    assert answer.status == "error"
    assert answer.reply["content"]["ename"] == "InvalidParameter"
    page = answer.shown[0]["data"]["text/html"]
    assert "numFrames" in page
    assert "Nothing was sent and nothing was billed." in page
    assert answer.of("error")[0]["traceback"] == ["InvalidParameter"], "the card has said the rest"


def test_debug_shows_the_whole_traceback(loaded: LiveKernel) -> None:
    loaded.run("%config WiroMagics.debug = True")
    answer = loaded.run(f"%%wiro {CLIP_MODEL} numFrames=82\na sea")
    assert any("values.py" in line for line in answer.of("error")[0]["traceback"])


def test_a_wrong_line_is_a_usage_error_that_fails_the_cell(loaded: LiveKernel) -> None:
    answer = loaded.run("%wiro shwo abc")
    assert answer.status == "error"
    assert answer.text.strip() == "UsageError: no command 'shwo'. Did you mean %wiro show?"
    answer = loaded.run("%%wiro sandbox/plain-clip seed=7")
    assert answer.text.strip().startswith("UsageError: the cell has no prompt: write it below the first line")
    assert "%%wiro needs MODEL" in loaded.run("%%wiro").text


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("wait", "'sometimes'"),
        ("budget_usd", "'lots'"),
        ("max_download_mb", "-1"),
        ("max_download_mb", "1e400"),
        ("out_dir", "''"),
    ],
)
def test_settings_are_checked_when_they_are_set(loaded: LiveKernel, trait: str, value: str) -> None:
    before = loaded.run(f"%config WiroMagics.{trait}").text
    assert trait in loaded.run(f"%config WiroMagics.{trait} = {value}").text
    assert loaded.run(f"%config WiroMagics.{trait}").text == before


def test_completion_offers_commands_models_settings_choices_and_runs(loaded: LiveKernel) -> None:
    assert "models" in loaded.complete("%wiro mo")
    assert loaded.complete("%%wiro pruna") == ["pruna/vace"]
    assert loaded.complete("%%wiro pruna/vace frame") == ["frameNum="]
    assert loaded.complete_whole("%%wiro pruna/vace ratio=16", 26) == [
        '%%wiro pruna/vace ratio="16:9 (Landscape)"'
    ]
    assert loaded.complete("%%wiro pruna/vace --max") == ["--max-cost"]
    cell = "%%wiro pruna/vace\nresolution: 7\n---\na sea"
    assert "%%wiro pruna/vace\nresolution: 720p\n---\na sea" in loaded.complete_whole(cell, cell.index("7") + 1)
    loaded.run(f"%%wiro {CLIP_MODEL} {SMALL} --as clip --wait\na completed sea")
    short_id = loaded.run("print(clip.short_id)").text.strip()
    for command in ("show", "rerun", "compare"):
        assert loaded.complete(f"%wiro {command} ")[0] == short_id
    answer = loaded.reply_to(loaded.client.complete("%wiro rerun ", 12))["content"]["metadata"]
    assert answer["_jupyter_types_experimental"][0]["type"] == "a\N{NO-BREAK SPACE}completed\N{NO-BREAK SPACE}sea"
    assert "wiro_outputs/" in loaded.complete("%wiro run pruna/vace inputImage=wiro")


PROBE = """
import json, sys, threading
from ipywidgets.widgets.widget import _instances
ip = get_ipython()
types = ip.display_formatter.ipython_display_formatter.type_printers
print(json.dumps({
    "line": "wiro" in ip.magics_manager.magics["line"],
    "cell": "wiro" in ip.magics_manager.magics["cell"],
    "registry": "WiroMagics" in ip.magics_manager.registry,
    "configurables": [type(item).__name__ for item in ip.configurables].count("WiroMagics"),
    "matchers": len(ip.Completer.custom_matchers),
    "formatters": sum(kind.__module__.startswith("wiro_nb") for kind in types),
    "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("wiro")],
    "widgets": [name for item in _instances.values() if (name := type(item).__module__).startswith("wiro_nb")],
}))
"""


def test_unloading_leaves_nothing_behind(loaded: LiveKernel) -> None:
    loaded.run(f"%%wiro {CLIP_MODEL} {SMALL} --wait --as clip\nan unloaded sea")
    loaded.run("clip")
    loaded.run("%wiro form pruna/vace")
    there = json.loads(loaded.run(PROBE).text)
    assert there["threads"]
    assert there["widgets"]
    assert all(there[name] for name in ("line", "cell", "registry"))
    assert there["configurables"] == there["matchers"] == 1
    assert loaded.run("%unload_ext wiro_nb").status == "ok"
    assert json.loads(loaded.run(PROBE).text) == {
        "line": False,
        "cell": False,
        "registry": False,
        "configurables": 0,
        "matchers": 0,
        "formatters": 0,
        "threads": [],
        "widgets": [],
    }
    assert loaded.run("%reload_ext wiro_nb").status == "ok"
    assert loaded.run("%wiro").status == "ok"


OPEN = """
import comm, gc, json, os, threading
from collections import Counter
gc.collect()

def targets():
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        # Not ours: IPython's history, whose thread also opens its folder for a moment, and a wake-up of
        # ipykernel for each thread that spoke, collected later.
        if "profile_default" not in target and "eventfd" not in target:
            yield target.partition("[")[0] if target.startswith(("socket", "pipe")) else target

print(json.dumps({
    "files": Counter(target.partition(":")[0] if target[0] != "a" else target for target in targets()),
    "comms": len(comm.get_comm_manager().comms),
    "threads": sorted(t.name for t in threading.enumerate() if t.name.startswith(("wiro", "asyncio"))),
}))
"""


@pytest.mark.usefixtures("own_data")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts by /proc")
def test_unloading_with_runs_in_flight_leaks_nothing_and_they_are_taken_up_again(new_kernel: LiveKernel) -> None:
    """The second round opens as much as the first, and closes it: threads, sockets, files, comms, processes."""
    kernel = new_kernel
    kernel.run("%load_ext wiro_nb\n%wiro form pruna/vace")
    kernel.run("%unload_ext wiro_nb")
    before = json.loads(kernel.run(OPEN).text)
    kernel.run("%load_ext wiro_nb")
    kernel.run("%wiro form pruna/vace")
    for number in range(3):
        cell = f"%%wiro {CLIP_MODEL} {SMALL} --as clip{number}\n[hold] in flight {number}"
        assert kernel.run(cell).status == "ok"
    kernel.run("import time\nfor r in (clip0, clip1, clip2):\n    while r.task_id is None: time.sleep(0.02)")
    during = json.loads(kernel.run(OPEN).text)
    assert during["threads"]
    assert during["comms"] > before["comms"]
    kernel.run("ids = [r.id for r in (clip0, clip1, clip2)]")
    assert kernel.run("%unload_ext wiro_nb").status == "ok"
    assert json.loads(kernel.run(OPEN).text) == before
    kernel.run("%load_ext wiro_nb")
    said = kernel.run("import wiro_nb\nprint([wiro_nb.show(i).state.value for i in ids])").text
    assert "['submitted', 'submitted', 'submitted']" in said
    kernel.run("for i in ids: wiro_nb.show(i).cancel()")
    assert kernel.run("%wiro wait").status == "ok"
