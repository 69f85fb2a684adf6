"""What verify says of a clip's Content Credentials, with c2pa and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.signing import make_certificates, read_state, sign_clip
from tests.unit.provenance.test_foreign_settings import make_picture
from tests.unit.provenance.test_hostile_files import box
from tests.unit.provenance.test_record import make_record
from wiro_nb.files import hash_file
from wiro_nb.media.decode import sniff_file
from wiro_nb.media.mp4 import C2PA_BOX
from wiro_nb.provenance.content_credentials import (
    CERTIFICATE,
    KEY,
    RECORD_ASSERTION,
    describe_credentials,
    embed_and_sign,
)
from wiro_nb.provenance.embed import embed_record, hash_media, read_embedded
from wiro_nb.provenance.find import find_records, find_settings
from wiro_nb.reproduce.verify import verify_paths


def findings(path: Path) -> list[tuple[str, str]]:
    return [(item.level, item.message) for item in verify_paths([path]) if item.kind == "credentials"]


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    return sign_clip(make_clip(tmp_path / "plain.mp4"), tmp_path / "signed.mp4")


def test_verify_says_whose_credentials_hold(signed: Path) -> None:
    assert embed_record(signed, make_record()).problem == ""
    ((level, message),) = findings(signed)
    assert level == "note"
    assert "Studio of the tests" in message
    assert "a video model" in message
    assert "valid" in message
    assert "unknown signer" in message


def test_credentials_that_do_not_hold_are_a_problem(signed: Path) -> None:
    raw = bytearray(signed.read_bytes())
    raw[raw.rindex(b"mdat") + 60] ^= 1
    signed.write_bytes(raw)
    ((level, message),) = findings(signed)
    assert level == "problem"
    assert "Studio of the tests" in message
    assert "not valid" in message


def test_a_picture_with_credentials_is_left_as_it_came(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    picture = sign_clip(tmp_path / "a.png", tmp_path / "signed.png", media_type="image/png")
    before = picture.read_bytes()
    assert "Content Credentials" in embed_record(picture, make_record()).problem
    assert picture.read_bytes() == before
    assert read_state(picture) == "Valid"
    assert findings(picture)[0][0] == "note"


def test_without_c2pa_verify_says_that_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    clip = make_clip(tmp_path / "a.mp4")
    assert findings(clip) == []
    for name, content in ((b"uuid", C2PA_BOX + b"\0" * 20), (b"jumb", b"\0" * 20)):
        marked = tmp_path / "marked.mp4"
        marked.write_bytes(clip.read_bytes() + box(name, content))
        ((level, message),) = findings(marked)
        assert level == "note"
        assert "wiro_nb[c2pa]" in message


def test_a_damaged_manifest_is_a_problem(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    clip = make_clip(tmp_path / "a.mp4")
    clip.write_bytes(clip.read_bytes() + box(b"uuid", C2PA_BOX + b"\xff" * 400))
    ((level, message),) = findings(clip)
    assert level == "problem"
    assert "cannot be read" in message


def test_a_clip_without_credentials_loads_no_c2pa(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    assert describe_credentials(clip) is None
    code = (
        "import sys, pathlib; from wiro_nb.provenance.content_credentials import describe_credentials as f;"
        f"f(pathlib.Path({str(clip)!r})); assert 'c2pa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_credentials_of_another_program_state_is_listed(signed: Path) -> None:
    found = find_settings(signed)
    assert found is not None
    assert (found["written_by"], found["settings"]) == ("Content Credentials", {})
    (action,) = found["other"]["c2pa.actions.v2"]["actions"]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of one's own that the settings name."""
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    chain, key = make_certificates()
    for name, content in ((CERTIFICATE, chain), (KEY, key)):
        (tmp_path / f"{name}.pem").write_bytes(content)
        monkeypatch.setenv(name, str(tmp_path / f"{name}.pem"))


@pytest.mark.parametrize("kind", ["mp4", "mov", "m4v", "png", "signed mp4", "signed png"])
@pytest.mark.parametrize("service", ["cloud", "sandbox"])
def test_a_file_is_signed_with_its_record_and_its_parent(
    tmp_path: Path, identity: None, kind: str, service: str
) -> None:
    import c2pa

    path = tmp_path / f"a.{kind[-3:]}"
    if path.suffix == ".png":
        make_picture(path, {})
    else:
        make_clip(path)
    if kind.startswith("signed"):
        path.write_bytes(sign_clip(path, tmp_path / "signed", media_type=sniff_file(path)).read_bytes())
    media = hash_media(path)
    record = make_record(service={"name": service, "base_url": "https://a.example"})
    embedded = embed_and_sign(path, record)
    assert (embedded.unsigned, embedded.sha256) == ("", hash_file(path))
    assert hash_media(path) == media
    assert (embedded.problem == "") == (kind != "signed png")
    if not embedded.problem:
        assert read_embedded(path) == record
    (found,) = find_records(path)
    assert found.record == record
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Valid"
        manifest = reader.get_active_manifest()
    assertions = {item["label"]: item["data"] for item in manifest["assertions"]}
    assert assertions[RECORD_ASSERTION] == record
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia") == (service == "cloud")
    assert ("wiro/animate-diff" in action["softwareAgent"]["name"]) == (service == "cloud")
    (parent,) = manifest["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert ("active_manifest" in parent) == kind.startswith("signed")
    ((level, message),) = findings(path)
    assert level == "note"
    assert "unknown signer" in message
    assert [item.name for item in tmp_path.glob(".*")] == []


def test_the_clips_of_a_film_are_its_components(tmp_path: Path, identity: None) -> None:
    import c2pa

    path, own = make_clip(tmp_path / "film.mp4"), make_clip(tmp_path / "a.mp4")
    foreign = make_clip(tmp_path / "b.mp4")
    foreign.write_bytes(sign_clip(foreign, tmp_path / "signed", media_type="video/mp4").read_bytes())
    other = make_clip(tmp_path / "c.webm", codec="libvpx")
    assert embed_and_sign(path, make_record(), components=[own, foreign, other]).unsigned == ""
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Valid"
        ingredients = reader.get_active_manifest()["ingredients"]
    named = [(item["title"], item["relationship"], "active_manifest" in item) for item in ingredients]
    parts = {"a.mp4": False, "b.mp4": True, "c.webm": False}
    assert named[1:] == [(name, "componentOf", is_signed) for name, is_signed in parts.items()]


def test_a_file_whose_type_carries_no_record_is_not_signed(tmp_path: Path, identity: None) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    found = embed_and_sign(tmp_path / "a.jpg", make_record())
    assert found == ("files of this type carry no record", None, "")
    assert (tmp_path / "a.jpg").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_a_key_that_cannot_sign_leaves_the_clip_with_its_record(
    tmp_path: Path, identity: None, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    key = tmp_path / "bad.pem"
    if content is not None:
        key.write_bytes(content)
    monkeypatch.setenv(KEY, str(key))
    clip = make_clip(tmp_path / "a.mp4")
    embedded = embed_and_sign(clip, make_record())
    assert embedded.unsigned
    assert embedded[:2] == ("", hash_file(clip))
    assert describe_credentials(clip) is None


def test_without_c2pa_nothing_is_signed_and_that_is_said(
    tmp_path: Path, identity: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    clip = make_clip(tmp_path / "a.mp4")
    embedded = embed_and_sign(clip, make_record())
    assert "wiro_nb[c2pa]" in embedded.unsigned
    assert embedded.problem == ""
