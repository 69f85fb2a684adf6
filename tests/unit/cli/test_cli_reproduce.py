"""`wiro-nb rerun`, `compare`, `verify`, `seal`, `export`: what they print, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from rocrate.rocrate import ROCrate

from tests.manager_tools import WAN
from tests.unit.cli.commands import Command
from tests.unit.provenance.test_foreign_settings import make_picture
from wiro_nb.provenance.record import add_hash, check_record


@pytest.fixture
def record(command: Command) -> dict[str, Any]:
    code, out, _ = command("run", WAN, "prompt=a cat", "seed=random", "--json")
    assert code == 0
    return check_record(json.loads(out))


@pytest.fixture
def clip(record: dict[str, Any], own_folders: Path) -> Path:
    return own_folders / record["outputs"][0]["path"]


def notebook_with(path: Path, *records: dict[str, Any]) -> Path:
    outputs = [
        nbformat.v4.new_output("display_data", {"text/plain": "x"}, metadata={"wiro": item}) for item in records
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%wiro runs", outputs=outputs)]), path
    )
    return path


def test_a_clip_is_made_again_and_came_out_the_same(command: Command, record: dict[str, Any], clip: Path) -> None:
    code, out, err = command("rerun", clip, "--json")
    again = check_record(json.loads(out))
    assert code == 0
    assert again["parameters"] == record["parameters"]
    assert again["parent"] == {"run_id": record["run_id"], "output": None}
    assert f"wiro-nb compare {clip}" in err
    code, out, _ = command("compare", clip, again["run_id"], "--json")
    found = json.loads(out)
    assert (code, found["same"], found["settings"]) == (0, True, [])
    code, out, _ = command("compare", again["run_id"])
    assert "Came out the same" in out
    code, out, _ = command("show", again["run_id"])
    assert "made again from" in out


def test_a_setting_and_the_folder_are_changed_where_they_stand(
    command: Command, record: dict[str, Any], own_folders: Path
) -> None:
    code, out, _ = command("rerun", record["run_id"], "--out", own_folders / "elsewhere", "seed=8", "--json")
    again = json.loads(out)
    assert code == 0
    assert again["seed"] == {"parameter": "seed", "value": "8", "pinned": True}
    assert list((own_folders / "elsewhere").rglob("0.mp4"))
    _, out, _ = command("compare", record["run_id"], again["run_id"])
    assert "1 setting differs" in out
    assert f"seed: {record['seed']['value']}  |  8" in out


def test_a_dry_run_sends_nothing(command: Command, record: dict[str, Any], sandbox: Any) -> None:
    asked = sandbox.audit()["requests"]["Run"]
    code, out, _ = command("rerun", record["run_id"], "--dry-run", "seed=8")
    assert code == 0
    assert '"seed": "8"' in out
    assert "Nothing was sent" in out
    code, out, _ = command("rerun", record["run_id"], "--dry-run", "--json")
    assert json.loads(out)["request"]["body"]["prompt"] == "a cat"
    code, out, err = command("rerun", record["run_id"], "--dry-run", "--max-cost", "much")
    assert (code, out) == (2, "")
    assert "--max-cost is an amount" in err
    assert sandbox.audit()["requests"]["Run"] == asked


def test_a_dry_run_lists_files_that_are_missing(
    command: Command, record: dict[str, Any], own_folders: Path
) -> None:
    model = {"slug": "pruna/vace", "run_path": "pruna/vace", "schema_sha256": None}
    lost = {"name": "lost.png", "sha256": "0" * 64, "size_bytes": 9, "url": None}
    forged = add_hash({**record, "model": model, "parameters": {"prompt": "x"}, "files": {"inputImage": [lost]}})
    code, out, _ = command("rerun", notebook_with(own_folders / "lost.ipynb", forged), "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["ready"]) == (2, False)
    assert found["missing"] == [{"parameter": "inputImage", "name": "lost.png", "sha256": "0" * 64}]
    assert "inputImage" not in [item["parameter"] for item in found["drift"]]


def test_all_runs_of_a_notebook_or_one_of_them(
    command: Command, record: dict[str, Any], own_folders: Path
) -> None:
    _, out, _ = command("rerun", record["run_id"], "seed=8", "--json")
    notebook = notebook_with(own_folders / "both.ipynb", record, json.loads(out))
    code, _, err = command("rerun", notebook)
    assert code == 2
    assert "--all" in err
    code, out, _ = command("rerun", notebook, "--all", "--json")
    assert code == 0
    assert len(out.splitlines()) == 2
    code, out, _ = command("rerun", f"{notebook}#{record['run_id'][-5:]}", "--dry-run", "--json")
    assert json.loads(out)["made_from"] == record["run_id"]


def test_all_runs_are_told_together_and_many_want_a_yes(
    command: Command, record: dict[str, Any], own_folders: Path, sandbox: Any
) -> None:
    _, out, _ = command("rerun", record["run_id"], "seed=8", "--json")
    notebook = notebook_with(own_folders / "both.ipynb", record, json.loads(out))
    _, out, err = command("rerun", notebook, "--all", "--dry-run", "--json")
    assert [json.loads(line)["ready"] for line in out.splitlines()] == [True, True]
    assert "in all 2 runs, about $" in err
    many = [
        add_hash({**record, "run_id": f"{record['run_id'][:-2]}{n:02}", "parameters": {"prompt": f"cat {n}"}})
        for n in range(13)
    ]
    notebook = notebook_with(own_folders / "many.ipynb", *many)
    asked = sandbox.audit()["requests"]["Run"]
    code, out, err = command("rerun", notebook, "--all")
    assert (code, out) == (2, "")
    assert "That would send 13 runs, about $" in err
    assert "more than 12 runs" in err
    assert "--yes" in err
    assert sandbox.audit()["requests"]["Run"] == asked
    code, _, err = command("rerun", notebook, "--all", "--yes")
    assert (code, sandbox.audit()["requests"]["Run"]) == (0, asked + 13)
    assert "in all 13 runs" in err


def test_settings_of_other_programs_are_printed(command: Command, own_folders: Path) -> None:
    picture = make_picture(own_folders / "theirs.png", {"parameters": "a fox\nSteps: 20, Seed: 5, Model: sd15"})
    code, out, _ = command("record", picture)
    settings = {"prompt": "a fox", "seed": 5, "steps": 20}
    assert code == 0
    assert json.loads(out) == {"written_by": "A1111", "settings": settings, "other": {"Model": "sd15"}}


def test_bad_input_ends_with_2_and_says_what_to_do(command: Command, clip: Path, own_folders: Path) -> None:
    bare = own_folders / "bare.mp4"
    bare.write_bytes(clip.read_bytes().replace(b'{"wiro_nb"', b'{"holiday"').replace(b"parameters", b"ingredient"))
    (own_folders / "cut.mp4").write_bytes(clip.read_bytes()[:500])
    (own_folders / "text.ipynb").write_text("hello")
    (own_folders / "later.json").write_text('{"format": 9, "run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1ABC"}')
    for name, word in (
        ("bare.mp4", "carries no run record"),
        ("cut.mp4", "cannot be read"),
        ("text.ipynb", "not JSON"),
        ("later.json", "pip install --upgrade"),
        ("gone.mp4", "does not exist"),
        ("zzzzz", "No run"),
    ):
        for verb in (["rerun"], ["record"], ["export", "--csv"]):
            code, out, err = command(*verb, own_folders / name if "." in name else name)
            assert (code, out) == (2, ""), (verb, name)
            assert word in err
            assert "next: " in err
    code, _, err = command("export", clip)
    assert code == 2
    assert "--to DIR" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [('{"a":' * 100_000, "not whole JSON"), ("{half", "not whole JSON"), ("{}", "has no model"), ("", "is empty")],
    ids=["deep", "cut", "without a model", "empty"],
)
def test_what_is_no_model_is_refused_in_a_sentence(
    command: Command, own_folders: Path, text: str, says: str
) -> None:
    (own_folders / "model.json").write_text(text)
    code, out, err = command("schema", own_folders / "model.json")
    assert (code, out, says in err, "next: " in err) == (2, "", True, True)


def test_verify_says_by_its_exit_code_whether_all_is_whole(
    command: Command, record: dict[str, Any], clip: Path, own_folders: Path, sandbox: Any
) -> None:
    notebook = notebook_with(own_folders / "a.ipynb", record)
    code, out, _ = command("verify", own_folders, "--json")
    answer = json.loads(out)
    assert (code, answer["ok"]) == (0, True)
    assert {item["kind"] for item in answer["findings"]} == {"record", "file", "ledger"}
    assert command("verify")[0] == 0
    text = notebook.read_text("utf-8")
    notebook.write_text(text.replace("%wiro runs", f"key = '{sandbox.api_secret}'"), "utf-8")
    code, out, _ = command("verify", notebook)
    assert code == 1
    assert "key, secret or task token" in out
    assert sandbox.api_secret not in out
    clip.unlink()
    code, out, _ = command("verify", clip.parent)
    assert code == 1
    assert "0.mp4 is missing" in out
    assert "make it again" not in out
    foreign = notebook_with(
        own_folders / "b.ipynb", add_hash({**record, "run_id": f"{record['run_id'][:-5]}ZZZZZ"})
    )
    assert "0.mp4 is missing; make it again: wiro-nb rerun b.ipynb#zzzzz" in command("verify", foreign)[1]
    assert command("verify", own_folders / "nothing")[0] == 1


def test_seal_keeps_records_when_outputs_are_cleared(
    command: Command, record: dict[str, Any], own_folders: Path
) -> None:
    notebook = notebook_with(own_folders / "a.ipynb", record)
    code, out, _ = command("seal", notebook, "--json")
    assert (code, json.loads(out)["added"]) == (0, [record["run_id"]])
    book = nbformat.read(notebook, as_version=4)
    book.cells[0].outputs = []
    nbformat.write(book, notebook)
    assert json.loads(command("record", notebook)[1]) == record
    assert "nothing to add" in command("seal", notebook)[1]
    (own_folders / "b.ipynb").write_text("{")
    assert command("seal", own_folders / "b.ipynb")[0] == 2


def test_export_writes_a_crate_that_reads_and_makes_its_runs_again(
    command: Command, record: dict[str, Any], own_folders: Path
) -> None:
    notebook = notebook_with(own_folders / "my clips.ipynb", record)
    code, out, err = command("export", notebook, "--to", own_folders / "crate", "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out[out.index("run_id,") :])))
    assert rows[0]["setting.prompt"] == "a cat"
    crate = ROCrate(str(own_folders / "crate"))
    assert crate.name == "my clips"
    assert (own_folders / "crate" / "my clips.ipynb").read_bytes() == notebook.read_bytes()
    assert (own_folders / "crate" / record["outputs"][0]["path"]).is_file()
    code, out, _ = command("verify", own_folders / "crate")
    assert (code, "was moved" in out) == (0, False)
    sidecar = own_folders / "crate" / "runs" / record["run_id"] / "run.json"
    assert command("rerun", sidecar, "--dry-run")[0] == 0
    assert command("export", notebook, "--to", own_folders / "crate")[0] == 2
    assert str(own_folders) not in (own_folders / "crate" / "ro-crate-metadata.json").read_text("utf-8")
    assert "crate written" in err
    assert "is not here" not in err
    (own_folders / record["outputs"][0]["path"]).unlink()
    assert "is not here; the crate only names it" in command("export", notebook, "--to", own_folders / "bare")[2]


@pytest.mark.parametrize("name", ["record", "rerun", "compare", "verify", "seal", "export", "schema", "run"])
def test_a_text_no_path_can_be_is_refused_in_a_sentence(command: Command, name: str) -> None:
    endless = "x" * 5000
    words = {
        "compare": (endless, endless),
        "export": (endless, "--csv"),
        "run": ("sandbox/plain-clip", "prompt=a cat", "--out", endless),
    }
    code, _, err = command(name, *words.get(name, (endless,)))
    assert code in (1, 2)
    assert "Traceback" not in err
