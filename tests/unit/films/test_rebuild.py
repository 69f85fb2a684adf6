"""A film is made again from its file alone: on an empty machine every shot, at home none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import VACE, WAN
from wiro_nb.cli import main
from wiro_nb.errors import InputError
from wiro_nb.execution.requests import Origin
from wiro_nb.films import Film
from wiro_nb.films.extend import read_shots
from wiro_nb.films.film_file import FilmTarget
from wiro_nb.films.plan import plan_film, plan_rebuild
from wiro_nb.provenance.embed import hash_media
from wiro_nb.provenance.find import Source
from wiro_nb.provenance.record import add_hash
from wiro_nb.reproduce import find_source
from wiro_nb.session.manager import Manager
from wiro_nb.session.prices import Limits

SHOTS: list[dict[str, Any]] = [
    {"name": "opening", "prompt": "a storm"},
    {"name": "waves", "prompt": "waves", "from": "previous", "seed": "random"},
    {"name": "harbour", "prompt": "a harbour", "model": WAN},
]


def make_film(manager: Manager, shots: list[dict[str, Any]] = SHOTS) -> Film:
    target = FilmTarget(Path.cwd() / "storm.mp4", Path.cwd(), 0.2)
    plan = plan_film(manager, read_shots(shots, model=VACE), target, origin=Origin(notebook="here.ipynb"))
    return Film.start(manager, plan, Limits()).wait(60)


def runs_asked(sandbox: Any) -> int:
    return int(sandbox.audit()["requests"].get("Run", 0))


def test_a_film_is_made_again_from_its_file_on_an_empty_machine(
    make_manager: Callable[..., Manager],
    sandbox: Any,
    point_at: Callable[[Any], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    point_at(sandbox)
    film = make_film(make_manager())
    assert film.path is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copyfile(film.path, elsewhere / "storm.mp4")
    before = runs_asked(sandbox)

    assert main(["rerun", "storm.mp4", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert runs_asked(sandbox) == before, "at home every shot is there"
    assert [part["run_id"] for part in again["film"]["parts"]] == [run.id for run in film.runs]
    assert hash_media(Path("storm-again.mp4")) == hash_media(film.path)

    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.chdir(elsewhere)
    assert main(["rerun", "storm.mp4", "--dry-run"]) == 0
    assert "3 shots on cloud: 3 runs" in capsys.readouterr().err
    assert main(["rerun", "storm.mp4"]) == 0
    assert runs_asked(sandbox) - before == 3
    assert "storm-again.mp4" in capsys.readouterr().out
    assert hash_media(Path("storm-again.mp4")) == hash_media(Path("storm.mp4"))
    assert main(["rerun", "storm.mp4", "--all"]) == 2
    assert "next: wiro-nb rerun storm.mp4" in capsys.readouterr().err
    assert main(["rerun", "storm.mp4", "seed=3"]) == 2
    assert "takes no inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda parts: parts[1].update(record=None), "part 2 of storm.mp4, waves, carries no record"),
        (lambda parts: parts[0]["record"].update(film={}), "does not fit|is a film itself|changed after"),
        (lambda parts: parts[0]["record"]["parameters"].update(seed="9"), "was changed after it was written"),
    ],
    ids=["no record", "a film inside", "altered part"],
)
def test_what_cannot_be_made_again_is_a_sentence(
    manager: Manager, sandbox: Any, change: Callable[[Any], object], reason: str
) -> None:
    make_film(manager)
    record = json.loads(json.dumps(find_source(manager, "storm.json").record))
    change(record["film"]["parts"])
    before = runs_asked(sandbox)
    with pytest.raises(InputError, match=reason):
        plan_rebuild(manager, Source(add_hash(record), "storm.mp4", "clip"))
    assert runs_asked(sandbox) == before


def test_a_missing_sound_file_is_named_and_no_film_is_replaced(manager: Manager) -> None:
    film = make_film(manager)
    source = find_source(manager, "storm.mp4")
    record = json.loads(json.dumps(source.record))
    record["files"]["audio"] = [{"name": "rain.mp3", "sha256": "0" * 64}]
    with pytest.raises(InputError, match=r"no copy of the sound file rain\.mp3 of storm\.mp4 is here"):
        plan_rebuild(manager, Source(add_hash(record), "storm.mp4", "clip"))
    (Path.cwd() / "storm-again.mp4").write_bytes(b"mine")
    assert plan_rebuild(manager, source).target.path == Path.cwd() / "storm-again-2.mp4"
    assert film.path == Path.cwd() / "storm.mp4"
    record["outputs"][0]["name"], record["files"]["audio"] = "../a\0b/.mp4", []
    assert plan_rebuild(manager, Source(record, "storm.mp4", "clip")).target.path.parent == Path.cwd()


def test_clips_are_joined_from_the_shell(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    film = make_film(manager)
    names = [run.short_id for run in film.runs[:2]]
    assert main(["join", *names, "--out", "two.mp4", "--crossfade", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in found["film"]["parts"]] == names
    assert main(["join", *names, "--out", "two.mp4"]) == 0
    assert "The doubled frame was left out at 1 seam." in capsys.readouterr().err
    assert main(["join", names[0], "none.mp4"]) == 2
    assert "none.mp4 does not exist" in capsys.readouterr().err
