from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.unit.schema.helpers import MP4, PNG, bundled
from wiro_nb.errors import InvalidFile, InvalidParameter
from wiro_nb.schema import (
    ModelSchema,
    Parameter,
    check,
    encode,
    free_form_schema,
    open_file_input,
    prepare,
    request_sha256,
)
from wiro_nb.schema.files import MAX_FILE_BYTES, sniff_type

URL = "https://example.org/pics/one%20fox.png?x=1"


def with_file(kind: str, **more: object) -> ModelSchema:
    several = kind != "fileinput"
    parameters = (
        Parameter(id="pic", type=kind, label="Pic", multiple=several, **more),  # type: ignore[arg-type]
        Parameter(id="n", type="number", label="N", default="3"),
    )
    return ModelSchema(slug="me/mine", run_path="me/mine", title="mine", parameters=parameters)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "fox.png"
    path.write_bytes(PNG)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "hare.png"
    path.write_bytes(PNG + b"hare")
    return path


def test_a_local_file_is_typed_measured_and_hashed(png: Path) -> None:
    found = open_file_input("pic", str(png))
    assert (found.name, found.path, found.url) == ("fox.png", png, None)
    assert (found.content_type, found.size_bytes) == ("image/png", len(PNG))
    assert found.sha256 == hashlib.sha256(PNG).hexdigest()


def test_the_hash_covers_files_longer_than_one_read(tmp_path: Path) -> None:
    content = PNG + bytes(range(256)) * 9000
    path = tmp_path / "big.png"
    path.write_bytes(content)
    assert open_file_input("pic", path).sha256 == hashlib.sha256(content).hexdigest()


def test_a_url_is_kept_and_not_fetched() -> None:
    found = open_file_input("pic", URL)
    assert (found.url, found.path, found.name) == (URL, None, "one fox.png")
    assert (found.content_type, found.size_bytes, found.sha256) == ("image/png", None, None)


def test_files_that_cannot_be_sent_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "prog.png").write_bytes(b"\x7fELF\2\1\1")
    huge = tmp_path / "huge.mp4"
    huge.write_bytes(MP4)
    os.truncate(huge, MAX_FILE_BYTES + 1)
    for name, says in {
        "none.png": "No such file or directory",
        "empty.png": "is empty",
        "prog.png": "type the service does not take",
        "huge.mp4": "takes 100 MB",
        "": "is a folder",
    }.items():
        with pytest.raises(InvalidFile, match=says) as caught:
            open_file_input("pic", tmp_path / name)
        assert caught.value.name == "pic"
        assert caught.value.problems
    os.truncate(huge, MAX_FILE_BYTES)
    assert open_file_input("pic", huge).size_bytes == MAX_FILE_BYTES


def test_an_error_lists_the_types_of_this_input_and_no_whole_path(tmp_path: Path) -> None:
    (tmp_path / "prog.png").write_bytes(b"\x7fELF\2\1\1")
    (tmp_path / "notes.txt").write_text("a note")
    picture = Parameter(id="inputImage", type="fileinput", label="Input image")
    for name in ("prog.png", "notes.txt", "gone.png"):
        said = check(ModelSchema("a/b", "a/b", "B", parameters=(picture,)), {"inputImage": tmp_path / name})
        message = said["inputImage"].message
        assert message.startswith(name)
        assert str(tmp_path) not in message
        assert "mp4" not in message
        assert ("jpg, png, gif, webp, heic" in message) is (name != "gone.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a thing of Unix")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InvalidFile, match="not a regular file"):
        open_file_input("inputImage", tmp_path / "a.png")


def test_a_file_a_little_too_large_is_not_said_to_have_the_size_that_is_taken(tmp_path: Path) -> None:
    large = tmp_path / "a.mp4"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InvalidFile, match=r"has 100\.1 MB; the service takes 100 MB"):
        open_file_input("inputVideo", large)


