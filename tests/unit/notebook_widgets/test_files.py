"""Files on their way from the browser: pieces in order, limits, refusals, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import traitlets

from wiro_nb.errors import InvalidFile
from wiro_nb.notebook.widgets.fields import FileField

from .conftest import custom, send

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489") + bytes(64)


@pytest.fixture
def field(tmp_path: Path, messages: list[Any]) -> FileField:
    return FileField(name="image", multiple=True, upload_dir=tmp_path / "uploads")


def upload(field: FileField, data: bytes, name: str = "a.png", piece: int = 40, upload_id: str = "u1") -> None:
    send(field, {"type": "begin", "upload": upload_id, "name": name, "size": len(data)})
    for seq, start in enumerate(range(0, len(data), piece)):
        send(field, {"type": "chunk", "upload": upload_id, "seq": seq}, data[start : start + piece])


def test_a_file_arrives_in_pieces_each_acknowledged(field: FileField, messages: list[Any], tmp_path: Path) -> None:
    upload(field, PNG)
    (path,) = field.value
    assert Path(path).read_bytes() == PNG
    assert Path(path).name == "a.png"
    received = [message["received"] for message in custom(messages) if message["type"] == "ack"]
    assert received == [0, 40, 80]
    assert custom(messages)[-1]["type"] == "done"
    assert field.items[0]["name"] == "a.png"
    assert field.items[0]["size"] == len(PNG)
    assert not list((tmp_path / "uploads").glob("*.part"))


def test_the_same_file_twice_is_kept_once(field: FileField) -> None:
    upload(field, PNG)
    upload(field, PNG, upload_id="u2")
    assert len(field.value) == 1


@pytest.mark.parametrize(
    ("content", "buffers"),
    [
        ({"type": "chunk", "upload": "u1", "seq": 1}, [b"late"]),
        ({"type": "chunk", "upload": "u1", "seq": 0}, [b"x" * 500]),
        ({"type": "chunk", "upload": "u1", "seq": 0}, []),
    ],
)
def test_a_missing_or_overlong_piece_is_refused(
    field: FileField, messages: list[Any], tmp_path: Path, content: dict[str, Any], buffers: list[bytes]
) -> None:
    send(field, {"type": "begin", "upload": "u1", "name": "a.png", "size": 100})
    send(field, content, *buffers)
    assert custom(messages)[-1]["type"] == "refused"
    assert field.value == ()
    assert not list((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize("size", [0, -1, 100 * 1024 * 1024 + 1])
def test_the_limit_is_checked_before_the_first_byte(
    field: FileField, messages: list[Any], tmp_path: Path, size: int
) -> None:
    send(field, {"type": "begin", "upload": "u1", "name": "a.png", "size": size})
    assert custom(messages)[-1]["type"] == "refused"
    assert not (tmp_path / "uploads").exists()


def test_what_the_service_does_not_take_is_refused_and_removed(
    field: FileField, messages: list[Any], tmp_path: Path
) -> None:
    upload(field, b"MZ" + bytes(90), name="virus.png")
    assert custom(messages)[-1]["type"] == "refused"
    assert field.value == ()
    assert not [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]


def test_a_hostile_name_cannot_leave_the_folder(field: FileField, tmp_path: Path) -> None:
    upload(field, PNG, name="../../etc/evil\n.png")
    assert (tmp_path / "uploads") in Path(field.value[0]).parents
    assert "\n" not in field.value[0]


def test_cancelling_removes_the_part(field: FileField, tmp_path: Path) -> None:
    send(field, {"type": "begin", "upload": "u1", "name": "a.png", "size": 100})
    send(field, {"type": "abort", "upload": "u1"})
    assert not list((tmp_path / "uploads").iterdir())
    send(field, {"type": "begin", "upload": "u2", "name": "a.png", "size": 100})
    field.close()
    assert not list((tmp_path / "uploads").iterdir())


def test_urls_and_paths_can_be_added_and_wrong_ones_are_refused(
    field: FileField, messages: list[Any], tmp_path: Path
) -> None:
    picture = tmp_path / "b.png"
    picture.write_bytes(PNG)
    send(field, {"type": "add", "source": f" {picture} "})
    send(field, {"type": "add", "source": "https://example.org/c.png?x=1"})
    assert field.value == (str(picture), "https://example.org/c.png?x=1")
    assert [item["name"] for item in field.items] == ["b.png", "c.png"]
    assert field.items[0]["thumb"].startswith("data:image/png;base64,")
    send(field, {"type": "add", "source": str(tmp_path / "nothing.png")})
    assert custom(messages)[-1]["type"] == "refused"
    assert len(field.value) == 2
    assert "nothing.png" in field.trouble
    send(field, {"type": "clear"})
    assert field.trouble == ""
    with pytest.raises(InvalidFile):
        field.add(tmp_path / "nothing.png")


def test_a_begun_path_is_answered_by_those_there_are(
    field: FileField, messages: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    for name in ("one.png", "two.png", ".hidden"):
        (tmp_path / name).touch()
    send(field, {"type": "paths", "typed": f"{tmp_path}/o"})
    paths = [f"{tmp_path}/one.png", f"{tmp_path}/one/"]
    assert custom(messages)[-1] == {"type": "paths", "paths": paths, "common": f"{tmp_path}/one"}
    send(field, {"type": "paths", "typed": f"{tmp_path}/none\0"})
    assert custom(messages)[-1] == {"type": "paths", "paths": [], "common": ""}


def test_values_are_texts_or_paths(field: FileField, tmp_path: Path) -> None:
    field.value = tmp_path / "x.png"
    assert field.value == (str(tmp_path / "x.png"),)
    assert "problem" in field.items[0], "a file that is not there says so"
    field.value = None
    assert field.value == ()
    with pytest.raises(traitlets.TraitError):
        field.value = 7
    with pytest.raises(traitlets.TraitError):
        field.value = [7]
