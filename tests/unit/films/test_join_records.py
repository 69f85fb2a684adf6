"""A joined film holds the record of every part, and refuses parts that are not what they are said to be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import VACE, submit, submit_request
from tests.unit.provenance.test_hostile_files import box
from wiro_nb.errors import InputError, UnknownRun
from wiro_nb.films import film_file
from wiro_nb.films.extend import plan_extension
from wiro_nb.films.film_file import FilmTarget, find_parts, join_parts
from wiro_nb.media.mp4 import C2PA_BOX
from wiro_nb.provenance.embed import read_embedded
from wiro_nb.provenance.find import find_records
from wiro_nb.reproduce.verify import verify
from wiro_nb.session.manager import Manager


def film_of(manager: Manager, sources: list[Any], name: str = "film.mp4", **options: Any) -> film_file.JoinedFilm:
    named = [getattr(source, "id", source) for source in sources]
    return join_parts(find_parts(manager, named), FilmTarget(Path.cwd() / name, Path.cwd(), **options))


def test_a_film_holds_the_records_of_its_parts_and_their_times(manager: Manager) -> None:
    first = submit_request(manager, manager.prepare(VACE, {"prompt": "a storm"})).wait(60)
    request = plan_extension(manager, first, {"prompt": "it clears up"})
    second = submit_request(manager, manager.prepare(*request)).wait(60)
    assert first.path is not None
    Path("stranger.mp4").write_bytes(first.path.read_bytes() + box(b"uuid", C2PA_BOX + bytes(20)))
    film = film_of(manager, [first, second.short_id, "stranger.mp4"])
    assert [part["run_id"] for part in film.parts] == [first.id, second.id, first.id]
    assert [part["dropped_frames"] for part in film.parts] == [1, 0, 0]
    assert [(part["start_s"], part["end_s"]) for part in film.parts] == [
        (0, 0.875),
        (0.875, 1.875),
        (1.875, 2.875),
    ]
    assert film.parts[1]["record"] == second.record
    assert film.record["outputs"][0]["frames"] == 23
    assert film.sentences[1] == "The doubled frame was left out at 1 seam."
    assert re.match(r"Contains stranger\.mp4 carries Content Credentials", film.sentences[-1])
    assert read_embedded(film.path) == film.record
    assert find_records("film.json")[0].record == film.record
    assert [item.level for item in verify(manager, [film.path])].count("problem") == 0
    again = film_of(manager, [first, second])
    assert again.record["run_id"] != film.record["run_id"], "a film is replaced by a film"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda one, two: [one], "two clips or more"),
        (lambda one, two: [one, "nowhere.mp4"], "nowhere.mp4 does not exist"),
        (lambda one, two: [one, _changed(two)], "was changed after it was saved"),
        (lambda one, two: [one, _without_file(two)], "has no clip here"),
        (lambda one, two: [one, _written("notes.txt", b"words")], "has no clip here"),
        (lambda one, two: [one, _written("clip.mp4", b"\0\0\0\x18ftypmp42")], "cannot be read"),
    ],
    ids=["one", "missing", "changed", "deleted", "no clip", "cut"],
)
def test_a_part_that_cannot_be_joined_is_a_sentence(
    manager: Manager, make: Callable[[Any, Any], list[Any]], reason: str
) -> None:
    one, two = submit(manager, "a cat").wait(60), submit(manager, "a dog").wait(60)
    with pytest.raises(InputError, match=reason):
        film_of(manager, make(one, two))
    assert not Path("film.mp4").exists()


def _changed(run: Any) -> Any:
    run.path.write_bytes(run.path.read_bytes().replace(b"avc1", b"avc2"))
    data = bytearray(run.path.read_bytes())
    at = data.index(b"mdat") + 20
    data[at] ^= 0xFF
    run.path.write_bytes(bytes(data))
    return run


def _without_file(run: Any) -> Any:
    run.path.unlink()
    return run


def _written(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


def test_a_changed_file_that_is_named_is_joined_without_its_record(manager: Manager) -> None:
    run = submit(manager, "a hen").wait(60)
    assert run.path is not None
    shutil.copyfile(submit(manager, "a fox").wait(60).path or "", "other.mp4")
    shutil.copyfile(run.path, "mine.mp4")
    data = bytearray(Path("mine.mp4").read_bytes())
    data[data.index(b"mdat") + 60] ^= 1  # a text inside the pictures' data
    Path("mine.mp4").write_bytes(bytes(data))
    altered = run.path.read_bytes().replace(b"a hen", b"a hat")
    Path("altered.mp4").write_bytes(altered)
    Path("bare.mp4").write_bytes(altered.replace(b'{"wiro_nb"', b'{"holiday"'))
    _, *parts = find_parts(manager, ["other.mp4", "mine.mp4", "altered.mp4", "bare.mp4"])
    assert [part.record for part in parts] == [None] * 3
    assert [part.note for part in parts] == [
        "mine.mp4 was changed: its record describes another file.",
        "altered.mp4: its record is refused.",
        "bare.mp4 carries no record of how it was made.",
    ]


def test_another_file_is_never_replaced(manager: Manager) -> None:
    runs = [submit(manager, "a cow").wait(60), submit(manager, "a pig").wait(60)]
    beside = [Path("mine.mp4"), Path("thesis.json"), Path("holiday.poster.jpg")]
    for path in beside:
        path.write_bytes(b"precious")
    for name, reason in (
        ("mine.mp4", "mine.mp4 exists .* is kept"),
        ("thesis.mp4", "thesis.json exists .* is kept"),
        ("holiday.mp4", "holiday.poster.jpg exists .* is kept"),
        ("film.avi", "should end in .mp4"),
        ("no/\0.mp4", "cannot be"),
    ):
        with pytest.raises(InputError, match=reason):
            film_of(manager, runs, name)
    with pytest.raises(InputError, match="0 to 10 seconds"):
        film_of(manager, runs, crossfade_s=11)
    for audio in (Path("mine.mp4"), Path.cwd()):  # a pipe is refused like a folder
        with pytest.raises(InputError, match="is no sound file"):
            film_of(manager, runs, audio=audio)
    with pytest.raises(InputError, match=r"none\.mp3 cannot be read"):
        film_of(manager, runs, audio=Path("none.mp3"))
    assert [path.read_bytes() for path in beside] == [b"precious"] * 3
    film_of(manager, runs).path.unlink()
    assert film_of(manager, runs).path.is_file(), "what a film left behind is no other file"
    pending = submit_request(manager, manager.prepare(VACE, {"prompt": "slow [hold]"}))
    with pytest.raises(UnknownRun, match="is not done"):
        film_of(manager, [runs[0], pending])
    pending.cancel()
    pending.wait(60, check=False)
