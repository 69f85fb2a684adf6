"""Tab offers what fits the place of the cursor, knows it without asking anybody, and keeps out of prompts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.ledger.ledger_tools import NOW, insert, plan
from wiro_nb.notebook.magic.completion import complete
from wiro_nb.notebook.session import session
from wiro_nb.presentation.command_table import COMMANDS
from wiro_nb.schema import ModelSchema, Option, Parameter
from wiro_nb.session.manager import Manager


def offered(cell: str) -> tuple[str, ...]:
    """Returns the offers with the cursor at the mark `|`."""
    before, _, after = cell.partition("|")
    line_number = before.count("\n")
    offer = complete(before + after, before.rsplit("\n", 1)[-1], line_number)
    return tuple(offer.texts) if offer is not None else ()


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%wiro |", [command.name for command in COMMANDS]),
        ("%wiro mo|", ["models"]),
        ("clip = %wiro sh|", ["show"]),
        ("    %wiro canc|", ["cancel"]),
        ("%wiro info vace|", ["pruna/vace"]),
        ("%%wiro pruna/|\na sea", ["pruna/vace"]),
        ("%%wiro pruna/vace see|", ["seed="]),
        ("%%wiro pruna/vace seed=1 see|", []),
        ("%%wiro pruna/vace resolution=|", ["480p", "720p"]),
        ("%%wiro pruna/vace resolution=7|", ["720p"]),
        ('%%wiro pruna/vace ratio="16|', ['"16:9 (Landscape)"']),
        ("%%wiro pruna/vace ratio=land|", []),
        ("%%wiro pruna/vace nothing=|", []),
        ("%%wiro pruna/vace --sweep reso|", ["resolution="]),
        ("%%wiro pruna/vace --sweep resolution=480p,7|", ["720p"]),
        ("%%wiro pruna/vace --w|", ["--wait"]),
        ("%wiro use |", ["sandbox", "local", "cloud"]),
        ("%wiro help bud|", ["budget"]),
        ("%%wiro pruna/vace\nres|\n---\na sea", ["resolution: "]),
        ("%%wiro pruna/vace\nresolution: 4|\n---\na sea", ["480p"]),
        ("%%wiro pruna/vace\nres|", []),
        ("%%wiro pruna/vace\nresolution: 480p\n---\nres|", []),
        ("%%wiro pruna/vace\na free line\nres|\n---\nx", []),
        ("%%wiro pruna/vace --sweep=reso|", ["resolution="]),
        ("%%wiro pruna/vace --sweep=resolution=4|", ["480p"]),
        ("%%wiro pruna/vace --sweep=resolution=480p,7|", ["720p"]),
        ("%%wiro_film vace|", ["pruna/vace"]),
        ("%%wiro_film pruna/vace\n--- one\n--- two reso|", ["resolution="]),
        ("%%wiro_film pruna/vace\n--- one resolution=7|", ["720p"]),
        ("%%wiro_film\n--- one pruna/vace see|", ["seed="]),
        ("%%wiro_film\n--- one seed=1\na sea\n--- \n--- two from=|", ["previous", "one"]),
        ("%%wiro_film\n--- one fr|", ["from="]),
        ("%%wiro_film\n--- one vace|", ["pruna/vace"]),
        ("%%wiro_film pruna/vace\n--- one\nreso|", []),
        ("%timeit |", []),
        ("wiro |", []),
        ("print('%wiro mo|", []),
    ],
)
def test_offers(cell: str, wanted: list[str]) -> None:
    assert list(offered(cell)) == wanted


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%wiro run pruna/vace inputImage=pic| seed=1", ['"pic one.png"', "pics/", "picture.png"]),
        ("%wiro form pruna/vace inputImage=pics/|", ["pics/a.png"]),
        ('%%wiro pruna/vace inputImage="pic o|\na sea', ['"pic one.png"']),
        ("%%wiro pruna/vace --sweep inputImage=picture.png,PICS|", ["pics/"]),
        ("%%wiro pruna/vace\ninputImage: pic|\n---\na sea", ["pic one.png", "pics/", "picture.png"]),
        ("%wiro rerun |", ["8k2qf", "9x2kd", '"pic one.png"', "pics/", "picture.png"]),
        ("%wiro compare 8k2qf 9|", ["9x2kd"]),
        ("%wiro compare pict|", ["picture.png"]),
        ("%wiro show |", ["8k2qf", "9x2kd"]),
        ("%wiro verify |", ['"pic one.png"', "pics/", "picture.png"]),
        ("%wiro join 8k2qf --audio pics/|", ["pics/a.png"]),
        ("%wiro run pruna/vace inputImage=nothing/|", []),
    ],
)
def test_files_and_runs_are_offered(
    cell: str, wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_manager: Manager
) -> None:
    for name in ("pic one.png", "picture.png", ".picture.swp", "pics/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for hours, end in enumerate(("9X2KD", "8K2QF")):
        created = NOW + timedelta(hours=hours)
        row = plan(run_id=f"01JD5Q9W8R7T6Y5V4K3H2{end}", created=created, notebook=str(tmp_path / "*"))
        insert(process_manager.ledger, row)
    assert list(offered(cell)) == wanted


@pytest.mark.parametrize(
    ("before", "fragment"),
    [
        ("%wiro info vace", "vace"),
        ('%%wiro pruna/vace ratio="16', '"16'),
        ("%%wiro pruna/vace --sweep resolution=480p,7", "7"),
        ("%%wiro pruna/vace --sweep=reso", "reso"),
        ("%%wiro pruna/vace --sweep=", ""),
        ('%wiro run pruna/vace inputImage="a b', '"a b'),
    ],
)
def test_an_offer_replaces_what_is_typed_of_it_with_its_quote(before: str, fragment: str) -> None:
    offer = complete(before, before, 0)
    assert offer is not None
    assert offer.fragment == fragment


def test_a_whole_model_name_in_any_case_is_found() -> None:
    assert offered("%wiro info WAN-AI/|") == ("Wan-AI/Wan2.2-TI2V-5B-text-to-video",)


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ('%wiro run x/y "my|', ['"my name"=']),
        ("%wiro run x/y my|", ['"my name"=']),
        ('%wiro run x/y "my n|', ['"my name"=']),
        ('%wiro run x/y "my name"=a|', ["ab"]),
        ('%wiro run x/y "my name"=ab |', ["model="]),
        ("%%wiro x/y\nmy n|\n---\na fox", ["my name: "]),
        ("%%wiro x/y\nmy name: a|\n---\na fox", ["ab"]),
        ("%%wiro x/y\nmy name: ab\nmo|\n---\na fox", ["model: "]),
    ],
)
def test_names_with_blanks_are_offered_in_quotes(cell: str, wanted: list[str]) -> None:
    spaced = Parameter("my name", "select", "Name", options=(Option("ab", "ab"), Option("cd", "cd")))
    schema = ModelSchema("x/y", "x/y", "Y", parameters=(spaced, Parameter("model", "text", "Model")))
    session.remember_schema(schema)
    try:
        assert list(offered(cell)) == wanted
    finally:
        session.close()