def test_a_file_may_have_a_colon_in_its_name(png: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(png.parent)
    png.rename("take2:final.png")
    assert open_file_input("pic", "take2:final.png").content_type == "image/png"


@pytest.mark.parametrize(
    "value", ["data:image/png;base64,AAAA", "ftp://x.org/a.png", "file:///etc/hosts", "https://", "a\0b"]
)
def test_addresses_that_are_neither_file_nor_web_are_refused(value: str) -> None:
    with pytest.raises(InvalidFile):
        open_file_input("pic", value)


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        (PNG, "x.jpg", "image/png"),
        (b"\xff\xd8\xff\xe0", "x", "image/jpeg"),
        (b"GIF89a", "x", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "x", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "x", "audio/wav"),
        (b"RIFF\0\0\0\0AVI LIST", "x.avi", ""),
        (MP4, "x", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "x", "video/quicktime"),
        (b"\0\0\0\x14ftypheic\0\0\0\0", "x", "image/heic"),
        (b"\0\0\0\x14ftypM4A \0\0\0\0", "x", "audio/mp4"),
        (b"\x1aE\xdf\xa3", "x", "video/webm"),
        (b"ID3\4", "x", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "x", "audio/mpeg"),
        (b"%PDF-1.7", "x", "application/pdf"),
        (b"PK\3\4", "x.zip", "application/zip"),
        (b"PK\3\4", "x.epub", "application/epub+zip"),
        (b"a,b\n1,2", "x.csv", "text/csv"),
        (b"a,b\n1,2", "x.exe", ""),
        (b"a\0b", "x.txt", ""),
        (b"<svg/>", "x.svg", ""),
        (b"\0\0\0\x14ftypavif\0\0\0\0", "x.mp4", ""),
        (b"\0\0\0\x08moov", "x", "video/quicktime"),
    ],
)
def test_types_are_read_from_the_content(head: bytes, name: str, content_type: str) -> None:
    assert sniff_type(head, name) == content_type


def test_a_single_file_travels_as_part_or_as_url_field(png: Path) -> None:
    schema = with_file("fileinput")
    by_url = encode(prepare(schema, {"pic": URL}))
    assert (by_url.json, by_url.parts) == ({"n": 3, "picUrl": URL}, ())
    by_file = encode(prepare(schema, {"pic": png}))
    assert by_file.json is None
    assert by_file.fields == (("n", "3"),)
    assert [(name, part.path) for name, part in by_file.parts] == [("pic", png)]


def test_several_files_travel_as_repeated_parts_and_urls_joined(png: Path, other: Path) -> None:
    schema = with_file("multifileinput")
    body = encode(prepare(schema, {"pic": [png, other, URL, "https://example.org/a,b.png"]}))
    assert [name for name, _ in body.parts] == ["pic", "pic"]
    assert body.fields == (("n", "3"), ("picUrl", f"{URL},https://example.org/a%2Cb.png"))
    assert encode(prepare(schema, {"pic": [URL]})).json == {"n": 3, "picUrl": URL}


def test_files_and_urls_mix_under_one_name(png: Path) -> None:
    schema = with_file("combinefileinput")
    body = encode(prepare(schema, {"pic": [png, URL, URL + "2"]}))
    assert [name for name, _ in body.parts] == ["pic"]
    assert body.fields == (("n", "3"), ("pic", URL), ("pic", URL + "2"))
    assert encode(prepare(schema, {"pic": URL})).json == {"n": 3, "pic": URL}
    assert encode(prepare(schema, {"pic": [URL, URL + "2"]})).json == {"n": 3, "pic": [URL, URL + "2"]}


def test_commas_separate_files_but_not_inside_a_url(png: Path, other: Path) -> None:
    schema = with_file("combinefileinput")
    given = f"{png}, https://example.org/a,b.png, {other},https://example.org/c.png"
    found = prepare(schema, {"pic": given}).files["pic"]
    assert [item.url or item.name for item in found] == [
        "fox.png",
        "https://example.org/a,b.png",
        "hare.png",
        "https://example.org/c.png",
    ]


def test_a_file_whose_name_has_a_comma_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "fox, red.png"
    path.write_bytes(PNG)
    assert [item.name for item in prepare(with_file("combinefileinput"), {"pic": str(path)}).files["pic"]] == [
        "fox, red.png"
    ]


