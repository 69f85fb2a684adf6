"""Making runs again, comparing, verifying: the tutorial on a painting sandbox, and the magics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SandboxProcess
from tests.notebook.committed import check_tutorial
from tests.notebook.kernels import CLIP_MODEL, SMALL, LiveKernel
from tests.notebook.tutorials import Executed, execute_tutorials, point_kernels_at
from tests.unit.provenance.test_foreign_settings import PARAMETERS, make_picture
from wiro_nb.provenance.embed import read_embedded
from wiro_nb.provenance.record import add_hash, read_sidecar, write_sidecar

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REPRODUCE = "03-reproduce.ipynb"


def shown(done: Executed, cell_id: str) -> str:
    """Everything a cell says in text."""
    cell = next(cell for cell in done.notebook.cells if cell["id"] == cell_id)
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


def test_the_tutorial_makes_the_same_clip_from_the_file_alone_and_tells_its_history(
    start_sandbox: Callable[..., SandboxProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    # A sandbox whose clips differ by their settings.
    service = start_sandbox("--speed", "50", "--balance", "1000", data=data / "sandbox")
    point_kernels_at(data, monkeypatch)
    painted = execute_tutorials([REPRODUCE], tmp_path)[REPRODUCE]
    check_tutorial(REPRODUCE, painted, service)

    friend = read_embedded(painted.folder / "from-a-friend.mp4")
    assert friend["seed"]["pinned"] is False
    assert friend["seed"]["value"] in shown(painted, "dry")
    assert "came out the same" in shown(painted, "same")
    assert "byte for byte" in shown(painted, "same")
    again = next(
        record for record in painted.records if (record["parent"] or {}).get("run_id") == friend["run_id"]
    )
    assert again["outputs"][0]["sha256"] == friend["outputs"][0]["sha256"]
    assert "came out different" in shown(painted, "other")
    assert "mean PSNR" in shown(painted, "other")
    told = shown(painted, "history")
    assert "made again from" in told
    assert "from the last frame of" in told
    assert "no problem found" in shown(painted, "verify")
    assert "ro-crate-metadata.json" in shown(painted, "crate")


def run_clip(kernel: LiveKernel) -> str:
    """Makes a clip and returns its short id."""
    kernel.run("%load_ext wiro_nb")
    answer = kernel.run(
        f"%%wiro {CLIP_MODEL} {SMALL} seed=random --wait --as clip\na <b>bold</b> <script>fox()</script>"
    )
    assert answer.status == "ok", answer.text
    return kernel.run("print(clip.short_id)").text.strip()


def test_a_cell_that_makes_a_run_again_pays_once(kernel: LiveKernel) -> None:
    """Run all cells twice: the second time the run made again is shown, unless `--fresh` says otherwise."""
    short = run_clip(kernel)
    line = f"%wiro rerun {short} --wait --as again"
    assert kernel.run(line).status == "ok"
    kernel.run("one = again")
    second = kernel.run(line)
    assert "No charge" in second.text
    assert kernel.run("print(again.id == one.id, one.id != clip.id)").text.strip() == "True True"
    kernel.run(f"{line} --fresh")
    kernel.run("import wiro_nb\ntwo = [wiro_nb.rerun(clip, wait=True) for _ in range(2)]")
    told = kernel.run(
        "print(len({one.id, again.id, clip.id}), two[0].id != two[1].id, two[0].parameters == clip.parameters)"
    )
    assert told.text.strip() == "3 True True"


def test_a_dry_run_sends_nothing_and_shows_no_markup_of_a_prompt(kernel: LiveKernel) -> None:
    short = run_clip(kernel)
    answer = kernel.run(f"%wiro rerun {short} seed=9 --dry-run")
    (page,) = answer.shown
    assert '"seed": "9"' in page["data"]["text/plain"]
    assert "<script>" not in page["data"]["text/html"]
    assert "&lt;script&gt;" in page["data"]["text/html"]
    (page,) = kernel.run("%wiro rerun clip seed=9 --dry-run").shown
    assert f"rerun of {short}" in page["data"]["text/plain"], "a variable that holds the run names it too"
    assert kernel.run("import wiro_nb\nprint(len(wiro_nb.runs()))").text.strip() == "1"


def test_a_name_that_is_markup_shows_as_text(kernel: LiveKernel, kernel_env: Path) -> None:
    run_clip(kernel)
    name = "<img src=x onerror=alert(1)>.mp4"
    (clip,) = kernel_env.glob("wiro_outputs/*/0.mp4")
    shutil.copy(clip, kernel_env / name)
    kernel.run("%load_ext wiro_nb\nimport wiro_nb")
    answer = kernel.run(f"display(wiro_nb.verify({name!r}))\nwiro_nb.compare(clip, {name!r})")
    assert answer.status == "ok", answer.text
    html = "\n".join(content["data"].get("text/html", "") for content in answer.shown)
    assert "&lt;img src=x" in html
    assert "<img src=x" not in html


def test_bad_sources_are_one_line_that_says_what_to_type(kernel: LiveKernel, kernel_env: Path) -> None:
    short = run_clip(kernel)
    (kernel_env / "broken.ipynb").write_text("{")
    (kernel_env / "cut.mp4").write_bytes(next(kernel_env.glob("wiro_outputs/*/0.mp4")).read_bytes()[:900])
    (kernel_env / "foreign").mkdir()
    record = read_sidecar(next(kernel_env.glob("wiro_outputs/*/run.json")))
    write_sidecar(kernel_env / "foreign", add_hash({**record, "parameters": {"prompt": "x", "mood": "blue"}}))
    for source, word in (
        ("broken.ipynb", "not JSON"),
        ("cut.mp4", "cannot be read"),
        ("gone.mp4", "does not exist"),
        ("zzzzz", "No run"),
        ("foreign", "cannot be sent as it was"),
    ):
        answer = kernel.run(f"%wiro rerun {source}")
        assert answer.status == "error", source
        assert word in answer.text
        assert "Traceback" not in answer.text
    assert "mood=" in answer.text
    assert kernel.run("%wiro rerun foreign mood= --wait").status == "ok"
    altered = json.loads((kernel_env / "foreign" / "run.json").read_text("utf-8"))
    altered["wiro"]["parameters"] = {"prompt": "y"}
    (kernel_env / "foreign" / "run.json").write_text(json.dumps(altered), "utf-8")
    assert "changed after it was written" in kernel.run("%wiro rerun foreign").text
    assert kernel.run("%wiro rerun foreign --force --dry-run").status == "ok"
    assert kernel.run(f"%wiro compare {short}").status == "error"


def test_a_form_opens_with_any_source(kernel: LiveKernel, kernel_env: Path) -> None:
    run_clip(kernel)
    (clip,) = kernel_env.glob("wiro_outputs/*/0.mp4")
    kernel.run("import wiro_nb")
    for source in ("last", str(clip), str(clip.parent), str(clip.parent / "run.json")):
        answer = kernel.run(f"form = wiro_nb.form({CLIP_MODEL!r}, source={source!r})\nprint(form['seed'].value)")
        assert answer.status == "ok", answer.text
        assert answer.text.strip() == read_embedded(clip)["seed"]["value"]
    make_picture(kernel_env / "a.png", {"parameters": PARAMETERS})
    code = (
        "form = wiro_nb.form('wiro/animate-diff', source='a.png')\nprint(form['seed'].value, form['steps'].value)"
    )
    answer = kernel.run(code)
    assert answer.text.splitlines()[-1] == "1234 20"
    assert "Written by A1111. Taken: prompt, negativePrompt, steps, seed, " in answer.text
    assert "Not taken: " in answer.text
    foreign = kernel_env / "foreign"
    foreign.mkdir()
    record: dict[str, Any] = read_embedded(clip)
    secret = kernel_env / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n")
    write_sidecar(foreign, add_hash({**record, "parameters": {"prompt": "x", "inputImage": str(secret)}}))
    answer = kernel.run("form = wiro_nb.form('pruna/vace', source='foreign')\nprint(form['inputImage'].value)")
    assert answer.status == "ok", answer.text
    assert "secret" not in answer.text