def test_the_wire_name_of_a_url_is_understood() -> None:
    assert encode(prepare(with_file("fileinput"), {"picUrl": URL})).json == {"n": 3, "picUrl": URL}


def test_counts_are_kept(png: Path) -> None:
    assert "one file" in check(with_file("fileinput"), {"pic": [png, png]})["pic"].message
    assert "at most 3" in check(bundled("vace"), {"inputImage": [URL] * 4})["inputImage"].message
    assert prepare(bundled("vace"), {"prompt": "a fox", "inputImage": [URL] * 3}).files["inputImage"][2].url == URL


def test_a_missing_required_file_and_a_wrong_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="inputImage is required"):
        prepare(bundled("wan2.2-effects-extra"), {})
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(MP4)
    with pytest.raises(InvalidFile, match="takes jpg, png"):
        prepare(bundled("wan2.2-effects-extra"), {"inputImage": clip})


def test_file_problems_stand_among_the_others() -> None:
    with pytest.raises(InvalidParameter) as caught:
        prepare(bundled("vace"), {"prompt": "a fox", "inputImage": "no-such.png", "ratio": "x"})
    assert {problem["name"] for problem in caught.value.problems} == {"inputImage", "ratio"}


@pytest.mark.parametrize("value", [5, b"PNG", {"a": 1}, [3], True])
def test_what_is_no_file_is_refused(value: object) -> None:
    assert "pic" in check(with_file("combinefileinput"), {"pic": value})


def test_the_services_samples_are_sent_only_when_they_are_named() -> None:
    vace = bundled("vace")
    prompt = {"prompt": "a fox"}
    assert prepare(vace, prompt).files == {}
    samples = ["pruna-vace-input-3-1.jpg", "pruna-vace-input-3-2.jpg"]
    body = encode(prepare(vace, {**prompt, "inputImage": samples})).json
    assert body is not None
    assert body["inputImage"] == samples
    named = encode(prepare(vace, {**prompt, "inputImage": samples[0]})).json
    assert named is not None
    assert named["inputImage"] == samples[0]


def test_a_free_form_model_takes_paths_as_files(png: Path) -> None:
    body = encode(prepare(free_form_schema("me/new"), {"image": png, "n": 3, "words": ["a", "b"]}))
    assert [name for name, _ in body.parts] == ["image"]
    assert body.fields == (("n", "3"), ("words", "a"), ("words", "b"))


def test_a_default_given_by_hand_does_not_change_the_identity() -> None:
    prepared = prepare(bundled("vace"), {"prompt": "a fox"})
    the_same = prepare(bundled("vace"), {"prompt": "a fox", "ratio": "auto"})
    assert request_sha256(prepared) == request_sha256(the_same)


def test_identity_follows_values_file_contents_and_pinned_seeds(png: Path, other: Path, tmp_path: Path) -> None:
    vace = bundled("vace")
    copy = tmp_path / "renamed.png"
    copy.write_bytes(png.read_bytes())

    def identity(**raw: object) -> str:
        return request_sha256(prepare(vace, {"prompt": "a fox", **raw}))

    assert identity(inputImage=png) == identity(inputImage=copy)
    assert identity(inputImage=png) != identity(inputImage=other)
    assert identity(seed=1) != identity(seed=2)
    assert identity(seed=0) == identity(seed=0)
    assert identity(seed=0) != identity(seed=1234)
    assert identity(prompt="a") != identity(prompt="b")


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts by /proc")
def test_checking_does_not_read_whole_files(png: Path) -> None:
    with png.open("ab") as stream:
        stream.truncate(20_000_000)

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    assert check(bundled("vace"), {"prompt": "a fox", "inputImage": png}) == {}
    assert bytes_read() - before < 1_000_000


@pytest.mark.parametrize("count", ["²", "9" * 5000, "x", ""])
def test_a_count_of_files_that_is_none_limits_nothing(png: Path, count: str) -> None:
    schema = with_file("multifileinput", min=count, max=count)
    assert len(prepare(schema, {"pic": [png, png]}).files["pic"]) == 2
